// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// tolerance is for how long the status may be wrong. It covers a second for the operator's timer and its
	// write, and the time between two observations. When the API server is slow, more is allowed.
	tolerance = 5 * time.Second
	// minLifeLeft is the least lifetime that a promised token has left. A third of its lifetime is left when
	// it is due for renewal, and half of that third allows for delays. When the API server is slow, less may
	// be left.
	minLifeLeft = tokenLifetime / 6
	// statusDelay is how long after a trigger the status may still describe the state before it.
	statusDelay = 10 * time.Second
	// roundingError bounds the error of a difference of two times that are rounded to seconds.
	roundingError = 2 * time.Second
	// collectorDelay is how long the garbage collector may take to delete a Secret.
	collectorDelay = time.Minute
)

// snapshot is the observed state of one object at one time.
type snapshot struct {
	token *v1alpha1.PipedreamToken // nil when there is none
	held
}

// accessToken returns the token in the Secret, or "".
func (s snapshot) accessToken() string {
	if s.secret == nil {
		return ""
	}
	return string(s.secret.Data[accessTokenKey])
}

// isInherited reports whether a deleted PipedreamToken of the same name still controls the Secret.
func (s snapshot) isInherited() bool {
	return s.token != nil && tokenFleet.isInherited(s.token, s.secret)
}

