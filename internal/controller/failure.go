// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// missingCredentialsGrace is how long credentials may be missing before a person
// is called: they are often delivered a little later than what names them.
const missingCredentialsGrace = 2 * time.Minute

// attempt is what an attempt is made with. When it has changed since the last
// one failed, there is no point in waiting.
type attempt struct {
	generation         int64
	credentialsVersion string
	renewRequest       string
}

// isRepeatedBy reports whether the next attempt would be made with the same. Removing
// the request to renew asks for nothing, and so changes nothing.
func (a attempt) isRepeatedBy(next attempt) bool {
	if next.renewRequest == "" {
		next.renewRequest = a.renewRequest
	}
	return a == next
}

// failure is the outcome of the last attempt, if it failed.
type failure struct {
	// reason is the one of condition Renewed.
	reason string
	// what says what happened, in words that are safe to show.
	what string
	// told is the whole message if the failure is known from the status only. It is
	// repeated for as long as Ready is as it was then.
	told      string
	toldReady bool
	tried     attempt
	// credentials is a digest of the credentials that were tried; empty when none were.
	credentials string
	// notBefore is when the next attempt may be made; zero when that is not a
	// matter of time.
	notBefore time.Time
	// refusedOver is the version of the target that could not be replaced, if that is
	// what failed.
	refusedOver string
	// since is when the attempts began to fail for this reason.
	since time.Time
	// count is how many attempts in a row have failed so that they are paced as one.
	count int
}

// isRefusal tells whether only a person can mend it.
func (f *failure) isRefusal() bool {
	switch f.reason {
	case v1alpha1.ReasonCredentialsInvalid, v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonScopeRejected,
		v1alpha1.ReasonScopeNotGranted, v1alpha1.ReasonRequestRejected,
		v1alpha1.ReasonSecretNotOwned, v1alpha1.ReasonSecretWriteRefused, v1alpha1.ReasonTemplateInvalid:
		return true
	}
	return false
}

// isAbout tells whether another attempt would be made with the same as the failed
// one, so that it has to wait.
func (f *failure) isAbout(o *observation) bool {
	if f.reason == v1alpha1.ReasonSecretWriteRefused && f.refusedOver != versionOf(o.target) {
		return false
	}
	return f.tried.isRepeatedBy(o.trying())
}

// isRetry tells whether the credentials, now that they are read, turn out to be
// those that have failed: only what is written beside them has changed. It then
// waits as long as it would have.
func (o *observation) isRetry() bool {
	failed := o.memory.failure
	if failed == nil || !o.now.Before(failed.notBefore) || failed.credentials != o.memory.digest(*o.clientCredentials) {
		return false
	}
	current, sameCredentials := o.trying(), failed.tried
	sameCredentials.credentialsVersion = current.credentialsVersion
	if !sameCredentials.isRepeatedBy(current) {
		return false
	}
	failed.tried = sameCredentials
	return true
}

// stallsAt returns when the failure becomes a person's business; zero for never.
func (f *failure) stallsAt() time.Time {
	switch {
	case f == nil:
		return time.Time{}
	case f.reason == v1alpha1.ReasonCredentialsMissing:
		return f.since.Add(missingCredentialsGrace)
	case f.isRefusal():
		return f.since
	}
	return time.Time{}
}

func (f *failure) stalled(now time.Time) bool {
	at := f.stallsAt()
	return !at.IsZero() && !now.Before(at)
}

// after returns the failure, which has come after another. One of the same kind adds
// to it.
func (f *failure) after(last *failure) *failure {
	if last == nil {
		return f
	}
	if last.reason == f.reason {
		f.since = last.since
	}
	if last.isPacedAs(f) && last.tried.isRepeatedBy(f.tried) {
		f.count = last.count + 1
	}
	return f
}

// isPacedAs tells whether two failures in a row are paced as one: an API that is out
// of order fails in one way and then in another.
func (f *failure) isPacedAs(other *failure) bool {
	return f.reason == other.reason || f.isTransient() && other.isTransient()
}

func (f *failure) isTransient() bool {
	return f.reason == v1alpha1.ReasonEndpointUnavailable || f.reason == v1alpha1.ReasonMalformedResponse
}

func newFailure(o *observation, reason, what string, now time.Time) *failure {
	return &failure{reason: reason, what: what, tried: o.trying(), since: now.Truncate(time.Second), count: 1}
}

// fail remembers a failed attempt. One that was made before its time was somebody's
// deed.
func (o *observation) fail(reason, what string, now time.Time) *failure {
	last := o.memory.failure
	if last != nil && now.Before(last.notBefore) {
		o.memory.byEvent.Add(now)
	}
	o.memory.failure = newFailure(o, reason, what, now).after(last)
	return o.memory.failure
}

