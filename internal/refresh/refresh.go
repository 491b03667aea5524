// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package refresh decides when the credentials of a connected account are fetched from Pipedream,
// and why. It is pure: it reads no clock, does no I/O, and knows neither Kubernetes nor HTTP. The
// caller gathers what is desired and what is known, and acts on the one decision that comes back.
//
// A look is a fetch that Pipedream has answered. The credentials that a look brings may be the same
// as before: Pipedream decides when it refreshes an account.
package refresh

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// Policy says which time the schedule of an account follows.
type Policy string

// The policies.
const (
	// BeforeExpiry: credentials are fetched before they expire.
	BeforeExpiry Policy = "BeforeExpiry"
	// EachRefresh: credentials are fetched after each refresh by Pipedream, because the provider ends
	// the old ones then. Without a known refresh time it is the same as BeforeExpiry.
	EachRefresh Policy = "EachRefresh"
)

// Desired is what the owner of the credentials asks for.
type Desired struct {
	// Request is the digest of which account is asked for, and where. It is compared with the one of
	// the Record.
	Request string
	// Rendering is the digest of how the credentials are written. It is compared with the one of the
	// Record.
	Rendering string
	// RenewRequest asks for a look that was made for it. Empty, it asks for nothing.
	RenewRequest string
	// Policy is BeforeExpiry if it is empty.
	Policy Policy
	// Interval is the longest time without a look, whatever the credentials say. 0 lets the life of
	// the credentials decide.
	Interval time.Duration
	// Suspended asks for nothing at all: nothing is fetched or written, and a request for a look
	// waits.
	Suspended bool
}

// Record is what is known of the credentials in a Secret without reading it.
type Record struct {
	// FetchTime is when the credentials were fetched for the first time. A look that brings the same
	// credentials does not change it.
	FetchTime time.Time
	// ExpirationTime is when the credentials expire; zero if they do not.
	ExpirationTime time.Time
	// NextRefreshTime is when Pipedream says that it refreshes them; zero if it does not say.
	NextRefreshTime                  time.Time
	Request, Rendering, RenewRequest string
}

// Target is the state of the Secret that holds the credentials.
type Target string

// The states of the target.
const (
	// Absent: there is no Secret.
	Absent Target = "Absent"
	// Foreign: the Secret belongs to somebody else.
	Foreign Target = "Foreign"
	// Owned: the Secret belongs to the owner of the credentials.
	Owned Target = "Owned"
	// Terminating: the Secret belongs to the owner, and is about to be removed. Credentials that are
	// written to it are lost.
	Terminating Target = "Terminating"
)

// Check is what reading the target has shown.
type Check string

// The outcomes of a check.
const (
	// Unchecked: the target has changed since the last check.
	Unchecked Check = "Unchecked"
	// Good: the target holds what was written.
	Good Check = "Good"
	// Edited: somebody has changed what was written.
	Edited Check = "Edited"
)

