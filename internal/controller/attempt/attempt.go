// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package attempt describes failed attempts to get credentials from Pipedream and to write them, for
// the controllers of all kinds: why an attempt has failed, when the next one is made, and when a person
// is called. The package is pure.
package attempt

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// Inputs are what an attempt is made with. When they have changed since an attempt failed, the next
// attempt need not wait.
type Inputs struct {
	// Generation is the generation of the spec.
	Generation int64
	// CredentialsVersion is the resourceVersion of the Secret with the client credentials.
	CredentialsVersion string
	// RenewRequest is the value of the renew-request annotation.
	RenewRequest string
}

// IsSameAs reports whether the next attempt would be made with the same inputs. Removing the
// request to renew asks for nothing, and so changes nothing.
func (i Inputs) IsSameAs(next Inputs) bool {
	if next.RenewRequest == "" {
		next.RenewRequest = i.RenewRequest
	}
	return i == next
}

// Failure is a failed attempt, or the cause that makes an attempt impossible.
type Failure struct {
	// Row is the row of the failure's reason.
	Row reason.Row
	// Detail says what happened, in words that are safe to show. It is empty if the failure is
	// known from the status only.
	Detail string
	// IsRestored is true if the failure is known from the status only. WasReady is what condition
	// Ready was in that status.
	IsRestored, WasReady bool
	// Tried are the inputs of the attempt.
	Tried Inputs
	// CredentialsDigest is a digest of the credentials that were tried; empty if none were.
	CredentialsDigest string
	// NotBefore is when the next attempt may be made; zero if that is not a matter of time.
	// WaitsUntil tells when an outage has ended meanwhile.
	NotBefore time.Time
	// SentAt is when the request to Pipedream was sent; zero if none was.
	SentAt time.Time
	// RefusedOver is the version of the Secret that could not be replaced, if a write failed. Of an
	// object that is being deleted, it says which finalizers hold it.
	RefusedOver string
	// IsOutage is true if the API server has refused the write for a cause that may go away by
	// itself.
	IsOutage bool
	// Since is when the attempts began to fail for this reason.
	Since time.Time
	// Count is how many attempts in a row have failed that are paced as one.
	Count int
}

// New returns a failure that has happened now, as the first one.
func New(row reason.Row, detail string, tried Inputs, now time.Time) *Failure {
	return &Failure{Row: row, Detail: detail, Tried: tried, Since: now.Truncate(time.Second), Count: 1}
}

