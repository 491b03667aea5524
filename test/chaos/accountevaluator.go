// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// sickness is what is wrong with an account at Pipedream.
type sickness string

const (
	well    sickness = ""
	dead    sickness = "dead"
	deleted sickness = "deleted"
	// locked is an account whose API key was revoked, and not replaced yet.
	locked sickness = "locked"
)

// accountState is what the evaluator keeps of one PipedreamAccount from one snapshot to the next.
type accountState struct {
	minimumInterval
	// lastTrigger is when a user last changed the Secret, the spec or the account.
	lastTrigger time.Time
	sick        sickness
	// noticedBy is when the status must show the sickness, unless a disturbance keeps the operator from looking.
	noticedBy time.Time
	// usedBy is when the operator must have used the last API key, unless a disturbance keeps it from looking.
	usedBy time.Time
	// isRejected is true if Fetched last said CredentialsRejected, and wasRejected if it said so when the key was replaced.
	isRejected, wasRejected bool
	// lastSeen are the credentials in the last observed Secret. replaced are the ones that their user has replaced by
	// connecting the account again: the operator can't know before its next look.
	lastSeen, replaced string
	// wellAt is when the object last was as it must be in the end, and problem describes it now if it is not.
	wellAt  time.Time
	problem string

	wrong                      wrongs
	lapsedSince, lapsedWrongly time.Time
}

// accountEvaluator compares the snapshots of PipedreamAccounts with the promises, and reports each difference as a breach.
type accountEvaluator struct {
	promises *promises
	fetches  *fetchBudget
	reporter *reporter

	mu      sync.Mutex
	objects []*accountState
	// doubtedUntil is when the last fault ended that said that there is no such account.
	doubtedUntil time.Time
	tally        tally
	// sickEvaluated counts, by what is wrong, the statuses of sick accounts that had to say so.
	sickEvaluated map[sickness]int
	// usedEvaluated counts the statuses that could not say any longer that the API key is rejected.
	usedEvaluated int
	owners        *ownership
}

func newAccountEvaluator(p *promises, f *fetchBudget, r *reporter) *accountEvaluator {
	e := &accountEvaluator{promises: p, fetches: f, reporter: r, sickEvaluated: map[sickness]int{}}
	e.owners = &ownership{fleet: accountFleet, promises: p, reporter: r, isPromised: p.isAccountPromised}
	for range accountCount {
		e.objects = append(e.objects, &accountState{wrong: wrongs{}})
	}
	return e
}

// doubt records that Pipedream says until a time that there is no such account.
func (e *accountEvaluator) doubt(until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doubtedUntil = until
}

// trigger records that a user asked for a look at an account. It returns the latest time at which the operator may
// start to look.
func (e *accountEvaluator) trigger(i int, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.objects[i]
	o.lastTrigger = now
	until := o.trigger(now)
	o.answered(until.Add(settleTime)) // The look may bring nothing new, and then nothing shows when it was made.
	e.fetches.trigger(i, now)
	if now.Sub(e.doubtedUntil) < doubtWait {
		until = until.Add(longDoubtWait) // The operator may be told for the second time that there is no such account.
	}
	return until
}

// sicken records what is wrong with an account at Pipedream from now on. If a user has asked for a look, the operator
// may start it until asked; else asked is zero.
func (e *accountEvaluator) sicken(i int, sick sickness, asked, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.objects[i]
	o.sick, o.noticedBy = sick, now.Add(lookInterval(i)+retryDelay)
	if early := asked.Add(retryDelay); !asked.IsZero() && early.Before(o.noticedBy) {
		o.noticedBy = early
	}
}

// keyReplaced records that a new API key is in the Secret of an account. A user's changes may make the operator wait until
// a time.
func (e *accountEvaluator) keyReplaced(i int, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.objects[i]
	o.sick, o.usedBy, o.wasRejected = well, until.Add(keyDelay), o.isRejected
}

// reconnected records that the user of an account has connected it again.
func (e *accountEvaluator) reconnected(i int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.objects[i]
	if o.sick == deleted {
		o.replaced = o.lastSeen
	}
	o.sick = well
}