// Facts are the state of the world, and what is remembered of earlier looks.
type Facts struct {
	Target Target
	// CollectedBy is when a Terminating target is gone, or is not waited for any longer. It is zero if
	// only the removal of the target ends the wait.
	CollectedBy time.Time
	// OwnerTerminating is true if the owner itself is being deleted. Nothing is fetched for it any
	// longer.
	OwnerTerminating bool
	// Record is the record of an Owned target, or of a Terminating one that still counts; nil if it
	// can't be read.
	Record *Record
	Check  Check
	// HasCredentials is true if there is something to ask Pipedream with.
	HasCredentials bool
	// Superseded is true if the record is not the one of the credentials that were written last, and
	// the last ones are not due: somebody has put an older Secret back. Its credentials need not have
	// expired to be useless: the app may have ended them when Pipedream refreshed the account.
	Superseded bool
	// Queued is true if the fetch that is due waits for its turn.
	Queued bool
	// Looks are the looks that this process has made.
	Looks Looks
	// NotBefore is when the next fetch may be made after one that failed; zero if there is nothing to
	// wait for. What Pipedream says about the account is no failure: see Verdict.
	NotBefore time.Time
	// Verdict is what Pipedream says about the account. The zero value says nothing bad.
	Verdict Verdict
	// Changed is true if a request or another spec has come since the failure or the verdict, so that
	// the next fetch need not wait. It must be false while Pipedream asks for fewer requests.
	Changed bool
	// ClusterNotBefore is when the cluster is asked again after a request to it has failed; zero if none
	// has. The target is not read before, and nothing is fetched for it.
	ClusterNotBefore time.Time
	// HasFreshBearer is true if the last fetch was refused because of its access token, and there is
	// another access token, which was issued after that. The next fetch waits neither for NotBefore
	// nor for the shortest interval.
	HasFreshBearer bool
	// Triggered are the fetches in a row that somebody's changes have triggered.
	Triggered retry.Triggers
	// TemplateInvalid is true if the templates fail whatever the credentials are.
	TemplateInvalid bool
	// OtherType is true if the target is of another type than desired. The type of a Secret never
	// changes.
	OtherType bool
}

// Action is what is to be done.
type Action string

// The actions.
const (
	// Keep: everything is as desired.
	Keep Action = "Keep"
	// Read: read the target, and decide again.
	Read Action = "Read"
	// Fetch: fetch the credentials, and write them if anything is new.
	Fetch Action = "Fetch"
	// Wait: something is due, and its time has not come.
	Wait Action = "Wait"
	// Blocked: something is due that only a change elsewhere makes possible.
	Blocked Action = "Blocked"
	// Rest: the owner wants nothing to be done. Why says what would be due.
	Rest Action = "Rest"
)

// Why is the reason to fetch credentials, or what makes that impossible.
type Why string

// The reasons to fetch credentials, in the order in which one of several is given. Each is a value
// of the label reason of a metric.
const (
	Missing         Why = "Missing"         // no credentials are stored
	SecretEdited    Why = "SecretEdited"    // somebody has changed the Secret
	Expired         Why = "Expired"         // the credentials have expired
	Expiring        Why = "Expiring"        // the credentials expire soon, or Pipedream has refreshed them
	IntervalElapsed Why = "IntervalElapsed" // the longest time without a look has passed
	Outdated        Why = "Outdated"        // the spec asks for another account, or another API is asked
	Requested       Why = "Requested"       // the owner asks for a look
	TemplateChanged Why = "TemplateChanged" // the credentials are to be written in another way
)