// SinceInStatus returns since when attempts have failed for a reason, as far as a status tells. failedAt is when
// the condition with the reason became False. stalledAt is when condition Stalled became True for the same
// reason; zero if it is not True for that.
//
// The condition may have become False for another reason. So a reason that calls a person only after a grace
// time begins now, as far as is known. If a person was called for this reason, it began the grace time
// before that.
func SinceInStatus(row reason.Row, failedAt, stalledAt, now time.Time) time.Time {
	switch {
	case row.Grace == 0:
		return earlier(failedAt, now)
	case !stalledAt.IsZero():
		return earlier(stalledAt, now).Add(-row.Grace)
	}
	return now.Truncate(time.Second)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// IsTransient reports whether the failure may mend itself.
func (f *Failure) IsTransient() bool { return f.Row.Class == reason.Transient || f.IsOutage }

// NeedsPerson reports whether the failure shows that only a person can help. A status does not tell whether a refused
// write may mend itself.
func (f *Failure) NeedsPerson() bool {
	mayMendItself := f.IsOutage || f.IsRestored && f.Row.Reason == v1alpha1.ReasonSecretWriteRefused
	return f.Row.Class.NeedsPerson() && !mayMendItself
}

// IsOfCluster reports whether a request to the Kubernetes API server has failed, and not one to
// Pipedream, without a person having to correct anything.
func (f *Failure) IsOfCluster() bool {
	return f.IsOutage || f.Row.Reason == v1alpha1.ReasonClusterUnavailable
}

// WaitsBriefly reports whether the next attempt comes so soon that credentials which expire meanwhile
// are replaced in time. Pipedream, a person or a change ends the other waits.
func (f *Failure) WaitsBriefly() bool {
	return f.IsTransient() || f.Row.Class == reason.Unknown
}

// IsDeletion reports whether the failure is that the object or its Secret is being deleted. A nil
// failure is not.
func (f *Failure) IsDeletion() bool {
	return f != nil && f.Row.Reason == v1alpha1.ReasonSecretTerminating
}

// HasSameInputs reports whether another attempt would be made with the same inputs as the failed one,
// and over the same version of the Secret if a write was refused, so that it has to wait.
func (f *Failure) HasSameInputs(next Inputs, targetVersion string) bool {
	if f.Row.Reason == v1alpha1.ReasonSecretWriteRefused && f.RefusedOver != targetVersion {
		return false
	}
	return f.Tried.IsSameAs(next)
}

// IsUnanswered reports whether the reason of a failure says that Pipedream has not answered, or not
// with anything of use.
func IsUnanswered(because string) bool {
	return because == v1alpha1.ReasonEndpointUnavailable || because == v1alpha1.ReasonMalformedResponse
}

// IsOver reports whether the attempt has failed in an outage that is over. outageEnded is when the
// last outage ended; zero if there was none. A nil failure is not over.
func (f *Failure) IsOver(outageEnded time.Time) bool {
	return f != nil && IsUnanswered(f.Row.Reason) && f.SentAt.Before(outageEnded)
}

// WaitsUntil returns when the next attempt may be made; zero if that is not a matter of time. A
// failure in an outage is no reason to wait after the outage. outageEnded is as for IsOver.
func (f *Failure) WaitsUntil(outageEnded time.Time) time.Time {
	if f.IsOver(outageEnded) {
		return time.Time{}
	}
	return f.NotBefore
}

// StallsAt returns when the failure becomes a matter for a person; zero for never, and for no failure.
func (f *Failure) StallsAt() time.Time {
	if f == nil {
		return time.Time{}
	}
	return f.Row.StallsAt(f.Since)
}

// IsStalled reports whether a person has to act.
func (f *Failure) IsStalled(now time.Time) bool {
	at := f.StallsAt()
	return !at.IsZero() && !now.Before(at)
}

// After returns the failure as one that has come after another; nil if there was none. A failure of
// the same kind adds to the one before.
func (f *Failure) After(last *Failure) *Failure {
	if last == nil {
		return f
	}
	if last.Row.Reason == f.Row.Reason {
		f.Since = last.Since
	}
	if arePacedAsOne(last, f) && last.Tried.IsSameAs(f.Tried) {
		f.Count = last.Count + 1
	}
	return f
}

// arePacedAsOne reports whether two failures in a row are paced as one: an API that is out of order
// fails in one way and then in another. Pipedream and the Kubernetes API server are two APIs.
func arePacedAsOne(a, b *Failure) bool {
	if a.IsTransient() && b.IsTransient() {
		return a.IsOfCluster() == b.IsOfCluster()
	}
	return a.Row.Reason == b.Row.Reason && a.IsTransient() == b.IsTransient()
}

// IsStill reports whether a failure that is known from the status is the same as another one, so
// that the message in the status is still true.
func (f *Failure) IsStill(other *Failure) bool {
	return f != nil && f.IsRestored && f.Row.Reason == other.Row.Reason &&
		f.Tried.Generation == other.Tried.Generation && f.Tried.CredentialsVersion == other.Tried.CredentialsVersion
}

// Paced returns when an attempt is made again after the failure, unless a limiter knows better. The
// identity tells objects apart that fail together. expiry is when the current credentials expire;
// zero if they are worth nothing.
func (f *Failure) Paced(identity string, expiry, now time.Time) time.Time {
	if f.NeedsPerson() {
		return now.Add(retry.After(retry.Refused, identity, f.Count))
	}
	return now.Add(retry.AfterTransient(identity, f.Count, expiry, now))
}

// LimitWait cuts a wait short that has become too long for the current credentials, which may have
// been replaced, edited or deleted since the wait began.
func (f *Failure) LimitWait(expiry, now time.Time) {
	if f.WaitsBriefly() {
		f.NotBefore = retry.LimitTransient(f.NotBefore, expiry, now)
	}
}

// IsRestoredWith reports whether the failure is known from the status only, and condition Ready is
// still what it was then, so that the message in the status explains the failure. A nil failure is not.
func (f *Failure) IsRestoredWith(isReady bool) bool {
	return f != nil && f.IsRestored && f.WasReady == isReady
}