// evaluate checks the snapshot of a PipedreamAccount.
func (e *accountEvaluator) evaluate(i int, s accountSnapshot, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.objects[i]
	o.lastSeen = s.credentials()
	o.isRejected = s.reason(v1alpha1.ConditionFetched) == v1alpha1.ReasonCredentialsRejected
	if o.lastSeen != o.replaced {
		o.replaced = ""
	}
	if s.isInherited() && now.Sub(o.lastTrigger) < collectorDelay {
		e.promises.touch(ofAccount, i, now) // The garbage collector may delete the Secret.
	}
	if o.problem = s.problem(); o.problem == "" {
		o.wellAt = now
	}
	promised := e.promises.isAccountPromised(i, now)
	e.tally.count(s.credentials() == "", s.answer, promised)
	e.evaluateCredentials(i, s, promised, now)
	if !e.promises.isStatusPromised(now) {
		clear(o.wrong)
		return
	}
	e.tally.statusEvaluated++
	if s.account == nil {
		return
	}
	problems := append(e.readyErrors(i, s, promised, now), e.sickErrors(i, s, now)...)
	o.wrong.record(problems, tolerance+2*s.slow, now, func(broken bool, problem string) {
		e.breach(broken, trueStatus, i, problem, s.describe())
	})
}

// evaluateCredentials checks that the Secret holds credentials that the app accepts when that is promised. Where
// Pipedream refreshes late, or the app refuses old credentials after a refresh, the app may refuse them for the time that
// the operator needs to look and to write.
func (e *accountEvaluator) evaluateCredentials(i int, s accountSnapshot, promised bool, now time.Time) {
	o := e.objects[i]
	if s.credentials() != "" && s.answer != refused {
		o.lapsedSince, o.lapsedWrongly = time.Time{}, time.Time{}
		e.breach(false, liveToken, i, "no live credentials", "")
		return
	}
	if o.lapsedSince.IsZero() {
		o.lapsedSince = now
	}
	e.tally.longestDead = max(e.tally.longestDead, now.Sub(o.lapsedSince))
	if !promised {
		o.lapsedWrongly = time.Time{}
		return
	}
	if o.lapsedWrongly.IsZero() {
		o.lapsedWrongly = now
	}
	lapsed := now.Sub(o.lapsedWrongly)
	e.tally.longestDeadPromised = max(e.tally.longestDeadPromised, lapsed)
	if lapse := refreshingOf(i).lapse; lapse == 0 || lapsed > lapse+2*s.slow {
		e.breach(true, liveToken, i, "no live credentials", s.describe())
	}
}

// readyErrors describes each way in which condition Ready does not agree with the Secret and with the app's answer.
func (e *accountEvaluator) readyErrors(i int, s accountSnapshot, promised bool, now time.Time) (problems []string) {
	o, expires := e.objects[i], s.account.Status.ExpirationTime
	if !s.isReady() {
		return addIf(nil, promised && s.answer == accepted, "Ready is not True, and the credentials are live")
	}
	settled := now.Sub(o.lastTrigger) >= statusDelay
	isReplaced := o.sick == deleted || o.replaced != ""
	problems = addIf(problems, expires != nil && !now.Before(expires.Time), "Ready is True, and according to the status the credentials have expired")
	problems = addIf(problems, settled && s.credentials() == "", "Ready is True, and there are no credentials")
	problems = addIf(problems, settled && s.answer == refused && !isReplaced, "Ready is True, and the app refuses the credentials")
	return addIf(problems, promised && s.answer == refused && isReplaced, "Ready is True, and the credentials were replaced")
}

// sickErrors describes each way in which the status does not say what is wrong with the account at Pipedream, or with the
// API key.
func (e *accountEvaluator) sickErrors(i int, s accountSnapshot, now time.Time) (problems []string) {
	o := e.objects[i]
	if isKeyed(i) && o.sick == well {
		return e.keyErrors(i, now)
	}
	if o.sick == well || now.Before(o.noticedBy) || !e.promises.isLookPromised(i, now) {
		return nil
	}
	e.sickEvaluated[o.sick]++
	fetched := s.reason(v1alpha1.ConditionFetched)
	if o.sick == locked {
		problems = addIf(problems, fetched != v1alpha1.ReasonCredentialsRejected, "the API key was revoked, and Fetched does not say CredentialsRejected")
		return addIf(problems, s.reason(v1alpha1.ConditionStalled) == "", "the API key was revoked, and the status calls for nobody")
	}
	if o.sick == deleted {
		return addIf(nil, fetched != v1alpha1.ReasonAccountNotFound, "the account was deleted, and Fetched does not say AccountNotFound")
	}
	problems = addIf(problems, s.isReady(), "Ready is True, and the account is dead")
	problems = addIf(problems, fetched != v1alpha1.ReasonAccountDead, "the account is dead, and Fetched does not say AccountDead")
	return addIf(problems, s.reason(v1alpha1.ConditionStalled) == "", "the account is dead, and the status calls for nobody")
}