// What makes a fetch impossible.
const (
	NotOwned      Why = "NotOwned"      // the Secret belongs to somebody else
	NoCredentials Why = "NoCredentials" // there is nothing to ask Pipedream with
	BadTemplate   Why = "BadTemplate"   // the templates fail whatever the credentials are
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

// maxSleep bounds the time to the next reconcile, because clocks jump.
const maxSleep = 5 * time.Minute

// Decide returns the one thing to do now.
func Decide(desired Desired, facts Facts, now time.Time) Decision {
	decision := decideTarget(desired, facts, now)
	isIdle := decision.Action != Fetch || facts.Queued
	if !isIdle || facts.Check != Unchecked || facts.Target != Owned && facts.Record == nil {
		return decision
	}
	switch until := retry.Believe(facts.ClusterNotBefore, now); {
	case !now.Before(until):
		return Decision{Action: Read}
	case decision.Action == Keep:
		return Decision{Action: Wait, Until: until}
	}
	return decision
}

func decideTarget(desired Desired, facts Facts, now time.Time) Decision {
	switch {
	case facts.OwnerTerminating:
		return Decision{Action: Blocked, Why: BeingDeleted}
	case desired.Suspended:
		return decideSuspended(desired, facts, now)
	case facts.Target == Foreign:
		return Decision{Action: Blocked, Why: NotOwned}
	case facts.Target == Terminating && facts.CollectedBy.IsZero():
		return Decision{Action: Blocked, Why: BeingDeleted}
	case facts.Target == Terminating:
		return Decision{Action: Wait, Why: Missing, Until: facts.CollectedBy}
	}
	dues := duesOf(desired, facts, now)
	switch {
	case facts.TemplateInvalid:
		return Decision{Action: Blocked, Why: BadTemplate}
	case facts.OtherType:
		return Decision{Action: Blocked, Why: OtherType}
	case !facts.HasCredentials:
		return Decision{Action: Blocked, Why: NoCredentials}
	}
	return decideDue(dues, now)
}

// decideSuspended returns what would be due if the owner wanted it.
func decideSuspended(desired Desired, facts Facts, now time.Time) Decision {
	switch facts.Target {
	case Terminating:
		return Decision{Action: Rest, Why: Missing, Until: facts.CollectedBy}
	case Foreign:
		return Decision{Action: Rest, Why: NotOwned}
	case Absent, Owned:
	}
	for _, d := range duesOf(desired, facts, now) {
		if !d.since.After(now) {
			return Decision{Action: Rest, Why: d.why}
		}
	}
	return Decision{Action: Rest}
}

// decideDue returns the first due whose fetch may be made now. If there is none, it returns the due
// whose fetch may be made first.
func decideDue(dues []due, now time.Time) Decision {
	decision := Decision{Action: Keep}
	for _, d := range dues {
		switch {
		case d.since.After(now):
		case !d.notBefore.After(now):
			return Decision{Action: Fetch, Why: d.why}
		case decision.Action == Keep || d.notBefore.Before(decision.Until):
			decision = Decision{Action: Wait, Why: d.why, Until: d.notBefore}
		}
	}
	return decision
}

// State is what the credentials in the Secret are worth.
type State string

// The states of the credentials.
const (
	StateNone     State = "None"
	StateValid    State = "Valid"
	StateExpired  State = "Expired"
	StateOutdated State = "Outdated"
)

// CurrentCredentials returns what the credentials in the Secret are worth now, whatever is to be
// done. A Verdict that is confirmed says more than that.
func CurrentCredentials(desired Desired, facts Facts, now time.Time) State {
	record := facts.Record
	switch {
	case facts.Target == Absent, facts.Target == Foreign, record == nil, facts.Check == Edited:
		return StateNone
	case record.isExpired(now):
		return StateExpired
	case record.Request != desired.Request:
		return StateOutdated
	}
	return StateValid
}

func (r Record) expires() bool { return !r.ExpirationTime.IsZero() }

func (r Record) isExpired(now time.Time) bool { return r.expires() && !now.Before(r.ExpirationTime) }

// IsTriggered reports whether a change by somebody asks for a fetch for this reason, and not the
// age of the credentials. Changes may be repeated without end.
func (w Why) IsTriggered() bool {
	switch w {
	case Missing, SecretEdited, Outdated, Requested, TemplateChanged:
		return true
	case Expired, Expiring, IntervalElapsed, NotOwned, NoCredentials, BadTemplate, OtherType, BeingDeleted:
	}
	return false
}

// Sleep returns how long nothing is to be done unless something changes: until the end of a Wait,
// the next look, the expiry or the second after it, for at most five minutes.
func Sleep(desired Desired, facts Facts, decision Decision, now time.Time) time.Duration {
	wake := now.Add(maxSleep)
	consider := func(at time.Time) {
		if at.After(now) && at.Before(wake) {
			wake = at
		}
	}
	consider(decision.Until)
	if facts.Record != nil && facts.Record.expires() {
		consider(facts.Record.ExpirationTime)
		consider(facts.Record.ExpirationTime.Add(afterExpiry))
	}
	if facts.Check == Unchecked {
		consider(retry.Believe(facts.ClusterNotBefore, now))
	}
	if desired.Suspended || facts.OwnerTerminating || facts.Target == Terminating {
		return wake.Sub(now)
	}
	for _, d := range duesOf(desired, facts, now) {
		consider(latest(d.since, d.notBefore))
	}
	return wake.Sub(now)
}
