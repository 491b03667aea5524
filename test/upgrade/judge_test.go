//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

const (
	// aftermath is how long after an object was due a request may still come of it: the exchange is followed by a write of
	// the Secret, a write of the status, and an Event, on a machine that may be busy.
	aftermath = 5 * time.Second
	// rounding is how much the times of a status, of the audit log and of the simulator may be apart.
	rounding = time.Second
	// stallsAfter is how long credentials are missing before the operator says Stalled.
	stallsAfter = 2 * time.Minute
)

// triedAgain are the reasons after which the operator tries again by itself. After the others it waits for a change.
var triedAgain = []string{
	v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonScopeRejected, v1alpha1.ReasonRequestRejected,
	v1alpha1.ReasonRateLimited, v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonMalformedResponse,
	v1alpha1.ReasonSecretWriteRefused, v1alpha1.ReasonClusterUnavailable,
}

// never is after every test.
var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// dueFrom returns from when on the operator has something to do for an object if nobody changes anything. All of it is
// in the status: whoever reads the status must come to the same answer, and a manager that has just started reads it.
func dueFrom(seen *sight) time.Time {
	if seen.token == nil {
		return never
	}
	if seen.token.DeletionTimestamp != nil {
		return deletionDueFrom(seen)
	}
	status, renewed, due := seen.token.Status, seen.condition(v1alpha1.ConditionRenewed), never
	earlier := func(at time.Time) {
		if at.Before(due) {
			due = at
		}
	}
	switch {
	case status.ObservedGeneration != seen.token.Generation, renewed.Status == metav1.ConditionUnknown, renewed.Status == "":
		return time.Time{} // The operator has not done yet what is asked for.
	case renewed.Status == metav1.ConditionFalse && status.NextAttemptTime == nil && slices.Contains(triedAgain, renewed.Reason):
		return time.Time{} // The next attempt waits for its turn, and while it waits the status names no time.
	case waitsTooLong(seen):
		return time.Time{} // The version before waits for so long. This tree cuts such a wait short.
	case renewed.Status == metav1.ConditionTrue && status.RenewalTime != nil:
		earlier(status.RenewalTime.Time)
	case renewed.Status == metav1.ConditionFalse && status.NextAttemptTime != nil:
		earlier(status.NextAttemptTime.Time)
	}
	if seen.condition(v1alpha1.ConditionReady).Status == metav1.ConditionTrue && status.ExpirationTime != nil {
		earlier(status.ExpirationTime.Time) // The condition Ready changes then.
	}
	if renewed.Reason == v1alpha1.ReasonCredentialsMissing && seen.condition(v1alpha1.ConditionStalled).Status == "" {
		earlier(renewed.LastTransitionTime.Add(stallsAfter))
	}
	return due
}

// waitsTooLong tells whether an object without a token waits for longer after a transient failure than
// retry.AfterTransient allows.
func waitsTooLong(seen *sight) bool {
	renewed, next := seen.condition(v1alpha1.ConditionRenewed), seen.token.Status.NextAttemptTime
	isTransient := renewed.Reason == v1alpha1.ReasonEndpointUnavailable || renewed.Reason == v1alpha1.ReasonMalformedResponse
	return isTransient && next != nil && seen.condition(v1alpha1.ConditionReady).Status != metav1.ConditionTrue &&
		next.Sub(seen.at) > retry.LongestTransient(time.Time{}, seen.at)+rounding
}

// deletionDueFrom is dueFrom for an object that is being deleted and is held by a finalizer. The previous version leaves it
// alone; this one says who holds it, and when its token expires.
func deletionDueFrom(seen *sight) time.Time {
	due, deleted := never, seen.token.DeletionTimestamp.Time
	switch {
	case seen.condition(v1alpha1.ConditionRenewed).Reason != v1alpha1.ReasonSecretTerminating:
		return deleted
	case seen.condition(v1alpha1.ConditionStalled).Status == "":
		due = deleted.Add(stallsAfter)
	}
	status := seen.token.Status
	if seen.condition(v1alpha1.ConditionReady).Status == metav1.ConditionTrue && status.ExpirationTime != nil && status.ExpirationTime.Time.Before(due) {
		due = status.ExpirationTime.Time
	}
	return due
}

