// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// tolerance is for how long the status may be wrong: a second until the operator's
	// timer and its write, and as much as two looks are apart. A busy API server gets
	// more.
	tolerance = 5 * time.Second
	// lifeLeft is what a promised token has left at the least: a third of its life is left
	// when it is to be renewed, and a sixth is for delays. A busy API server gets more.
	lifeLeft = tokenLifetime / 6
	// noticing is how long after a deed the status may still speak of the time before.
	noticing = 10 * time.Second
	// roundings is how much times in whole seconds may be off.
	roundings = 2 * time.Second
	// collecting is how long the garbage collector may take.
	collecting = time.Minute
)

// sight is what was seen of one object at one time.
type sight struct {
	token  *v1alpha1.PipedreamToken // nil when there is none
	secret *corev1.Secret           // the one of the expected name; nil when there is none
	answer answer                   // to the token in it
	owned  int                      // how many Secrets the PipedreamToken controls
	slow   time.Duration            // how long it took to read
}

// held returns the token in the Secret.
func (s sight) held() string {
	if s.secret == nil {
		return ""
	}
	return string(s.secret.Data[accessTokenKey])
}

// inherits tells whether the Secret is that of a PipedreamToken of the same name which
// was deleted. The new one writes to it, and where the API server lets it not, it stays
// the old one's: the garbage collector deletes it, sooner or, if it has missed the
// deletion because the API server was away, later.
func (s sight) inherits() bool {
	if s.token == nil || s.secret == nil {
		return false
	}
	controller := metav1.GetControllerOfNoCopy(s.secret)
	return controller != nil && controller.Kind == "PipedreamToken" && controller.Name == s.token.Name && controller.UID != s.token.UID
}

// expires returns when the token itself says that it expires.
func (s sight) expires() time.Time {
	var claims struct {
		Expires int64 `json:"exp"`
	}
	parts := strings.Split(s.held(), ".")
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

// object is what is known of one PipedreamToken beside what is seen.
type object struct {
	spacing
	// before is the token that a deed asked to replace; empty when none is awaited.
	before  string
	waiting bool
	// lastDeed is when its Secret or spec was last changed by somebody.
	lastDeed time.Time
	// revoked is the token that was revoked, and exempt what ends with its replacement.
	revoked string
	exempt  *disturbance
	// explained is when something last happened that a new token may come of before its
	// time, and issued when the held one was issued.
	explained, issued time.Time
	// lastSeen is what its Secret last held.
	lastSeen string
	// renewBefore and lastLook serve to count how many tokens it needs.
	renewBefore int32
	lastLook    time.Time

	untrueSince map[string]time.Time
	deadSince   time.Time
	heldDead    time.Time
}

// tally counts what consumers met.
type tally struct {
	accepted, refusedPromised, refusedExcused, unknown int
	missingPromised, missingExcused                    int
	judged, unjudged                                   int
	statusJudged                                       int
	longestDead, longestHeldDead                       time.Duration
	stored, byAge                                      int
}

// judge compares what is seen with what is promised.
type judge struct {
	promises *promises
	ledger   *ledger
	diary    *diary

	mu      sync.Mutex
	objects []*object
	tally   tally
	// orphans is since when Secrets of no PipedreamToken were seen.
	orphans map[string]time.Time
}

func newJudge(p *promises, l *ledger, d *diary) *judge {
	j := &judge{promises: p, ledger: l, diary: d, orphans: map[string]time.Time{}}
	for range objectCount {
		j.objects = append(j.objects, &object{untrueSince: map[string]time.Time{}})
	}
	return j
}

// deed notes that something was done that asks for a new token of an object, and
// returns when that may be answered at the latest.
func (j *judge) deed(i int, now time.Time) time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	o := j.objects[i]
	o.before, o.waiting, o.lastDeed, o.explained = o.lastSeen, true, now, now
	return o.deed(now)
}

// explainVerified notes that new tokens of verified objects are no surprise.
func (j *judge) explainVerified(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, o := range j.objects {
		if isVerified(i) {
			o.explained = now
		}
	}
}

// stored returns how many tokens were seen.
func (j *judge) stored() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tally.stored
}