// meet remembers what makes an attempt impossible, until the watch on Secrets
// tells of a change. How the last attempt failed stays in memory.
func (o *observation) meet(why renewal.Why) {
	reason, what := v1alpha1.ReasonCredentialsMissing, "The Secret that `spec.clientSecretRef` names does not exist"
	switch {
	case why == renewal.NotOwned:
		reason, what = v1alpha1.ReasonSecretNotOwned, ""
	case why == renewal.BadTemplate:
		reason, what = v1alpha1.ReasonTemplateInvalid, o.templateError().Error()
	case why == renewal.OtherType:
		reason, what = v1alpha1.ReasonSecretWriteRefused, "it exists already, and is of another type than `spec.secret.type`"
	case o.credentials != nil:
		reason, what = o.memory.incomplete.reason, o.memory.incomplete.what
		if what == "" {
			what = "The Secret that `spec.clientSecretRef` names holds no usable client credentials"
		}
	}
	before := o.memory.obstacle
	o.memory.obstacle = newFailure(o, reason, what, o.now).after(o.memory.trouble())
	if before.isStill(o.memory.obstacle) {
		o.memory.obstacle.told, o.memory.obstacle.toldReady = before.told, before.toldReady
	}
}

// isStill tells whether a failure that is known from the status is the same as another
// one, so that its message is still true.
func (f *failure) isStill(other *failure) bool {
	return f != nil && f.told != "" && f.reason == other.reason &&
		f.tried.generation == other.tried.generation && f.tried.credentialsVersion == other.tried.credentialsVersion
}

// isTold tells whether the message in the status of an earlier process explains the
// failure, while Ready is as given.
func (f *failure) isTold(isReady bool) bool {
	return f != nil && f.told != "" && f.toldReady == isReady
}

// reasonOf returns the condition reason of a failed token request.
func reasonOf(kind pipedream.Kind) string {
	switch kind {
	case pipedream.CredentialsInvalid:
		return v1alpha1.ReasonCredentialsInvalid
	case pipedream.CredentialsRejected:
		return v1alpha1.ReasonCredentialsRejected
	case pipedream.ScopeRejected:
		return v1alpha1.ReasonScopeRejected
	case pipedream.ScopeNotGranted:
		return v1alpha1.ReasonScopeNotGranted
	case pipedream.RateLimited:
		return v1alpha1.ReasonRateLimited
	case pipedream.Malformed:
		return v1alpha1.ReasonMalformedResponse
	case pipedream.RequestRejected:
		return v1alpha1.ReasonRequestRejected
	case pipedream.Unavailable:
	}
	return v1alpha1.ReasonEndpointUnavailable
}

// failRequest remembers a failed token request.
func (r *Reconciler) failRequest(o *observation, err error) {
	cause, ok := errors.AsType[*pipedream.Error](err)
	if !ok {
		cause = &pipedream.Error{Kind: pipedream.Unavailable, Detail: "no answer"}
	}
	now := r.Clock.Now()
	failed := o.fail(reasonOf(cause.Kind), cause.Error(), now)
	r.Metrics.attempted(o.decision.Why, failed.reason)
	failed.credentials = o.memory.digest(*o.clientCredentials)
	switch {
	case !cause.RetryAt.IsZero():
		failed.notBefore = cause.RetryAt // As the limiter has decided, for all who are concerned.
	case failed.isRefusal():
		failed.notBefore = now.Add(retry.After(retry.Refused, o.wanted.Identity, failed.count))
	default:
		failed.notBefore = now.Add(retry.After(retry.Transient, o.wanted.Identity, failed.count))
	}
}

// misfitMark begins what is said of templates that have failed with a token, and not
// with a made-up one. It is recognized after a restart, which must not spend another
// token on them.
const misfitMark = "with the issued token"

// failWrite remembers that the API server does not store the Secret with an issued
// token. It returns any other error, for that is not about this Secret.
func (r *Reconciler) failWrite(o *observation, err error) error {
	what, err := o.refusal(err)
	if what == "" {
		if err == nil {
			r.Metrics.attempted(o.decision.Why, v1alpha1.ReasonTemplateInvalid)
		}
		return err
	}
	r.Metrics.attempted(o.decision.Why, v1alpha1.ReasonSecretWriteRefused)
	now := r.Clock.Now()
	r.paceWrite(o, o.fail(v1alpha1.ReasonSecretWriteRefused, what, now), now)
	return nil
}

// failRewrite is the same for the held token. What is known of the next token stays.
func (r *Reconciler) failRewrite(o *observation, err error) error {
	what, err := o.refusal(err)
	if what == "" {
		return err
	}
	now := r.Clock.Now()
	o.memory.rewriteFailure = newFailure(o, v1alpha1.ReasonSecretWriteRefused, what, now).after(o.memory.rewriteFailure)
	r.paceWrite(o, o.memory.rewriteFailure, now)
	return nil
}

