// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// maxOvertaken is how often in a row a write may fail because another writer was faster, until that is
// a failure.
const maxOvertaken = 3

// failure is a failed attempt, or what makes one impossible.
type failure struct {
	// reason is the reason of condition Renewed.
	reason string
	// detail says what happened, in words that are safe to show. It is empty if the failure is
	// known from the status only.
	detail string
	// isRestored is true if the failure is known from the status only. wasReady is what condition
	// Ready was in that status.
	isRestored, wasReady bool
	// tried are the inputs of the attempt.
	tried attemptInputs
	// credentialsDigest is a digest of the credentials that were tried; empty if none were.
	credentialsDigest string
	// notBefore is when the next attempt may be made; zero if that is not a matter of time.
	// waitsUntil tells when an outage has ended meanwhile.
	notBefore time.Time
	// sentAt is when the token request was sent; zero if none was.
	sentAt time.Time
	// refusedOver is the version of the Secret that could not be replaced, if a write failed. Of an
	// object that is being deleted, it says which finalizers hold it.
	refusedOver string
	// isOutage is true if the API server has refused the write for a cause that may go away by
	// itself.
	isOutage bool
	// since is when the attempts began to fail for this reason.
	since time.Time
	// count is how many attempts in a row have failed that are paced as one.
	count int
}

// row returns the row of the failure's reason.
func (f *failure) row() reason.Row { return reasons.Rows.Of(f.reason) }

// isTransient reports whether the failure may mend itself.
func (f *failure) isTransient() bool { return f.row().Class == reason.Transient || f.isOutage }

// isOfCluster reports whether a request to the Kubernetes API server has failed, and not one to
// Pipedream, without a person having to correct anything.
func (f *failure) isOfCluster() bool {
	return f.isOutage || f.reason == v1alpha1.ReasonClusterUnavailable
}

// waitsBriefly reports whether the next attempt comes so soon that a token which expires meanwhile
// is renewed in time. Pipedream, a person or a change ends the other waits.
func (f *failure) waitsBriefly() bool {
	return f.isTransient() || f.row().Class == reason.Unknown
}

// isWriteRefused reports whether the API server has refused to write the Secret.
func (f *failure) isWriteRefused() bool { return f.reason == v1alpha1.ReasonSecretWriteRefused }

// isDeletion reports whether the failure is that the PipedreamToken or its Secret is being deleted.
func (f *failure) isDeletion() bool { return f != nil && f.reason == v1alpha1.ReasonSecretTerminating }

// hasSameInputs reports whether another attempt would be made with the same inputs as the failed
// one, so that it has to wait.
func (f *failure) hasSameInputs(s snapshot) bool {
	if f.reason == v1alpha1.ReasonSecretWriteRefused && f.refusedOver != s.targetVersion() {
		return false
	}
	return f.tried.isSameAs(s.attemptInputs())
}

// isUnanswered reports whether a reason of condition Renewed says that Pipedream has not answered,
// or not with anything of use.
func isUnanswered(because string) bool {
	return because == v1alpha1.ReasonEndpointUnavailable || because == v1alpha1.ReasonMalformedResponse
}

// isOver reports whether the attempt has failed in an outage that is over. A nil failure is not.
func (f *failure) isOver(s snapshot) bool {
	return f != nil && isUnanswered(f.reason) && f.sentAt.Before(s.outageEnded)
}

// waitsUntil returns when the next attempt may be made; zero if that is not a matter of time. A
// failure in an outage is no reason to wait after the outage.
func (f *failure) waitsUntil(s snapshot) time.Time {
	if f.isOver(s) {
		return time.Time{}
	}
	return f.notBefore
}

// stallsAt returns when the failure becomes a matter for a person; zero for never.
func (f *failure) stallsAt() time.Time {
	if f == nil {
		return time.Time{}
	}
	return f.row().StallsAt(f.since)
}

func (f *failure) isStalled(now time.Time) bool {
	at := f.stallsAt()
	return !at.IsZero() && !now.Before(at)
}

// after returns the failure as one that has come after another. A failure of the same kind adds
// to the one before.
func (f *failure) after(last *failure) *failure {
	if last == nil {
		return f
	}
	if last.reason == f.reason {
		f.since = last.since
	}
	if last.isPacedAs(f) && last.tried.isSameAs(f.tried) {
		f.count = last.count + 1
	}
	return f
}

// isPacedAs reports whether two failures in a row are paced as one: an API that is out of order
// fails in one way and then in another. Pipedream and the Kubernetes API server are two APIs.
func (f *failure) isPacedAs(other *failure) bool {
	if f.isTransient() && other.isTransient() {
		return f.isOfCluster() == other.isOfCluster()
	}
	return f.reason == other.reason && f.isTransient() == other.isTransient()
}

// isStill reports whether a failure that is known from the status is the same as another one, so
// that the message in the status is still true.
func (f *failure) isStill(other *failure) bool {
	return f != nil && f.isRestored && f.reason == other.reason &&
		f.tried.generation == other.tried.generation && f.tried.credentialsVersion == other.tried.credentialsVersion
}

func newFailure(s snapshot, because, detail string, now time.Time) *failure {
	return &failure{reason: because, detail: detail, tried: s.attemptInputs(), since: now.Truncate(time.Second), count: 1}
}

// paced returns when an attempt is made again after the failure, unless the limiter knows better.
// expiry is when the current token expires; zero if it is worth nothing.
func (f *failure) paced(s snapshot, expiry, now time.Time) time.Time {
	if f.row().Class.NeedsPerson() && !f.isOutage {
		return now.Add(retry.After(retry.Refused, s.desired.Identity, f.count))
	}
	return now.Add(retry.AfterTransient(s.desired.Identity, f.count, expiry, now))
}

// limitWait cuts a wait short that has become too long for the current token, which may have been
// replaced, edited or deleted since the wait began.
func (f *failure) limitWait(expiry, now time.Time) {
	if f.waitsBriefly() {
		f.notBefore = retry.LimitTransient(f.notBefore, expiry, now)
	}
}

// reasonOf returns the reason of condition Renewed for a failed token request.
func reasonOf(kind pipedream.Kind) string {
	if row, ok := reasons.Rows.OfKind(kind); ok {
		return row.Reason
	}
	return v1alpha1.ReasonEndpointUnavailable
}

// isRestoredWith reports whether the failure is known from the status only, and condition Ready
// is still what it was then, so that the message in the status explains the failure.
func (f *failure) isRestoredWith(isReady bool) bool {
	return f != nil && f.isRestored && f.wasReady == isReady
}

// digestOf returns a digest that tells credentials apart. Its key is the UID of the object,
// because the digest stays in this process.
func digestOf(uid types.UID, credentials pipedream.Credentials) string {
	return ownedsecret.KeyedDigest(string(uid), credentials.ClientID, credentials.ClientSecret.Reveal())
}
