// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package renewal decides when a token is issued, renewed or verified, and why. It is pure: it
// reads no clock, does no I/O, and knows neither Kubernetes nor HTTP. The caller gathers what is
// desired and what is known, and acts on the one decision that comes back.
package renewal

import (
	"slices"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// Desired is what the owner of a token asks for.
type Desired struct {
	// Identity tells one token from another, so that tokens that were issued together are not
	// renewed together.
	Identity string
	// Scopes and API are compared with the ones of the Record.
	Scopes, API string
	// RenewRequest asks for a token that was issued for it. Empty, it asks for nothing.
	RenewRequest string
	// RenewBefore is how long before its expiry the token is renewed; 0 means after two thirds of
	// its life.
	RenewBefore time.Duration
	// VerifyEvery is the time between two verifications of the token; 0 means never.
	VerifyEvery time.Duration
	// Suspended asks for nothing at all: no token is issued, written or verified. What was issued
	// and not written yet is kept, and a request to renew waits.
	Suspended bool
}

// Record is what is known of a stored token without reading it.
type Record struct {
	IssueTime, ExpirationTime time.Time
	Scopes, API, RenewRequest string
}

// Target is the state of the Secret that holds the token.
type Target string

// The states of the target.
const (
	// Absent: there is no Secret.
	Absent Target = "Absent"
	// Foreign: the Secret belongs to somebody else.
	Foreign Target = "Foreign"
	// Owned: the Secret belongs to the owner of the token.
	Owned Target = "Owned"
	// Terminating: the Secret belongs to the owner, and is about to be removed. A token that is
	// written to it is lost.
	Terminating Target = "Terminating"
)

// Check is what reading the target and the credentials has shown.
type Check string

// The outcomes of a check.
const (
	// Unchecked: the target, the credentials or the spec have changed since the last check.
	Unchecked Check = "Unchecked"
	// Good: the target holds what was written, for the credentials as they are.
	Good Check = "Good"
	// Edited: somebody has changed what was written.
	Edited Check = "Edited"
	// InputsChanged: the token was issued for other credentials.
	InputsChanged Check = "InputsChanged"
	// Drifted: the token is as it was written, and something else in the target is not as the spec
	// asks for now.
	Drifted Check = "Drifted"
	// TemplatesChanged: the templates have changed, and the token can't be read from the target, so
	// that the new templates need a new token.
	TemplatesChanged Check = "TemplatesChanged"
)

// Facts are the state of the world, and what is remembered of earlier attempts.
type Facts struct {
	Target Target
	// CollectedBy is when a Terminating target is gone, or is not waited for any longer. It is zero if
	// only the removal of the target ends the wait.
	CollectedBy time.Time
	// OwnerTerminating is true if the owner itself is being deleted. It gets no token any longer.
	OwnerTerminating bool
	// Record is the record of an Owned target, or of a Terminating one that still counts; nil if
	// it can't be read.
	Record *Record
	Check  Check
	// HasCredentials is true if there are credentials to ask with.
	HasCredentials bool
	// Superseded is true if the record is not the one of the token that was stored last, and
	// the token that was stored last is not due: somebody has put an older Secret back.
	Superseded bool
	// Yields is true if another operator writes the same target by turns, and it is the other one's
	// turn: so the two do not both issue a token when one is due.
	Yields bool
	// Queued is true if the request for the token that is due waits for its turn.
	Queued bool
	// HasPending is true if a token was issued that is still desired, and that is not stored yet.
	HasPending bool
	// Refused is true if the API has refused the current token.
	Refused bool
	// NotBefore is when the next attempt may be made after a failed one; zero if there is nothing to
	// wait for. Changed is true if the next attempt would be made with other inputs than the failed
	// one, and so need not wait.
	NotBefore time.Time
	Changed   bool
	// ClusterNotBefore is when the cluster may be asked again after a request to it has failed; zero if
	// none has, or if something has changed since. Nothing is read, verified, issued or written before.
	ClusterNotBefore time.Time
	// CredentialsUnreadable is true if ClusterNotBefore is about reading the credentials only, so that the
	// current token can be verified meanwhile.
	CredentialsUnreadable bool
	// LastIssue is when the last token was issued.
	LastIssue time.Time
	// Triggered are the attempts in a row that somebody's changes have triggered.
	Triggered retry.Triggers
	// LastVerified is when a token of this object was last verified, or when the object was first
	// seen.
	LastVerified time.Time
	// VerifyAt is when a token that was refused is verified again, or the token that has replaced it,
	// whatever the interval says. It is zero if the interval decides.
	VerifyAt time.Time
	// VerifyNow is true if the verification waits neither for the interval nor for VerifyAt, because
	// the spec has changed since the last verification.
	VerifyNow bool
	// VerificationQueued is true if the verification waits for its turn.
	VerificationQueued bool
	// Unverified is true if it is not known whether the API accepts the current token.
	Unverified bool
	// VerificationSuspended is true if the API refuses every token that was verified for this
	// version of the spec, so that verification waits for long.
	VerificationSuspended bool
	// TemplateInvalid is true if the templates fail whatever the token is.
	TemplateInvalid bool
	// OtherType is true if the target is of another type than desired. The type of a Secret never
	// changes.
	OtherType bool
	// DriftedAgain is true if a Drifted target was as desired before, and somebody has changed
	// it, or something that the write depends on.
	DriftedAgain bool
	// RewriteNotBefore is when a Drifted target may be written again after a write has failed.
	RewriteNotBefore time.Time
	// Rewrites are the writes in a row because somebody has changed the target again. They cost no
	// token.
	Rewrites retry.Triggers
	// CannotVerify is true if no answer of the API can say anything about the current token.
	CannotVerify bool
}

// Action is what is to be done.
type Action string

// The actions.
const (
	// Keep: everything is as desired.
	Keep Action = "Keep"
	// Read: read the target and the credentials, and decide again.
	Read Action = "Read"
	// Verify: try the current token on the API.
	Verify Action = "Verify"
	// Rewrite: write the target again with the token that it holds.
	Rewrite Action = "Rewrite"
	// Write: write the token that was issued and not stored.
	Write Action = "Write"
	// Issue: have a token issued, and write it.
	Issue Action = "Issue"
	// Wait: something is due, and its time has not come.
	Wait Action = "Wait"
	// Blocked: something is due that only a change elsewhere makes possible.
	Blocked Action = "Blocked"
	// Rest: the owner wants nothing to be done. Why says what would be due.
	Rest Action = "Rest"
)

// Why is the reason to issue a token, or what makes that impossible.
type Why string

// The reasons to issue a token. Each is a value of the label reason of a metric.
const (
	Missing        Why = "Missing"        // no token is stored
	SecretEdited   Why = "SecretEdited"   // somebody has changed the Secret
	Expired        Why = "Expired"        // the token has expired
	Revoked        Why = "Revoked"        // the API refuses the token
	Outdated       Why = "Outdated"       // the spec asks for other scopes, or another API is asked
	Requested      Why = "Requested"      // the owner asks for a new token
	NewCredentials Why = "NewCredentials" // the token was issued for other credentials
	OtherTemplates Why = "OtherTemplates" // the templates have changed, and the token can't be read from the Secret
	Due            Why = "Due"            // the renewal time has come
	FromFuture     Why = "FromFuture"     // the token was issued by a clock that was wrong
)

// What makes an attempt impossible.
const (
	NotOwned      Why = "NotOwned"      // the Secret belongs to somebody else
	NoCredentials Why = "NoCredentials" // there are no credentials to ask with
	BadTemplate   Why = "BadTemplate"   // the templates fail whatever the token is
	OtherType     Why = "OtherType"     // the Secret is of another type, which never changes
	BeingDeleted  Why = "BeingDeleted"  // the Secret or its owner is being deleted, and is not gone yet
)

// Decision is one thing to do.
type Decision struct {
	Action Action
	// Why explains what is due; it is empty when nothing is.
	Why Why
	// Until is the end of a Wait.
	Until time.Time
}

// maxSleep bounds the time to the next look, because clocks jump.
const maxSleep = 5 * time.Minute

// Decide returns the one thing to do now.
func Decide(desired Desired, facts Facts, now time.Time) Decision {
	switch {
	case facts.OwnerTerminating:
		return decideTerminating(desired, facts, now)
	case desired.Suspended:
		return decideSuspended(desired, facts, now)
	case facts.Target == Terminating:
		return decideTerminating(desired, facts, now)
	case facts.Target == Foreign:
		return Decision{Action: Blocked, Why: NotOwned}
	}
	why := dueFor(desired, facts, now)
	if why == "" {
		return decideIdle(desired, facts, now)
	}
	decision := decideDue(facts, why, now)
	if decision.Action == Wait || decision.Action == Blocked || facts.Queued {
		return decideMeanwhile(desired, facts, decision, now)
	}
	return decision
}

// decideTerminating returns what to do while the target or its owner is being deleted: no token is
// issued and nothing is written, because it would be lost. It must be known whether the current
// token is worth anything.
func decideTerminating(desired Desired, facts Facts, now time.Time) Decision {
	switch {
	case !facts.OwnerTerminating && !facts.CollectedBy.IsZero():
		return Decision{Action: Wait, Why: Missing, Until: facts.CollectedBy}
	case facts.Record != nil && facts.Check == Unchecked:
		return Decision{Action: Read}
	case VerificationDue(desired, facts, now):
		return Decision{Action: Verify}
	}
	return Decision{Action: Blocked, Why: BeingDeleted}
}

// decideSuspended returns what to do while the owner wants nothing to be done: it must be known
// whether the current token is worth anything, and all else waits.
func decideSuspended(desired Desired, facts Facts, now time.Time) Decision {
	switch {
	case (facts.Target == Owned || facts.Record != nil) && facts.Check == Unchecked:
		return Decision{Action: Read}
	case facts.Target == Terminating:
		return Decision{Action: Rest, Why: Missing, Until: facts.CollectedBy}
	case facts.Target == Foreign:
		return Decision{Action: Rest, Why: NotOwned}
	}
	return Decision{Action: Rest, Why: dueFor(desired, facts, now)}
}

// decideMeanwhile returns what to do for the current token while the next one can't be had: it
// must be known whether the current token is worth anything, and a good one is kept as desired.
func decideMeanwhile(desired Desired, facts Facts, decision Decision, now time.Time) Decision {
	switch {
	case now.Before(clusterNotBefore(facts, now)):
		if facts.CredentialsUnreadable && facts.Check != Unchecked && VerificationDue(desired, facts, now) {
			return Decision{Action: Verify}
		}
		return decision
	case facts.Target == Owned && facts.Check == Unchecked:
		return Decision{Action: Read}
	case VerificationDue(desired, facts, now):
		return Decision{Action: Verify}
	case !facts.HasPending && RewriteDue(desired, facts, now):
		return Decision{Action: Rewrite}
	}
	return decision
}

func decideIdle(desired Desired, facts Facts, now time.Time) Decision {
	decision := decideKeep(desired, facts, now)
	until := clusterNotBefore(facts, now)
	if !now.Before(until) {
		return decision
	}
	switch decision.Action {
	case Read, Verify, Rewrite:
		return Decision{Action: Wait, Until: until}
	case Keep, Write, Issue, Wait, Rest, Blocked:
	}
	return decision
}

// decideKeep returns what to do while no token is due.
func decideKeep(desired Desired, facts Facts, now time.Time) Decision {
	switch {
	case facts.Check == Unchecked:
		return Decision{Action: Read}
	case VerificationDue(desired, facts, now):
		return Decision{Action: Verify}
	case facts.TemplateInvalid:
		return Decision{Action: Blocked, Why: BadTemplate}
	case facts.OtherType:
		return Decision{Action: Blocked, Why: OtherType}
	case RewriteDue(desired, facts, now):
		return Decision{Action: Rewrite}
	case !facts.HasCredentials:
		return Decision{Action: Blocked, Why: NoCredentials}
	case facts.Check == Drifted:
		return Decision{Action: Wait, Until: rewriteNotBefore(facts, now)}
	}
	return Decision{Action: Keep}
}

// clusterNotBefore returns when the cluster is asked again after a request to it has failed; zero if
// none has.
func clusterNotBefore(facts Facts, now time.Time) time.Time {
	return retry.Believe(facts.ClusterNotBefore, now)
}

// RewriteDue reports whether the Secret is to be written again now with the token that it holds,
// whatever else is due. An older token that somebody has put back is not written again: it would
// then count as the token that was stored last.
func RewriteDue(desired Desired, facts Facts, now time.Time) bool {
	return facts.Check == Drifted && CurrentToken(desired, facts, now) == StateValid &&
		!facts.TemplateInvalid && !facts.OtherType && dueFor(desired, facts, now) != SecretEdited &&
		!now.Before(rewriteNotBefore(facts, now))
}

// rewriteNotBefore returns when a Drifted target may be written again. Somebody else may change it
// without end.
func rewriteNotBefore(facts Facts, now time.Time) time.Time {
	until := retry.Believe(facts.RewriteNotBefore, now)
	if interval := facts.Rewrites.NotBefore(now); facts.DriftedAgain && interval.After(until) {
		return interval
	}
	return until
}

func decideDue(facts Facts, why Why, now time.Time) Decision {
	until := notBefore(facts, now)
	if cluster := clusterNotBefore(facts, now); cluster.After(until) {
		until = cluster
	}
	switch {
	case facts.TemplateInvalid:
		return Decision{Action: Blocked, Why: BadTemplate}
	case facts.OtherType:
		return Decision{Action: Blocked, Why: OtherType}
	case facts.HasPending && !now.Before(until):
		return Decision{Action: Write, Why: why}
	case !facts.HasCredentials && !facts.HasPending:
		return Decision{Action: Blocked, Why: NoCredentials}
	case now.Before(until):
		return Decision{Action: Wait, Why: why, Until: until}
	}
	if until := issueNotBefore(facts, why, now); now.Before(until) {
		return Decision{Action: Wait, Why: why, Until: until}
	}
	return Decision{Action: Issue, Why: why}
}

// dueFor returns why a token is to be issued; empty if none is. That a token is too old because
// somebody has put it back counts as a change by somebody, which may be repeated without end.
func dueFor(desired Desired, facts Facts, now time.Time) Why {
	why := looksDueFor(desired, facts, now)
	if facts.Superseded && slices.Contains([]Why{Expired, Due, FromFuture}, why) {
		return SecretEdited
	}
	return why
}

// looksDueFor returns why a token is to be issued, by the current token. Its age comes before
// somebody's changes, because tokens that changes trigger have to wait for their interval.
func looksDueFor(desired Desired, facts Facts, now time.Time) Why {
	record := facts.Record
	switch {
	case facts.Target == Absent:
		return Missing
	case record == nil, facts.Check == Edited:
		return SecretEdited
	case !now.Before(record.ExpirationTime):
		return Expired
	case facts.Refused:
		return Revoked
	case !now.Before(dueTime(desired, facts)):
		return Due
	case record.IssueTime.Sub(now) > retry.MaxClockSkew:
		return FromFuture
	case isOutdated(desired, record):
		return Outdated
	case isRequested(desired, record):
		return Requested
	case facts.Check == InputsChanged:
		return NewCredentials
	case facts.Check == TemplatesChanged:
		return OtherTemplates
	}
	return ""
}

func isOutdated(desired Desired, record *Record) bool {
	return record.Scopes != desired.Scopes || record.API != desired.API
}

func isRequested(desired Desired, record *Record) bool {
	return desired.RenewRequest != "" && record.RenewRequest != desired.RenewRequest
}

// State is what the current token is worth.
type State string

// The states of the current token.
const (
	StateNone     State = "None"
	StateValid    State = "Valid"
	StateExpired  State = "Expired"
	StateRevoked  State = "Revoked"
	StateOutdated State = "Outdated"
)

// CurrentToken returns what the current token is worth now, whatever is to be done.
func CurrentToken(desired Desired, facts Facts, now time.Time) State {
	record := facts.Record
	switch {
	case facts.Target == Absent, facts.Target == Foreign, record == nil, facts.Check == Edited:
		return StateNone
	case !now.Before(record.ExpirationTime):
		return StateExpired
	case facts.Refused:
		return StateRevoked
	case isOutdated(desired, record):
		return StateOutdated
	}
	return StateValid
}

// DueTime returns when a token is to be renewed, in whole seconds. It is the
// same for the same arguments: two thirds of its life after it was issued, or
// RenewBefore its expiry but not in the first half of its life; up to a tenth of
// its life earlier, by Identity; and at least ten seconds after it was issued.
func DueTime(desired Desired, record Record) time.Time {
	life := record.ExpirationTime.Sub(record.IssueTime)
	after := life / 3 * 2 // In this order it can't overflow.
	if desired.RenewBefore > 0 {
		after = max(life-desired.RenewBefore, life/2)
	}
	after = max(after-retry.Spread(desired.Identity, life/10), retry.MinInterval)
	return record.IssueTime.Add(after).Truncate(time.Second)
}

// longestYield is the longest time that another operator has to issue the token that is due.
const longestYield = 5 * time.Minute

// dueTime returns when this operator renews the token of the record. An operator that yields does so
// after a quarter of the time that is left, at most five minutes later than the other one: the other
// one may not run any longer.
func dueTime(desired Desired, facts Facts) time.Time {
	due := DueTime(desired, *facts.Record)
	if left := facts.Record.ExpirationTime.Sub(due); facts.Yields && left > 0 {
		return due.Add(min(left/4, longestYield))
	}
	return due
}

// NearEnd returns the time from which on a token that is not renewed yet is in danger: in the last
// ten minutes or the last sixth of its life, whichever is longer.
func NearEnd(record Record) time.Time {
	life := record.ExpirationTime.Sub(record.IssueTime)
	return record.ExpirationTime.Add(-max(life/6, 10*time.Minute))
}

// notBefore returns the end of the wait after a failed attempt. A change cuts it
// short, unless changes come again and again.
func notBefore(facts Facts, now time.Time) time.Time {
	until := retry.Believe(facts.NotBefore, now)
	if interval := triggeredNotBefore(facts, now); facts.Changed && interval.Before(until) {
		return interval
	}
	return until
}

// issueNotBefore returns when an object may have its next token: ten seconds after the last one,
// and later if somebody's changes ask for tokens again and again.
func issueNotBefore(facts Facts, why Why, now time.Time) time.Time {
	until := retry.EndOf(facts.LastIssue, retry.MinInterval, now)
	if triggered := triggeredNotBefore(facts, now); why.IsTriggered() && triggered.After(until) {
		return triggered
	}
	return until
}

// triggeredNotBefore returns when somebody's next change may ask for a token.
func triggeredNotBefore(facts Facts, now time.Time) time.Time {
	return facts.Triggered.NotBefore(now)
}

// IsTriggered reports whether a change by somebody asks for a token for this reason, and not the
// age of the token. Changes may be repeated without end.
func (w Why) IsTriggered() bool {
	return slices.Contains([]Why{Missing, SecretEdited, Revoked, Outdated, Requested, NewCredentials, OtherTemplates}, w)
}

const (
	// VerificationRecheck is the longest time between two verifications of a token while
	// it is not known whether the API accepts it, and the shortest time while
	// verification is suspended.
	VerificationRecheck = time.Hour
	// firstVerification is the age before which a token is not verified, unless it has
	// replaced a refused one: the API may need a few seconds to know a token that it has
	// issued. It is not longer than the shortest interval, so that no revocation is seen
	// later for it.
	firstVerification = 10 * time.Second
	// gridShortening is the part of the interval by which two verifications are closer
	// together than the interval. Without it, an operator that is restarted at the same
	// second of each hour or day would miss the verifications of the same objects each
	// time.
	gridShortening = 128
	// maxRefusedRetry is the longest time between two tries of a refused token.
	maxRefusedRetry = 2 * time.Minute
)

// RefusedRetry returns how long to wait before a refused token is verified again, after
// so many refusals in a row: 10 s, doubling to two minutes.
func RefusedRetry(refusals int) time.Duration {
	return retry.Doubled(retry.MinInterval, maxRefusedRetry, refusals)
}

// VerificationInterval returns the longest time between two verifications of the current token
// that go well: the interval of the spec, but at most an hour while it is not
// known whether the API accepts the token, and at least an hour while verification is
// suspended.
func VerificationInterval(desired Desired, facts Facts) time.Duration {
	switch {
	case facts.VerificationSuspended:
		return max(desired.VerifyEvery, VerificationRecheck)
	case facts.Unverified:
		return min(desired.VerifyEvery, VerificationRecheck)
	}
	return desired.VerifyEvery
}

// canVerify reports whether the current token is verified at some time.
func canVerify(desired Desired, facts Facts) bool {
	return desired.VerifyEvery > 0 && !desired.Suspended && !facts.CannotVerify && !facts.OwnerTerminating && facts.Record != nil
}

// nextVerification returns when the current token is to be verified: now if the spec has changed,
// else at VerifyAt if that is set, and else at the first point after LastVerified on a grid that
// depends on nothing but the identity and the interval. So neither a renewal nor a restart moves
// the grid, and a restart verifies no token early. A token that is not old enough by then is verified
// as soon as it is.
func nextVerification(desired Desired, facts Facts, now time.Time) (time.Time, bool) {
	if !canVerify(desired, facts) {
		return time.Time{}, false
	}
	if at := facts.VerifyAt; !at.IsZero() && !facts.VerifyNow {
		if at.Sub(now) > maxRefusedRetry {
			at = now // The clock was set back.
		}
		return at, true
	}
	interval := VerificationInterval(desired, facts)
	every := interval - interval/gridShortening
	last := facts.LastVerified
	if last.After(now) {
		last = now.Add(-every) // The clock was set back.
	}
	offset := retry.Spread(desired.Identity, every)
	next := last.Add(-offset).Truncate(every).Add(every).Add(offset)
	if facts.VerifyNow {
		next = now
	}
	// A token from the future was issued by a clock that has been set back since.
	if first := facts.Record.IssueTime.Add(firstVerification); next.Before(first) && first.Sub(now) <= firstVerification {
		return first, true
	}
	return next, true
}

// VerificationDue reports whether the current token is to be verified now, whatever else is due. A
// refused token is verified again, because the refusal may have been about something else.
func VerificationDue(desired Desired, facts Facts, now time.Time) bool {
	next, ok := nextVerification(desired, facts, now)
	if !ok || facts.VerificationQueued || now.Before(next) {
		return false
	}
	held := CurrentToken(desired, facts, now)
	return held == StateValid || held == StateRevoked
}

// Sleep returns how long nothing is to be done unless something changes: until the
// end of a Wait, the next renewal, verification or expiry, for at most five minutes.
func Sleep(desired Desired, facts Facts, decision Decision, now time.Time) time.Duration {
	wake := now.Add(maxSleep)
	consider := func(at time.Time) {
		if at.After(now) && at.Before(wake) {
			wake = at
		}
	}
	consider(decision.Until)
	if facts.Check == Drifted {
		consider(rewriteNotBefore(facts, now))
	}
	if facts.Record != nil {
		consider(facts.Record.ExpirationTime)
		consider(dueTime(desired, facts))
	}
	if next, ok := nextVerification(desired, facts, now); ok {
		consider(next)
	}
	if until := clusterNotBefore(facts, now); now.Before(until) && !facts.CredentialsUnreadable {
		consider(until)
	} else if VerificationDue(desired, facts, now) {
		wake = now.Add(time.Millisecond) // It came due after the decision, by its outcome.
	}
	return wake.Sub(now)
}