// isDue tells whether an object was due at a time or shortly before.
func isDue(history []*sight, at time.Time) bool {
	for i, seen := range history {
		if seen.at.After(at.Add(-rounding)) {
			break // This may be the outcome of the request, which must not be its own reason.
		}
		isReplaced := i+1 < len(history) && history[i+1].at.Before(at.Add(-aftermath))
		if !isReplaced && !dueFrom(seen).After(at.Add(rounding)) {
			return true
		}
	}
	return false
}

// lost returns what a status says no longer, though nothing has happened that makes it untrue; nothing if it says all.
func lost(before, after *sight) string {
	if before.token == nil || after.token == nil || before.token.UID != after.token.UID {
		return ""
	}
	old, now := before.token.Status, after.token.Status
	if now.ObservedGeneration < old.ObservedGeneration {
		return fmt.Sprintf("observedGeneration went from %d to %d", old.ObservedGeneration, now.ObservedGeneration)
	}
	for _, was := range old.Conditions {
		is := after.condition(was.Type)
		switch {
		case was.LastTransitionTime.Unix() == 0: // The default of the schema: nobody has observed it.
		case is.Type == "" && was.Type == v1alpha1.ConditionStalled:
			if reason := after.condition(v1alpha1.ConditionRenewed).Reason; reason == was.Reason {
				return "the condition Stalled is gone, and Renewed still says " + reason
			}
		case is.Type == "":
			return "the condition " + was.Type + " is gone"
		case is.Status == was.Status && !is.LastTransitionTime.Equal(&was.LastTransitionTime):
			return fmt.Sprintf("the condition %s is %s since %s, and before it was so since %s", was.Type, is.Status, is.LastTransitionTime, was.LastTransitionTime)
		}
	}
	if isSameSecret(before.secret, after.secret) {
		for name, times := range map[string][2]*metav1.Time{
			"issueTime": {old.IssueTime, now.IssueTime}, "expirationTime": {old.ExpirationTime, now.ExpirationTime}, "renewalTime": {old.RenewalTime, now.RenewalTime},
		} {
			if name == "renewalTime" && times[1] == nil && after.token.DeletionTimestamp != nil {
				continue // The previous version says when it would be renewed, and never does.
			}
			if times[0] != nil && (times[1] == nil || times[1].Time.Before(times[0].Time)) {
				return fmt.Sprintf("%s went from %s to %s, and the Secret is the same", name, times[0], times[1])
			}
		}
	}
	return ""
}

func isSameSecret(before, after *corev1.Secret) bool {
	return before != nil && after != nil && before.UID == after.UID
}