// renewBefore notes that an object is renewed at another time from now on.
func (j *judge) renewBefore(i int, seconds int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.objects[i].renewBefore, j.objects[i].explained = seconds, time.Now()
}

// holds returns the token that an object was last seen to hold.
func (j *judge) holds(i int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.objects[i].lastSeen
}

// revoke notes that a token is revoked. Without verification nothing is promised
// until it is renewed.
func (j *judge) revoke(i int, token string, d *disturbance, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	o := j.objects[i]
	if isVerified(i) {
		j.promises.end(d, now.Add(mostVerification*time.Second))
	} else {
		if o.exempt != nil {
			j.promises.end(o.exempt, now)
		}
		o.exempt = d
	}
	o.revoked = token
	if isVerified(i) {
		o.explained = now
	}
}

// look judges what is seen of an object.
func (j *judge) look(i int, s sight, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	o := j.objects[i]
	j.count(i, s, now)
	j.follow(i, s, now)
	held := j.promises.isHeld(i, now)
	j.lookAtToken(i, s, held, now)
	reported := j.promises.isReported(now)
	if reported {
		j.tally.statusJudged++
	} else {
		clear(o.untrueSince)
	}
	j.lookAtStatus(i, s, held, reported, now)
}

// count adds to what the object's tokens may cost.
func (j *judge) count(i int, s sight, now time.Time) {
	o := j.objects[i]
	if s.token != nil && !o.lastLook.IsZero() {
		j.ledger.live(clientOf(i), now.Sub(o.lastLook), interval(o.renewBefore))
	}
	o.lastLook = now
}

// follow notices what has become of deeds.
func (j *judge) follow(i int, s sight, now time.Time) {
	o, held := j.objects[i], s.held()
	if o.waiting && s.answer == accepted && held != o.before {
		o.waiting = false
		o.answered(now)
	}
	if o.revoked != "" && s.answer == accepted && held != o.revoked {
		o.revoked = ""
		if o.exempt != nil {
			j.promises.end(o.exempt, now)
			o.exempt = nil
		}
	}
	if s.inherits() {
		// It may be collected, which asks for a new token.
		o.explained = now
		if now.Sub(o.lastDeed) < collecting {
			j.promises.touch(ofObject, i, now)
		}
	}
	o.lastSeen = held
	j.followIssues(i, s)
}

// followIssues judges each new token: it has to come of the age of the one before, or of
// what somebody did since that was issued.
func (j *judge) followIssues(i int, s sight) {
	if s.secret == nil {
		return
	}
	o := j.objects[i]
	issued, err := time.Parse(time.RFC3339, s.secret.Annotations[v1alpha1.IssuedAtAnnotation])
	if err != nil || issued.Equal(o.issued) {
		return
	}
	before := o.issued
	o.issued = issued
	j.tally.stored++
	if before.IsZero() {
		return
	}
	age := issued.Sub(before)
	isDue := age >= interval(o.renewBefore)-tokenLifetime/20-roundings
	if isDue {
		j.tally.byAge++
	}
	// One that was issued right after a deed may be what was wanted before it: the
	// operator's cache is late when the API server has been away.
	surprise := !isDue && o.explained.Before(before.Add(-noticing))
	j.breach(surprise, fewExchanges, i, "a new token that nothing asked for", fmt.Sprintf("%v after the one before; %s", age, s.describe()))
}

// lookAtToken judges whether the Secret holds a live token when that is promised.
func (j *judge) lookAtToken(i int, s sight, held bool, now time.Time) {
	o := j.objects[i]
	isDead := s.held() == "" || s.answer == refused
	j.tallyCall(s, held)
	late := held && s.answer == accepted && s.expires().Sub(now) < lifeLeft-2*s.slow
	j.breach(late, liveToken, i, "a token that should have been renewed long ago", s.describe())
	if !isDead {
		o.deadSince, o.heldDead = time.Time{}, time.Time{}
		j.breach(false, liveToken, i, "no live token", "")
		return
	}
	if o.deadSince.IsZero() {
		o.deadSince = now
	}
	j.tally.longestDead = max(j.tally.longestDead, now.Sub(o.deadSince))
	if !held {
		return
	}
	if o.heldDead.IsZero() {
		o.heldDead = now
	}
	j.tally.longestHeldDead = max(j.tally.longestHeldDead, now.Sub(o.heldDead))
	j.breach(true, liveToken, i, "no live token", s.describe())
}