func (r *Reconciler) paceWrite(o *observation, failed *failure, now time.Time) {
	failed.refusedOver = versionOf(o.target)
	failed.notBefore = now.Add(retry.After(retry.Refused, o.wanted.Identity, failed.count))
}

// refusal returns what to say of a write that the API server refuses; nothing and
// the error when it is another one. Templates that do not fit the token are remembered.
func (o *observation) refusal(err error) (what string, other error) {
	if unfit, ok := errors.AsType[unfitError](err); ok {
		o.memory.misfit = &misfit{generation: o.token.Generation, err: fmt.Errorf("%s, %w", misfitMark, unfit.error)}
		o.meet(renewal.BadTemplate)
		return "", nil
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok {
		return "", err
	}
	switch status.ErrStatus.Code {
	case http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusRequestEntityTooLarge:
	case http.StatusInternalServerError:
		if status.ErrStatus.Reason != metav1.StatusReasonInternalError { // That of an admission webhook that can't be asked.
			return "", err
		}
	default:
		return "", err
	}
	// The API server's own message may quote the Secret.
	return fmt.Sprintf("HTTP status %d %s", status.ErrStatus.Code, status.ErrStatus.Reason), nil
}

// explain says what happened, and what to do about it.
func (f *failure) explain() (happened, advice string) {
	switch f.reason {
	case v1alpha1.ReasonCredentialsMissing, v1alpha1.ReasonCredentialsInvalid, v1alpha1.ReasonCredentialsRejected:
		return f.explainCredentials()
	case v1alpha1.ReasonScopeRejected:
		return "Pipedream does not grant the scopes (" + f.what + ")", "Correct `spec.scopes`."
	case v1alpha1.ReasonScopeNotGranted:
		return "Pipedream issued a token without all the scopes that `spec.scopes` asks for (" + f.what + ")",
			"The token was dropped. Remove these scopes from the spec, or let the OAuth client have them at Pipedream."
	case v1alpha1.ReasonRequestRejected:
		return "Pipedream refuses the token request (" + f.what + ")",
			"Check the operator's --api-url and its proxy settings, and that the OAuth client exists and may have these scopes."
	case v1alpha1.ReasonSecretNotOwned:
		return "A Secret with the wanted name exists, and does not belong to this PipedreamToken",
			"It is left untouched. Delete it, or create a PipedreamToken with another `spec.secret.name`."
	case v1alpha1.ReasonSecretWriteRefused:
		return "The API server does not store the Secret (" + f.what + ")",
			"Check quotas and admission policies of the namespace, and that the Secret is not immutable, nor of another type than `spec.secret.type`; a token that is issued already is kept, and stored once that is possible."
	case v1alpha1.ReasonTemplateInvalid:
		return "The templates in `spec.secret.data` can't be rendered (" + f.what + ")", // As toldMisfit expects it.
			"Correct them; that is noticed at once. Until then no token is asked for, and the Secret stays as it is."
	case v1alpha1.ReasonRateLimited:
		return "Pipedream limits the rate of token requests (" + f.what + ")",
			"Nothing is to be done unless this stays; then lower the operator's --token-requests-per-second, or look for others who ask from the same IP address."
	case v1alpha1.ReasonMalformedResponse:
		return "Pipedream's answer holds no usable token (" + f.what + ")", "Check the operator's --api-url and its proxy settings if this stays."
	}
	return "Pipedream is out of reach or out of order (" + f.what + ")", "Check the network, the operator's --api-url and its proxy settings if this stays."
}

// explainCredentials explains a failure that only other client credentials mend.
func (f *failure) explainCredentials() (happened, advice string) {
	switch f.reason {
	case v1alpha1.ReasonCredentialsMissing:
		return f.what, "Deliver it, or correct `spec.clientSecretRef`; that is noticed at once."
	case v1alpha1.ReasonCredentialsInvalid:
		return f.what, "Pipedream was not asked. Write the OAuth client's ID and secret into this Secret, each value alone and in visible ASCII characters; " +
			"white space around a value is ignored. A change of the Secret is noticed at once."
	}
	return "Pipedream rejects the client credentials (" + f.what + ")",
		"Put the OAuth client's current ID and secret into the Secret that `spec.clientSecretRef` names; they are tried at once when they change."
}

// since comes before when a failure has begun, and endOfWhat after its details.
const (
	since     = ", since "
	endOfWhat = ")" + since
)

// message says what happened, since when, until when the held token is good, and
// what to do.
func (f *failure) message(status *v1alpha1.PipedreamTokenStatus) string {
	isReady := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)
	if f.isTold(isReady) {
		return f.told
	}
	happened, advice := f.explain()
	held := "No usable token is held."
	if isReady {
		held = "The held token is good until " + show(status.ExpirationTime) + "."
	}
	return happened + since + f.since.UTC().Format(time.RFC3339) + ". " + held + " " + advice
}
