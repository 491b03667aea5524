// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package renewal decides when a token is issued, renewed or verified, and why.
// It is pure: it reads no clock, does no I/O, and knows neither Kubernetes nor
// HTTP. Whoever calls it gathers what is wanted and what was observed, and acts
// on the one decision that comes back.
package renewal

import (
	"slices"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// Wanted is what the owner of a token asks for.
type Wanted struct {
	// Identity tells one token from another, so that those which were issued
	// together are not renewed together.
	Identity string
	// Scopes and API are compared with those of the Record.
	Scopes, API string
	// RenewRequest asks for a token that was issued for it. Empty, it asks for nothing.
	RenewRequest string
	// RenewBefore is how long before expiry the token is renewed; 0 leaves it to
	// two thirds of its life.
	RenewBefore time.Duration
	// VerifyEvery is the time between two tries of the token; 0 means never.
	VerifyEvery time.Duration
}

// Record is what is known of a stored token without reading it.
type Record struct {
	IssueTime, ExpirationTime time.Time
	Scopes, API, RenewRequest string
}

// Target is the place where the token is stored.
type Target string

// The states of the target.
const (
	// Absent: there is nothing.
	Absent Target = "Absent"
	// Foreign: it holds something of somebody else.
	Foreign Target = "Foreign"
	// Owned: it is ours.
	Owned Target = "Owned"
	// Leaving: it was ours, and is about to be removed.
	Leaving Target = "Leaving"
)

// Check is what reading the target and the credentials has shown.
type Check string

// The outcomes of a check.
const (
	// Unchecked: the target, the credentials or the wishes have changed since the
	// last check.
	Unchecked Check = "Unchecked"
	// Good: the target holds what was written, for the credentials as they are.
	Good Check = "Good"
	// Edited: somebody has changed what was written.
	Edited Check = "Edited"
	// InputsChanged: the token was issued for other credentials.
	InputsChanged Check = "InputsChanged"
	// Misshapen: the token is as it was written, and what goes with it is not as it
	// is wanted now.
	Misshapen Check = "Misshapen"
	// TemplatesChanged: the token is as it was written, but can't be told from what was
	// made of it, and something else is to be made of it now.
	TemplatesChanged Check = "TemplatesChanged"
)

// Observed is the state of the world, and what is remembered of earlier attempts.
type Observed struct {
	Target Target
	// LeavesBy is when a Leaving target is gone, or is not waited for any longer.
	LeavesBy time.Time
	// Record is that of an owned target; nil if it can't be read.
	Record *Record
	Check  Check
	// HasCredentials tells whether there are credentials to ask with.
	HasCredentials bool
	// Superseded tells that the record is not that of the token which was stored last,
	// and which would not be due yet: an older one was put back.
	Superseded bool
	// Queued tells that the request for the token that is due waits for its turn.
	Queued bool
	// Unstored tells that a token was issued which is still wanted, and not yet stored.
	Unstored bool
	// Refused tells that the API has refused the held token.
	Refused bool
	// NotBefore is when the next attempt may be made after a failed one; zero when
	// there is nothing to wait for. Changed tells that it would be made with something
	// else than the failed one, and so need not wait.
	NotBefore time.Time
	Changed   bool
	// LastIssue is when the last token was issued, LastByEvent when the last attempt
	// was made that somebody's deed has asked for, and Repeats how many such there
	// were in a row, each within retry.RepeatWindow of the one before.
	LastIssue, LastByEvent time.Time
	Repeats                int
	// LastVerified is when a token of this object was last verified, or when the object
	// was first seen.
	LastVerified time.Time
	// VerifyAt is when a token that was refused is to be verified again, or the token that
	// has replaced it, whatever the interval says. It is zero when the interval decides.
	VerifyAt time.Time
	// VerifyNow tells that neither the interval nor VerifyAt is waited for, because the
	// spec has changed since the last verification.
	VerifyNow bool
	// VerificationQueued tells that the verification waits for its turn.
	VerificationQueued bool
	// Unverified tells that it is not known whether the API accepts the held token.
	Unverified bool
	// VerificationSuspended tells that the API refuses every token on which it was tried
	// for this version of the spec, so that verification waits for long.
	VerificationSuspended bool
	// TemplateInvalid tells that what is wanted can't be made of any token.
	TemplateInvalid bool
	// OtherType tells that the target can never hold what is wanted, since its type is
	// another.
	OtherType bool
	// Reverted tells that a Misshapen target was as it is wanted before, and that
	// somebody has changed it, or something that its writing depends on.
	Reverted bool
	// RewriteNotBefore is when a Misshapen target may be written anew after that has
	// failed. LastRewrite and Rewrites are to the rewriting of a Reverted target what
	// LastByEvent and Repeats are to tokens, which it costs none of.
	RewriteNotBefore, LastRewrite time.Time
	Rewrites                      int
	// VerificationRests tells that a verification can't tell anything about the held
	// token, whatever the API answers.
	VerificationRests bool
}

// Action is what is to be done.
type Action string

// The actions.
const (
	// Keep: all is as it is wanted.
	Keep Action = "Keep"
	// Read: the target and the credentials are to be read, and decided on anew.
	Read Action = "Read"
	// Verify: the held token is to be tried.
	Verify Action = "Verify"
	// Rewrite: the target is to be written anew with the token that it holds.
	Rewrite Action = "Rewrite"
	// Store: the token that was issued and not stored is to be stored.
	Store Action = "Store"
	// Issue: a token is to be issued and stored.
	Issue Action = "Issue"
	// Wait: something is due, and its time has not come.
	Wait Action = "Wait"
	// Blocked: something is due that only a change elsewhere makes possible.
	Blocked Action = "Blocked"
)

// Why is the reason to issue a token, or what stands in the way.
type Why string

// The reasons to issue a token.
const (
	Missing        Why = "Missing"        // no token is stored
	SecretEdited   Why = "SecretEdited"   // what is stored is not what was written
	Expired        Why = "Expired"        // the token's time is past
	Revoked        Why = "Revoked"        // the API refuses the token
	Outdated       Why = "Outdated"       // other scopes or another API are wanted
	Requested      Why = "Requested"      // the owner asks for a new one
	NewCredentials Why = "NewCredentials" // it was issued for other credentials
	OtherTemplates Why = "OtherTemplates" // something else is to be made of it, and it can't be told from the target
	Due            Why = "Due"            // its renewal time has come
	FromFuture     Why = "FromFuture"     // the clock that it was issued by was wrong
)

// What stands in the way.
const (
	NotOwned      Why = "NotOwned"      // the target belongs to somebody else
	NoCredentials Why = "NoCredentials" // there is nothing to ask with
	BadTemplate   Why = "BadTemplate"   // what is wanted can't be made of any token
	OtherType     Why = "OtherType"     // the target is of another type, which never changes
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
func Decide(wanted Wanted, observed Observed, now time.Time) Decision {
	switch observed.Target {
	case Foreign:
		return Decision{Action: Blocked, Why: NotOwned}
	case Leaving:
		return Decision{Action: Wait, Why: Missing, Until: observed.LeavesBy}
	case Absent, Owned:
	}
	why := dueFor(wanted, observed, now)
	if why == "" {
		return decideIdle(wanted, observed, now)
	}
	decision := decideDue(observed, why, now)
	if decision.Action == Wait || decision.Action == Blocked || observed.Queued {
		return decideMeanwhile(wanted, observed, decision, now)
	}
	return decision
}

// decideMeanwhile returns what to do for the held token while the next one can't be
// had: whether it is worth anything must be known, and a good one gets its shape.
func decideMeanwhile(wanted Wanted, observed Observed, decision Decision, now time.Time) Decision {
	switch {
	case observed.Target == Owned && observed.Check == Unchecked:
		return Decision{Action: Read}
	case VerificationDue(wanted, observed, now):
		return Decision{Action: Verify}
	case !observed.Unstored && RewriteDue(wanted, observed, now):
		return Decision{Action: Rewrite}
	}
	return decision
}

func decideIdle(wanted Wanted, observed Observed, now time.Time) Decision {
	switch {
	case observed.Check == Unchecked:
		return Decision{Action: Read}
	case VerificationDue(wanted, observed, now):
		return Decision{Action: Verify}
	case observed.TemplateInvalid:
		return Decision{Action: Blocked, Why: BadTemplate}
	case observed.OtherType:
		return Decision{Action: Blocked, Why: OtherType}
	case RewriteDue(wanted, observed, now):
		return Decision{Action: Rewrite}
	case !observed.HasCredentials:
		return Decision{Action: Blocked, Why: NoCredentials}
	case observed.Check == Misshapen:
		return Decision{Action: Wait, Until: rewriteNotBefore(observed, now)}
	}
	return Decision{Action: Keep}
}

// RewriteDue tells whether a good token is to be written anew now, whatever else is
// due. An older one that was put back is not, for it would then be the last that was
// stored.
func RewriteDue(wanted Wanted, observed Observed, now time.Time) bool {
	return observed.Check == Misshapen && HeldToken(wanted, observed, now) == StateValid &&
		!observed.TemplateInvalid && !observed.OtherType && dueFor(wanted, observed, now) != SecretEdited &&
		!now.Before(rewriteNotBefore(observed, now))
}

// rewriteNotBefore returns when a Misshapen target may be written anew. Somebody else
// may put it in another shape without end.
func rewriteNotBefore(observed Observed, now time.Time) time.Time {
	until := retry.Believe(observed.RewriteNotBefore, now)
	rewrites := retry.Triggers{Last: observed.LastRewrite, Count: observed.Rewrites}
	if spaced := rewrites.NotBefore(now); observed.Reverted && spaced.After(until) {
		return spaced
	}
	return until
}

func decideDue(observed Observed, why Why, now time.Time) Decision {
	until := notBefore(observed, now)
	switch {
	case observed.TemplateInvalid:
		return Decision{Action: Blocked, Why: BadTemplate}
	case observed.OtherType:
		return Decision{Action: Blocked, Why: OtherType}
	case observed.Unstored && !now.Before(until):
		return Decision{Action: Store, Why: why}
	case !observed.HasCredentials && !observed.Unstored:
		return Decision{Action: Blocked, Why: NoCredentials}
	case now.Before(until):
		return Decision{Action: Wait, Why: why, Until: until}
	}
	if until := spacedUntil(observed, why, now); now.Before(until) {
		return Decision{Action: Wait, Why: why, Until: until}
	}
	return Decision{Action: Issue, Why: why}
}

// dueFor returns why a token is to be issued, or nothing. The age of a token that was
// put back is somebody's deed, which may be repeated without end.
func dueFor(wanted Wanted, observed Observed, now time.Time) Why {
	why := looksDueFor(wanted, observed, now)
	if observed.Superseded && slices.Contains([]Why{Expired, Due, FromFuture}, why) {
		return SecretEdited
	}
	return why
}

// looksDueFor returns why a token is to be issued by what is held. What its age asks
// for comes before what somebody's deeds ask for, because deeds are spaced.
func looksDueFor(wanted Wanted, observed Observed, now time.Time) Why {
	record := observed.Record
	switch {
	case observed.Target == Absent:
		return Missing
	case record == nil, observed.Check == Edited:
		return SecretEdited
	case !now.Before(record.ExpirationTime):
		return Expired
	case observed.Refused:
		return Revoked
	case !now.Before(DueTime(wanted, *record)):
		return Due
	case record.IssueTime.Sub(now) > retry.MaxClockSkew:
		return FromFuture
	case isOutdated(wanted, record):
		return Outdated
	case isRequested(wanted, record):
		return Requested
	case observed.Check == InputsChanged:
		return NewCredentials
	case observed.Check == TemplatesChanged:
		return OtherTemplates
	}
	return ""
}

func isOutdated(wanted Wanted, record *Record) bool {
	return record.Scopes != wanted.Scopes || record.API != wanted.API
}

func isRequested(wanted Wanted, record *Record) bool {
	return wanted.RenewRequest != "" && record.RenewRequest != wanted.RenewRequest
}

// State is what the held token is worth.
type State string

// The states of the held token.
const (
	StateNone     State = "None"
	StateValid    State = "Valid"
	StateExpired  State = "Expired"
	StateRevoked  State = "Revoked"
	StateOutdated State = "Outdated"
)

// HeldToken returns what the held token is worth now, whatever is to be done.
func HeldToken(wanted Wanted, observed Observed, now time.Time) State {
	record := observed.Record
	switch {
	case observed.Target != Owned, record == nil, observed.Check == Edited:
		return StateNone
	case !now.Before(record.ExpirationTime):
		return StateExpired
	case observed.Refused:
		return StateRevoked
	case isOutdated(wanted, record):
		return StateOutdated
	}
	return StateValid
}

// DueTime returns when a token is to be renewed, in whole seconds. It is the
// same for the same arguments: two thirds of its life after it was issued, or
// RenewBefore its expiry but not in the first half of its life; up to a tenth of
// its life earlier, by Identity; and at least ten seconds after it was issued.
func DueTime(wanted Wanted, record Record) time.Time {
	life := record.ExpirationTime.Sub(record.IssueTime)
	after := life / 3 * 2 // In this order it can't overflow.
	if wanted.RenewBefore > 0 {
		after = max(life-wanted.RenewBefore, life/2)
	}
	after = max(after-retry.Spread(wanted.Identity, life/10), retry.MinInterval)
	return record.IssueTime.Add(after).Truncate(time.Second)
}

// NearEnd returns from when on a token that is not renewed yet is in danger: in the
// last ten minutes or the last sixth of its life, whichever is longer.
func NearEnd(record Record) time.Time {
	life := record.ExpirationTime.Sub(record.IssueTime)
	return record.ExpirationTime.Add(-max(life/6, 10*time.Minute))
}

// notBefore returns the end of the wait after a failed attempt. A change cuts it
// short, unless changes come again and again.
func notBefore(observed Observed, now time.Time) time.Time {
	until := retry.Believe(observed.NotBefore, now)
	if spaced := spacedByEvent(observed, now); observed.Changed && spaced.Before(until) {
		return spaced
	}
	return until
}

// spacedUntil returns when an object may have its next token: ten seconds after
// the last one, and more when deeds ask for tokens again and again.
func spacedUntil(observed Observed, why Why, now time.Time) time.Time {
	until := retry.EndOf(observed.LastIssue, retry.MinInterval, now)
	if byEvent := spacedByEvent(observed, now); why.IsByEvent() && byEvent.After(until) {
		return byEvent
	}
	return until
}

// spacedByEvent returns when the next deed may ask for a token.
func spacedByEvent(observed Observed, now time.Time) time.Time {
	return retry.Triggers{Last: observed.LastByEvent, Count: observed.Repeats}.NotBefore(now)
}

// IsByEvent tells whether a token for this reason is asked for by somebody's
// deed, which may be repeated without end, and not by the token's age.
func (w Why) IsByEvent() bool {
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

// VerificationInterval returns the longest time between two verifications of the held
// token that go well: the interval of the spec, but at most an hour while it is not
// known whether the API accepts the token, and at least an hour while verification is
// suspended.
func VerificationInterval(wanted Wanted, observed Observed) time.Duration {
	switch {
	case observed.VerificationSuspended:
		return max(wanted.VerifyEvery, VerificationRecheck)
	case observed.Unverified:
		return min(wanted.VerifyEvery, VerificationRecheck)
	}
	return wanted.VerifyEvery
}

// nextVerification returns when the held token is to be verified: now if the spec has
// changed, else at VerifyAt if that is set, and else at the first point after LastVerified on a grid that depends on nothing
// but the identity and the interval. So neither a renewal nor a restart moves the grid,
// and a restart verifies nobody early. A token that is not old enough by then is
// verified when it is.
func nextVerification(wanted Wanted, observed Observed, now time.Time) (time.Time, bool) {
	if wanted.VerifyEvery <= 0 || observed.VerificationRests || observed.Record == nil {
		return time.Time{}, false
	}
	if at := observed.VerifyAt; !at.IsZero() && !observed.VerifyNow {
		if at.Sub(now) > maxRefusedRetry {
			at = now // The clock was set back.
		}
		return at, true
	}
	interval := VerificationInterval(wanted, observed)
	every := interval - interval/gridShortening
	last := observed.LastVerified
	if last.After(now) {
		last = now.Add(-every) // The clock was set back.
	}
	offset := retry.Spread(wanted.Identity, every)
	next := last.Add(-offset).Truncate(every).Add(every).Add(offset)
	if observed.VerifyNow {
		next = now
	}
	// A token from the future was issued by a clock that has been set back since.
	if first := observed.Record.IssueTime.Add(firstVerification); next.Before(first) && first.Sub(now) <= firstVerification {
		return first, true
	}
	return next, true
}

// VerificationDue tells whether the held token is to be verified now, whatever else is
// due. A refused token is verified again, because the refusal may have been about
// something else.
func VerificationDue(wanted Wanted, observed Observed, now time.Time) bool {
	next, ok := nextVerification(wanted, observed, now)
	if !ok || observed.VerificationQueued || now.Before(next) {
		return false
	}
	held := HeldToken(wanted, observed, now)
	return held == StateValid || held == StateRevoked
}

// Sleep returns how long nothing is to be done unless something changes: until the
// end of a Wait, the next renewal, verification or expiry, for at most five minutes.
func Sleep(wanted Wanted, observed Observed, decision Decision, now time.Time) time.Duration {
	wake := now.Add(maxSleep)
	consider := func(at time.Time) {
		if at.After(now) && at.Before(wake) {
			wake = at
		}
	}
	consider(decision.Until)
	if observed.Check == Misshapen {
		consider(rewriteNotBefore(observed, now))
	}
	if observed.Record != nil {
		consider(observed.Record.ExpirationTime)
		consider(DueTime(wanted, *observed.Record))
	}
	if next, ok := nextVerification(wanted, observed, now); ok {
		consider(next)
	}
	if VerificationDue(wanted, observed, now) {
		wake = now.Add(time.Millisecond) // It came due after the decision, by its outcome.
	}
	return wake.Sub(now)
}