func (j *judge) tallyCall(s sight, held bool) {
	t := &j.tally
	if held {
		t.judged++
	} else {
		t.unjudged++
	}
	isMissing := s.held() == ""
	switch {
	case isMissing && held:
		t.missingPromised++
	case isMissing:
		t.missingExcused++
	case s.answer == accepted:
		t.accepted++
	case s.answer == unknown:
		t.unknown++
	case held:
		t.refusedPromised++
	default:
		t.refusedExcused++
	}
}

// lookAtStatus judges whether Ready is true.
func (j *judge) lookAtStatus(i int, s sight, held, reported bool, now time.Time) {
	if s.token == nil || !reported {
		return
	}
	wrongs := j.wrongs(i, s, held, now)
	for what := range j.objects[i].untrueSince {
		if !slices.Contains(wrongs, what) {
			j.untrue(false, i, what, s, now)
		}
	}
	for _, what := range wrongs {
		j.untrue(true, i, what, s, now)
	}
}

// wrongs returns in which ways Ready is wrong.
func (j *judge) wrongs(i int, s sight, held bool, now time.Time) (wrongs []string) {
	add := func(wrong bool, what string) {
		if wrong {
			wrongs = append(wrongs, what)
		}
	}
	o, expires := j.objects[i], s.token.Status.ExpirationTime
	if !s.isReady() {
		add(held && s.answer == accepted, "Ready is not True, and the token is good")
		return wrongs
	}
	quiet := now.Sub(o.lastDeed) >= noticing
	isRevoked := o.revoked != "" && s.held() == o.revoked
	add(expires == nil || !now.Before(expires.Time), "Ready is True, and its own status says that the token has expired")
	add(quiet && s.held() == "", "Ready is True, and there is no token")
	add(quiet && s.answer == refused && !isRevoked, "Ready is True, and Pipedream refuses the token")
	add(held && isRevoked, "Ready is True, and the token was revoked")
	return wrongs
}

// isReady tells whether Ready is True of the spec as it is.
func (s sight) isReady() bool {
	return s.token.Status.ObservedGeneration == s.token.Generation &&
		meta.IsStatusConditionTrue(s.token.Status.Conditions, v1alpha1.ConditionReady)
}

// untrue records a wrong status once it has lasted for longer than tolerance.
func (j *judge) untrue(wrong bool, i int, what string, s sight, now time.Time) {
	o := j.objects[i]
	if !wrong {
		delete(o.untrueSince, what)
		j.breach(false, trueStatus, i, what, "")
		return
	}
	if o.untrueSince[what].IsZero() {
		o.untrueSince[what] = now
	}
	if now.Sub(o.untrueSince[what]) > tolerance+2*s.slow {
		j.breach(true, trueStatus, i, what, s.describe())
	}
}

func (j *judge) breach(broken bool, of invariant, i int, what, detail string) {
	j.diary.judge(broken, of, nameOf(i).String(), what, detail)
}

// lookAtOwners judges how many Secrets an object has, and which belong to none.
func (j *judge) lookAtOwners(sights []sight, orphans []string, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, s := range sights {
		j.breach(s.owned > 1, oneSecret, i, "more than one Secret", fmt.Sprint(s.owned))
		j.breach(s.owned < 1 && j.promises.isHeld(i, now), oneSecret, i, "no Secret that it controls", s.describe())
	}
	seen := map[string]time.Time{}
	for _, name := range orphans {
		seen[name] = now
		if since, ok := j.orphans[name]; ok {
			seen[name] = since
		}
		left := now.Sub(seen[name])
		late := left > collecting && now.Sub(j.promises.disturbedUntil(0, now, ofCluster)) > collecting
		j.diary.judge(late, oneSecret, name, "the Secret of a PipedreamToken that is gone is left", left.String())
	}
	j.orphans = seen
}

// describe says what there is, without saying anything secret.
func (s sight) describe() string {
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
	case s.held() == "":
		return text + "; no token in the Secret"
	}
	return fmt.Sprintf("%s; the Secret's token was issued at %s, answer %d", text, s.secret.Annotations[v1alpha1.IssuedAtAnnotation], s.answer)
}