// judge looks at all that has happened since the last call, and reports what must not have happened.
func (s *site) judge(during string) {
	s.Helper()
	s.observer.awaitLook()
	_, until := s.observer.sights(s.objects[0])
	until = until.Add(-rounding)
	var requests []*request
	requests, s.judgedUntil = s.requests(s.judgedUntil, until)
	for _, r := range requests {
		if wrong := s.judgeRequest(r); wrong != "" {
			s.Errorf("%s: %s: %s", during, wrong, r)
		}
	}
	for _, e := range s.pipedream.exchangesOf("", s.judgedExchanges) {
		if e.at.After(until) || e.client == reader { // wantAccountsResumed and wantAccountsUntouched judge the latter.
			continue
		}
		if o := s.ofClient(e.client); o == nil {
			s.Errorf("%s: a token was asked for with the client ID %q, which belongs to no PipedreamToken", during, e.client)
		} else if last := s.observer.last(o); o.adapts && (e.status != http.StatusOK || s.mayFindOut(o) || last.secret == nil) {
			continue // A version that does not know why the last attempt failed makes another one. It must replace no token.
		} else if history, _ := s.observer.sights(o); o.isJudged(e.at) && !isDue(history, e.at) && (o.triesAtStart == "" || !s.isStarting(e.at)) {
			s.Errorf("%s: a token was asked for at %s for %s, which was not due (the answer was %d); its status:\n%s",
				during, e.at.Format("15:04:05.000"), o, e.status, statusOf(s.observer.last(o)))
		}
	}
	s.judgedExchanges = until
	for _, problem := range s.observer.take() {
		s.Errorf("%s: %s", during, problem)
	}
	for _, o := range s.objects {
		history, _ := s.observer.sights(o)
		for ; o.judgedSights+1 < len(history); o.judgedSights++ {
			before, after := history[o.judgedSights], history[o.judgedSights+1]
			if what := lost(before, after); what != "" && o.isJudged(after.at) && !o.adapts {
				s.Errorf("%s: the status of %s has lost something at %s: %s; before:\n%s\nafter:\n%s", during, o, after.at.Format("15:04:05.000"),
					what, statusOf(before), statusOf(after))
			}
		}
	}
}

// judgeRequest returns what is wrong with a request of a manager; nothing if it was needed.
func (s *site) judgeRequest(r *request) string {
	if r.isForbidden() {
		return "the RBAC rules of this version do not allow a request that its manager makes"
	}
	if r.isWatching() || r.isLease() || r.isDiscovery() {
		return ""
	}
	if r.isAboutAccounts() {
		return s.judgeAccountRequest(r)
	}
	o := s.concerns(r)
	if o == nil {
		return "a request about no PipedreamToken of this test"
	}
	history, _ := s.observer.sights(o)
	if !o.isJudged(r.At) || isDue(history, r.At) || s.isForVerification(o, r) {
		return ""
	}
	isStarting := s.isStarting(r.At)
	switch {
	case s.mayFindOut(o):
		return ""
	case isStarting && o.triesAtStart != "":
		return ""
	case r.Verb == "get":
		interval := o.manifest.Spec.Verification.IntervalSeconds
		if interval > 0 && interval < day {
			return "" // The manager reads the token to try it, and may find then that it is not its turn.
		}
		if o.adapts || isStarting && o.readsAtStart != "" {
			return ""
		}
		return "an object that was not due was read"
	case r.Object.Resource != "secrets" && (o.adapts || isStarting && o.rewritesAtStart != ""):
		return ""
	case r.Object.Resource != "secrets" && isStarting && r.version() == "previous" && isInTrouble(history, r.At):
		return "" // The version before does not restore all that a status says of a failure. That can't be mended any more.
	case r.Object.Subresource == "status" && isStarting && r.version() == "previous" && r.changesWordsOnly(history):
		return "" // The version before puts its own words into each message at its start. That can't be mended any more.
	}
	return "an object that was not due was written"
}

// mayFindOut tells whether the version before may spend a token on an object whose verification is suspended: it knows a
// suspension by the words of its own message only, and so finds out again that Pipedream refuses every token.
func (s *site) mayFindOut(o *object) bool { return s.isBack && o.name == suspendedObject }

// isInTrouble tells whether the status said at a time that something is wrong.
func isInTrouble(history []*sight, at time.Time) bool {
	var before *sight
	for _, seen := range history {
		if !seen.at.After(at.Add(-rounding)) {
			before = seen
		}
	}
	return before != nil && (before.condition(v1alpha1.ConditionRenewed).Status != metav1.ConditionTrue ||
		before.condition(v1alpha1.ConditionVerified).Status == metav1.ConditionUnknown)
}