// expires returns the time of expiry in the token's own claims, or the zero time.
func (s snapshot) expires() time.Time {
	var claims struct {
		Expires int64 `json:"exp"`
	}
	parts := strings.Split(s.accessToken(), ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(content, &claims) != nil {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}

const accessTokenKey = "access_token"

// object is the state of one PipedreamToken that the evaluator keeps from one snapshot to the next.
type object struct {
	minimumInterval
	// before is the token that the last trigger asked to replace. It has a meaning only while waiting is true.
	before  string
	waiting bool
	// lastTrigger is when a user last changed the Secret or the spec.
	lastTrigger time.Time
	// revoked is the revoked token, and exempt the disturbance that ends when the operator replaces it.
	revoked string
	exempt  *disturbance
	// renewalExpected is when an event last happened after which the operator may replace the token before it is
	// due. issued is when Pipedream issued the current token.
	renewalExpected, issued time.Time
	// lastSeen is the token in the last observed Secret.
	lastSeen string
	// renewBefore and lastObserved serve to count how many tokens the object needs.
	renewBefore  int32
	lastObserved time.Time

	wrong             wrongs
	deadSince         time.Time
	deadWhilePromised time.Time
}

// tally counts the results of the consumers' calls and of the evaluation.
type tally struct {
	accepted, refusedPromised, refusedExcused, unknown int
	missingPromised, missingExcused                    int
	promised, unpromised                               int
	statusEvaluated                                    int
	longestDead, longestDeadPromised                   time.Duration
	stored, byAge                                      int
}

// evaluator compares the snapshots with the promises, and reports each difference as a breach.
type evaluator struct {
	promises *promises
	budget   *budget
	reporter *reporter

	mu      sync.Mutex
	objects []*object
	tally   tally
	owners  *ownership
}

func newEvaluator(p *promises, b *budget, r *reporter) *evaluator {
	e := &evaluator{promises: p, budget: b, reporter: r}
	e.owners = &ownership{fleet: tokenFleet, promises: p, reporter: r, isPromised: p.isTokenPromised}
	for range objectCount {
		e.objects = append(e.objects, &object{wrong: wrongs{}})
	}
	return e
}

// trigger records that a user requested a new token for an object. It returns the latest time at which the
// operator may start to issue it.
func (e *evaluator) trigger(i int, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.objects[i]
	o.before, o.waiting, o.lastTrigger, o.renewalExpected = o.lastSeen, true, now, now
	return o.trigger(now)
}

// expectVerifiedRenewals records that the operator may now replace the token of each verified object before
// the token is due.
func (e *evaluator) expectVerifiedRenewals(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, o := range e.objects {
		if isVerified(i) {
			o.renewalExpected = now
		}
	}
}

// storedCount returns how many tokens were seen in Secrets.
func (e *evaluator) storedCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tally.stored
}

// renewBefore records that renewBeforeSeconds of an object changes now.
func (e *evaluator) renewBefore(i int, seconds int32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.objects[i].renewBefore, e.objects[i].renewalExpected = seconds, time.Now()
}

// currentToken returns the token that was last seen in the object's Secret.
func (e *evaluator) currentToken(i int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.objects[i].lastSeen
}

// revoke records that a token was revoked. Without verification the operator promises no live token until it
// renews the token.
func (e *evaluator) revoke(i int, token string, d *disturbance, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.objects[i]
	if isVerified(i) {
		e.promises.end(d, now.Add(maxVerification*time.Second))
	} else {
		if o.exempt != nil {
			e.promises.end(o.exempt, now)
		}
		o.exempt = d
	}
	o.revoked = token
	if isVerified(i) {
		o.renewalExpected = now
	}
}

// evaluate checks the snapshot of an object.
func (e *evaluator) evaluate(i int, s snapshot, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.objects[i]
	e.count(i, s, now)
	e.track(i, s, now)
	promised := e.promises.isTokenPromised(i, now)
	e.evaluateToken(i, s, promised, now)
	statusPromised := e.promises.isStatusPromised(now)
	if statusPromised {
		e.tally.statusEvaluated++
	} else {
		clear(o.wrong)
	}
	e.evaluateStatus(i, s, promised, statusPromised, now)
}

// count adds the time since the last snapshot to the budget of exchanges.
func (e *evaluator) count(i int, s snapshot, now time.Time) {
	o := e.objects[i]
	if s.token != nil && !o.lastObserved.IsZero() {
		e.budget.addAge(clientOf(i), now.Sub(o.lastObserved), interval(o.renewBefore))
	}
	o.lastObserved = now
}

// track records which triggers and revocations the operator has answered with a new token.
func (e *evaluator) track(i int, s snapshot, now time.Time) {
	o, current := e.objects[i], s.accessToken()
	if o.waiting && s.answer == accepted && current != o.before {
		o.waiting = false
		o.answered(now)
	}
	if o.revoked != "" && s.answer == accepted && current != o.revoked {
		o.revoked = ""
		if o.exempt != nil {
			e.promises.end(o.exempt, now)
			o.exempt = nil
		}
	}
	if s.isInherited() {
		// The garbage collector may delete the Secret. The operator then issues a new token.
		o.renewalExpected = now
		if now.Sub(o.lastTrigger) < collectorDelay {
			e.promises.touch(ofObject, i, now)
		}
	}
	o.lastSeen = current
	e.evaluateIssue(i, s)
}

// evaluateIssue checks each new token. It is a breach unless the token before it was due, or an event since
// then explains the new token.
func (e *evaluator) evaluateIssue(i int, s snapshot) {
	if s.secret == nil {
		return
	}
	o := e.objects[i]
	issued, err := time.Parse(time.RFC3339, s.secret.Annotations[v1alpha1.IssuedAtAnnotation])
	if err != nil || issued.Equal(o.issued) {
		return
	}
	before := o.issued
	o.issued = issued
	e.tally.stored++
	if before.IsZero() {
		return
	}
	age := issued.Sub(before)
	isDue := age >= interval(o.renewBefore)-tokenLifetime/20-roundingError
	if isDue {
		e.tally.byAge++
	}
	// After an outage of the API server the operator's cache lags behind. It may then issue a token right after
	// a trigger, because of the state before the trigger.
	unexpected := !isDue && o.renewalExpected.Before(before.Add(-statusDelay))
	e.breach(unexpected, boundedExchanges, i, "a new token without a reason", fmt.Sprintf("%v after the token before it; %s", age, s.describe()))
}

// evaluateToken checks that the Secret holds a live token when one is promised.
func (e *evaluator) evaluateToken(i int, s snapshot, promised bool, now time.Time) {
	o := e.objects[i]
	isDead := s.accessToken() == "" || s.answer == refused
	e.tally.count(s.accessToken() == "", s.answer, promised)
	late := promised && s.answer == accepted && s.expires().Sub(now) < minLifeLeft-2*s.slow
	e.breach(late, liveToken, i, "a token whose renewal is overdue", s.describe())
	if !isDead {
		o.deadSince, o.deadWhilePromised = time.Time{}, time.Time{}
		e.breach(false, liveToken, i, "no live token", "")
		return
	}
	if o.deadSince.IsZero() {
		o.deadSince = now
	}
	e.tally.longestDead = max(e.tally.longestDead, now.Sub(o.deadSince))
	if !promised {
		return
	}
	if o.deadWhilePromised.IsZero() {
		o.deadWhilePromised = now
	}
	e.tally.longestDeadPromised = max(e.tally.longestDeadPromised, now.Sub(o.deadWhilePromised))
	e.breach(true, liveToken, i, "no live token", s.describe())
}

// count counts the call of a consumer, and whether a Secret was promised to hold what the consumer needs.
func (t *tally) count(isMissing bool, got answer, promised bool) {
	if promised {
		t.promised++
	} else {
		t.unpromised++
	}
	switch {
	case isMissing && promised:
		t.missingPromised++
	case isMissing:
		t.missingExcused++
	case got == accepted:
		t.accepted++
	case got == unknown:
		t.unknown++
	case promised:
		t.refusedPromised++
	default:
		t.refusedExcused++
	}
}

// evaluateStatus checks that condition Ready agrees with the Secret and with Pipedream's answer.
func (e *evaluator) evaluateStatus(i int, s snapshot, promised, statusPromised bool, now time.Time) {
	if s.token == nil || !statusPromised {
		return
	}
	problems := e.statusErrors(i, s, promised, now)
	e.objects[i].wrong.record(problems, tolerance+2*s.slow, now, func(broken bool, problem string) {
		e.breach(broken, trueStatus, i, problem, s.describe())
	})
}

// statusErrors describes each way in which condition Ready is wrong.
func (e *evaluator) statusErrors(i int, s snapshot, promised bool, now time.Time) (problems []string) {
	add := func(wrong bool, problem string) { problems = addIf(problems, wrong, problem) }
	o, expires := e.objects[i], s.token.Status.ExpirationTime
	if !s.isReady() {
		add(promised && s.answer == accepted, "Ready is not True, and the token is live")
		return problems
	}
	settled := now.Sub(o.lastTrigger) >= statusDelay
	isRevoked := o.revoked != "" && s.accessToken() == o.revoked
	add(expires == nil || !now.Before(expires.Time), "Ready is True, and according to the status the token has expired")
	add(settled && s.accessToken() == "", "Ready is True, and there is no token")
	add(settled && s.answer == refused && !isRevoked, "Ready is True, and Pipedream refuses the token")
	add(promised && isRevoked, "Ready is True, and the token was revoked")
	return problems
}

// isReady reports whether condition Ready is True for the current generation of the spec.
func (s snapshot) isReady() bool {
	return s.token.Status.ObservedGeneration == s.token.Generation &&
		meta.IsStatusConditionTrue(s.token.Status.Conditions, v1alpha1.ConditionReady)
}

func (e *evaluator) breach(broken bool, of invariant, i int, problem, detail string) {
	e.reporter.setBreach(broken, of, nameOf(i).String(), problem, detail)
}

// evaluateOwners checks that each object has one Secret, and that no Secret is left without its PipedreamToken.
func (e *evaluator) evaluateOwners(snapshots []snapshot, orphans []string, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	owned := make([]int, len(snapshots))
	for i, s := range snapshots {
		owned[i] = s.owned
	}
	e.owners.evaluate(owned, orphans, func(i int) string { return snapshots[i].describe() }, now)
}

// describe describes the snapshot without any secret.
func (s snapshot) describe() string {
	text := "no PipedreamToken"
	if s.token != nil {
		status := s.token.Status
		text = fmt.Sprintf("generation %d, observed %d", s.token.Generation, status.ObservedGeneration)
		for _, c := range status.Conditions {
			text += fmt.Sprintf(", %s=%s %s", c.Type, c.Status, c.Reason)
		}
		for name, at := range map[string]*metav1.Time{"issued": status.IssueTime, "expires": status.ExpirationTime, "next attempt": status.NextAttemptTime} {
			if at != nil {
				text += fmt.Sprintf(", %s %s", name, at.UTC().Format(time.TimeOnly))
			}
		}
		if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed); c != nil {
			text += fmt.Sprintf(" (%s)", c.Message)
		}
	}
	switch {
	case s.secret == nil:
		return text + "; no Secret"
	case s.accessToken() == "":
		return text + "; no token in the Secret"
	}
	return fmt.Sprintf("%s; the Secret's token was issued at %s, answer %d", text, s.secret.Annotations[v1alpha1.IssuedAtAnnotation], s.answer)
}