// keyErrors says whether the status of an account with a good API key does not show that the operator uses the key.
func (e *accountEvaluator) keyErrors(i int, now time.Time) (problems []string) {
	o := e.objects[i]
	if !now.After(o.usedBy) || !e.promises.isLookPromised(i, now) {
		return nil
	}
	if o.wasRejected {
		e.usedEvaluated++
	}
	return addIf(nil, o.isRejected, "the API key is good, and Fetched says CredentialsRejected")
}

func (e *accountEvaluator) breach(broken bool, of invariant, i int, problem, detail string) {
	e.reporter.setBreach(broken, of, accountNameOf(i).String(), problem, detail)
}

// evaluateOwners checks that each object has one Secret, and that no Secret is left without its PipedreamAccount.
func (e *accountEvaluator) evaluateOwners(snapshots []accountSnapshot, orphans []string, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	owned := make([]int, len(snapshots))
	for i, s := range snapshots {
		owned[i] = s.owned
	}
	e.owners.evaluate(owned, orphans, func(i int) string { return snapshots[i].describe() }, now)
}

// unwell describes the objects that were not once as they must be in the end since a time. One snapshot says too
// little: where Pipedream refreshes late, the credentials are expired for a moment in each life.
func (e *accountEvaluator) unwell(since time.Time) (unwell []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, o := range e.objects {
		if !o.wellAt.After(since) {
			unwell = append(unwell, accountNameOf(i).String()+": "+o.problem)
		}
	}
	return unwell
}

// promised returns the number of objects that must hold live credentials now.
func (e *accountEvaluator) promised(now time.Time) int {
	promised := 0
	for i := range accountCount {
		if e.promises.isAccountPromised(i, now) {
			promised++
		}
	}
	return promised
}

// reason returns the reason of a condition, or "".
func (s accountSnapshot) reason(kind string) string {
	if s.account == nil {
		return ""
	}
	if found := meta.FindStatusCondition(s.account.Status.Conditions, kind); found != nil {
		return found.Reason
	}
	return ""
}

// isReady reports whether condition Ready is True for the current generation of the spec.
func (s accountSnapshot) isReady() bool {
	return s.account.Status.ObservedGeneration == s.account.Generation &&
		meta.IsStatusConditionTrue(s.account.Status.Conditions, v1alpha1.ConditionReady)
}

// describe describes the snapshot without any secret.
func (s accountSnapshot) describe() string {
	text := "no PipedreamAccount"
	if s.account != nil {
		status := s.account.Status
		text = fmt.Sprintf("generation %d, observed %d", s.account.Generation, status.ObservedGeneration)
		for _, c := range status.Conditions {
			text += fmt.Sprintf(", %s=%s %s", c.Type, c.Status, c.Reason)
		}
		for name, at := range map[string]*metav1.Time{"fetched": status.FetchTime, "expires": status.ExpirationTime, "next attempt": status.NextAttemptTime} {
			if at != nil {
				text += fmt.Sprintf(", %s %s", name, at.UTC().Format(time.TimeOnly))
			}
		}
		if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionFetched); c != nil {
			text += fmt.Sprintf(" (%s)", c.Message)
		}
	}
	switch {
	case s.secret == nil:
		return text + "; no Secret"
	case s.credentials() == "":
		return text + "; no credentials in the Secret"
	}
	return fmt.Sprintf("%s; the Secret's credentials expire at %s, next refresh at %s, answer %d", text,
		s.secret.Annotations[v1alpha1.ExpiresAtAnnotation], s.secret.Annotations[v1alpha1.NextRefreshAtAnnotation], s.answer)
}