// isForVerification tells whether a request belongs to verifying the token: the operator reads the Secret. While the
// outcome is not known, it says in the status and in an Event what it has found, if that is something new.
func (s *site) isForVerification(o *object, r *request) bool {
	for _, at := range s.pipedream.verificationsOf(o.client()) {
		sinceTry := r.At.Sub(at)
		if sinceTry < -rounding || sinceTry > aftermath {
			continue
		}
		if r.Verb == "get" || r.Object.Resource == "secrets" {
			return r.Verb == "get"
		}
		var before metav1.Condition
		history, _ := s.observer.sights(o)
		for _, seen := range history {
			if !seen.at.After(at) {
				before = seen.condition(v1alpha1.ConditionVerified)
			}
		}
		return before.Status == metav1.ConditionUnknown && (len(r.Body.Status) == 0 || r.saysAnother(before))
	}
	return false
}

// changesWordsOnly tells whether the status that a request writes is the one that the object had before, but for the
// messages of its conditions.
func (r *request) changesWordsOnly(history []*sight) bool {
	var status v1alpha1.PipedreamTokenStatus
	if json.Unmarshal(r.Body.Status, &status) != nil {
		return false
	}
	var before *v1alpha1.PipedreamTokenStatus
	for _, seen := range history {
		if !seen.at.After(r.At.Add(-rounding)) && seen.token != nil {
			before = seen.token.Status.DeepCopy()
		}
	}
	if before == nil {
		return false
	}
	for _, conditions := range [][]metav1.Condition{status.Conditions, before.Conditions} {
		for i := range conditions {
			conditions[i].Message = ""
		}
	}
	return equality.Semantic.DeepEqual(&status, before)
}

// saysAnother tells whether the status that a request writes has a condition of the type of another one, with another
// status, reason or message.
func (r *request) saysAnother(than metav1.Condition) bool {
	var status v1alpha1.PipedreamTokenStatus
	if json.Unmarshal(r.Body.Status, &status) != nil {
		return false
	}
	is := meta.FindStatusCondition(status.Conditions, than.Type)
	return is != nil && (is.Status != than.Status || is.Reason != than.Reason || is.Message != than.Message)
}

// isStarting tells whether a manager has begun to lead shortly before. What it does at first may have to wait until
// Pipedream may be asked again.
func (s *site) isStarting(at time.Time) bool {
	for _, began := range s.leading {
		if since := at.Sub(began); since > -aftermath && since < pause+2*aftermath {
			return true
		}
	}
	return false
}

// judgeQuiet checks that in a time in which nothing is due the managers have only followed objects and held the lease.
func (s *site) judgeQuiet(offset int64, from, to time.Time) {
	s.Helper()
	requests, _ := s.requests(offset, to)
	leases := 0
	for _, r := range requests {
		switch {
		case r.At.Before(from) || r.isWatching():
		case r.Object.Resource == "leases":
			leases++
		case r.Verb == "get" && s.concerns(r) != nil && s.isForVerification(s.concerns(r), r):
			s.Errorf("in the quiet time a token was tried: %s", r) // The intervals are chosen so that none is.
		default:
			s.Errorf("in the quiet time a manager made a request: %s", r)
		}
	}
	if leases < int(to.Sub(from)/(10*time.Second)) {
		s.Errorf("in the quiet time of %s the audit log shows %d requests about leases: it does not show what the managers do", to.Sub(from), leases)
	}
	if made := s.pipedream.exchangesOf("", from); len(made) > 0 {
		s.Errorf("in the quiet time %d tokens were asked for: %+v", len(made), made)
	}
}

func statusOf(seen *sight) string {
	if seen == nil || seen.token == nil {
		return "(none)"
	}
	text, err := json.MarshalIndent(seen.token.Status, "  ", "  ")
	if err != nil {
		return err.Error()
	}
	return "  " + string(text)
}

// issuedSince returns how many tokens Pipedream has issued for an object since a time.
func (s *site) issuedSince(o *object, since time.Time) int {
	count := 0
	for _, e := range s.pipedream.exchangesOf(o.client(), since) {
		if e.status == http.StatusOK {
			count++
		}
	}
	return count
}
