// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// The accounts of the tests: one that Pipedream refreshes in time, and one that it refreshes late.
const inTime, late = 24, 3

// seenAccount returns the snapshot of an account with credentials in its Secret. The reasons are of Ready, Fetched and
// Stalled; none for no condition.
func seenAccount(answered answer, expires time.Time, reasons ...string) accountSnapshot {
	account := newAccount(inTime)
	account.UID, account.Generation = "uid", 1
	account.Status.ObservedGeneration = 1
	account.Status.ExpirationTime = new(metav1.NewTime(expires))
	for k, reason := range reasons {
		kind := []string{v1alpha1.ConditionReady, v1alpha1.ConditionFetched, v1alpha1.ConditionStalled}[k]
		status := metav1.ConditionFalse
		if reason == v1alpha1.ReasonCredentialsValid || reason == v1alpha1.ReasonAccountFetched || kind == v1alpha1.ConditionStalled {
			status = metav1.ConditionTrue
		}
		account.Status.Conditions = append(account.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason})
	}
	secret := &corev1.Secret{Data: map[string][]byte{oauthTokenKey: []byte("sim_token")}}
	return accountSnapshot{account: account, held: held{secret: secret, answer: answered, owned: 1}}
}

func goodAccount(answered answer, expires time.Time) accountSnapshot {
	return seenAccount(answered, expires, v1alpha1.ReasonCredentialsValid, v1alpha1.ReasonAccountFetched)
}

func deadAccount(ready string) accountSnapshot {
	return seenAccount(accepted, at(500), ready, v1alpha1.ReasonAccountDead, v1alpha1.ReasonAccountDead)
}

func withoutSecret(s accountSnapshot) accountSnapshot {
	s.secret, s.answer = nil, unknown
	return s
}

func TestSnapshotsOfAccountsAreEvaluated(t *testing.T) {
	t.Parallel()
	expires := at(500)
	expired := seenAccount(refused, at(90), v1alpha1.ReasonCredentialsExpired, v1alpha1.ReasonAccountFetched)
	sickened := func(sick sickness) func(*accountEvaluator) {
		return func(e *accountEvaluator) {
			e.promises.begin(ofAccount, inTime, at(0))
			e.sicken(inTime, sick, time.Time{}, at(0))
		}
	}
	tests := map[string]struct {
		object   int
		snapshot accountSnapshot
		before   func(*accountEvaluator)
		want     map[invariant]int
	}{
		"all is well":                      {object: inTime, snapshot: goodAccount(accepted, expires)},
		"expired, and not Ready":           {object: inTime, snapshot: expired, want: map[invariant]int{liveToken: 1}},
		"expired where it is late":         {object: late, snapshot: expired, want: map[invariant]int{liveToken: 1}},
		"expired, and Ready":               {object: inTime, snapshot: goodAccount(refused, at(90)), want: map[invariant]int{liveToken: 1, trueStatus: 2}},
		"no Secret, and Ready":             {object: inTime, snapshot: withoutSecret(goodAccount(unknown, expires)), want: map[invariant]int{liveToken: 1, trueStatus: 1}},
		"live, and not Ready":              {object: inTime, snapshot: seenAccount(accepted, expires, v1alpha1.ReasonNotFetched, v1alpha1.ReasonNotAttempted), want: map[invariant]int{trueStatus: 1}},
		"expired while fetches fail":       {object: inTime, snapshot: expired, before: func(e *accountEvaluator) { e.promises.touch(ofAccounts, 0, at(90)) }},
		"Ready, expired, fetches fail":     {object: inTime, snapshot: goodAccount(refused, at(90)), before: func(e *accountEvaluator) { e.promises.touch(ofAccounts, 0, at(90)) }, want: map[invariant]int{trueStatus: 2}},
		"wrong while the cluster was away": {object: inTime, snapshot: goodAccount(refused, at(90)), before: func(e *accountEvaluator) { e.promises.touch(ofCluster, 0, at(90)) }},
		"faults of tokens excuse nothing":  {object: inTime, snapshot: expired, before: func(e *accountEvaluator) { e.promises.touch(ofClient, 0, at(90)) }, want: map[invariant]int{liveToken: 1}},
		"its own OAuth client":             {object: inTime, snapshot: expired, before: func(e *accountEvaluator) { e.promises.touch(ofReader, readerOf(inTime), at(90)) }},
		"another OAuth client":             {object: inTime, snapshot: expired, before: func(e *accountEvaluator) { e.promises.touch(ofReader, readerOf(inTime)+1, at(90)) }, want: map[invariant]int{liveToken: 1}},
		"dead, and the status says so":     {object: inTime, snapshot: deadAccount(v1alpha1.ReasonAccountDead), before: sickened(dead)},
		"dead, and Ready":                  {object: inTime, snapshot: deadAccount(v1alpha1.ReasonCredentialsValid), before: sickened(dead), want: map[invariant]int{trueStatus: 1}},
		"dead, and nobody was told":        {object: inTime, snapshot: goodAccount(accepted, expires), before: sickened(dead), want: map[invariant]int{trueStatus: 3}},
		"dead since a moment": {object: inTime, snapshot: goodAccount(accepted, expires), before: func(e *accountEvaluator) {
			e.promises.begin(ofAccount, inTime, at(95))
			e.sicken(inTime, dead, time.Time{}, at(95))
		}},
		"dead, and somebody asked for a look": {object: inTime, snapshot: goodAccount(accepted, expires), before: func(e *accountEvaluator) {
			e.promises.begin(ofAccount, inTime, at(80))
			e.sicken(inTime, dead, at(80), at(80))
		}, want: map[invariant]int{trueStatus: 3}},
		"dead while fetches fail": {object: inTime, snapshot: goodAccount(accepted, expires), before: func(e *accountEvaluator) {
			sickened(dead)(e)
			e.promises.touch(ofAccounts, 0, at(90))
		}},
		"deleted, and Fetched says so":           {object: inTime, snapshot: seenAccount(refused, expires, v1alpha1.ReasonCredentialsValid, v1alpha1.ReasonAccountNotFound), before: sickened(deleted)},
		"deleted, and Fetched does not say so":   {object: inTime, snapshot: goodAccount(refused, expires), before: sickened(deleted), want: map[invariant]int{trueStatus: 1}},
		"connected again, and the old in Secret": {object: inTime, snapshot: goodAccount(refused, expires), before: func(e *accountEvaluator) { connectAgain(e, at(90)) }},
		"connected again long ago":               {object: inTime, snapshot: goodAccount(refused, expires), before: func(e *accountEvaluator) { connectAgain(e, at(20)) }, want: map[invariant]int{liveToken: 1, trueStatus: 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReporter(io.Discard)
			e := newAccountEvaluator(&promises{}, newFetchBudget(r), r)
			if test.before != nil {
				test.before(e)
			}
			for second := 100; second <= 110; second++ {
				e.evaluate(test.object, test.snapshot, at(second))
			}
			want := test.want
			if want == nil {
				want = map[invariant]int{}
			}
			if diff := cmp.Diff(want, r.breaches); diff != "" {
				t.Errorf("breaches (-want +got):\n%s", diff)
			}
		})
	}
}

// connectAgain deletes the account of inTime, and has its user connect it again at a time.
func connectAgain(e *accountEvaluator, now time.Time) {
	disturbed := e.promises.begin(ofAccount, inTime, now.Add(-time.Second))
	e.objects[inTime].lastSeen = "sim_token"
	e.sicken(inTime, deleted, time.Time{}, now.Add(-time.Second))
	e.reconnected(inTime)
	e.promises.end(disturbed, now)
}

func TestAnAccountIsWellIfItWasSoOnce(t *testing.T) {
	t.Parallel()
	r := newReporter(io.Discard)
	e := newAccountEvaluator(&promises{}, newFetchBudget(r), r)
	for i := range accountCount {
		e.evaluate(i, goodAccount(accepted, at(500)), at(100))
	}
	expired := seenAccount(refused, at(101), v1alpha1.ReasonCredentialsExpired, v1alpha1.ReasonAccountFetched)
	e.evaluate(inTime, expired, at(101))
	if unwell := e.unwell(at(99)); len(unwell) != 0 {
		t.Errorf("not well since 99: %v", unwell)
	}
	for i := range accountCount {
		if i != inTime {
			e.evaluate(i, goodAccount(accepted, at(500)), at(102))
		}
	}
	if unwell := e.unwell(at(101)); len(unwell) != 1 {
		t.Errorf("not well since 101: %v, want one account", unwell)
	}
}

func TestTooManyLooksInAMinuteAreABreach(t *testing.T) {
	t.Parallel()
	const project = 0
	most := mostLooksOf(project)
	counted := func(looks int) simulator.AccountCounters {
		return simulator.AccountCounters{Accounts: map[string]simulator.AccountCount{connectedID(1, 0): {Fetches: looks}}}
	}
	tests := map[string]struct {
		before func(*fetchBudget)
		// looks are how often the account was looked at until each second.
		looks map[int]int
		want  int
	}{
		"as many as allowed":        {looks: map[int]int{10: most}},
		"one more":                  {looks: map[int]int{10: most, 50: most + 1}, want: 1},
		"one more, a minute later":  {looks: map[int]int{10: most, 70: most + 1}},
		"one more, and a request":   {before: func(b *fetchBudget) { b.trigger(1, at(5)) }, looks: map[int]int{10: most + 1}},
		"one more, and another's":   {before: func(b *fetchBudget) { b.trigger(accountCount-1, at(5)) }, looks: map[int]int{10: most + 1}, want: 1},
		"many more after an outage": {before: func(b *fetchBudget) { b.allowAll(1, at(5)) }, looks: map[int]int{10: most + 20}},
		"an outage long ago":        {before: func(b *fetchBudget) { b.allowAll(1, at(5)) }, looks: map[int]int{106: most + 1}, want: 1},
		"connected again":           {looks: map[int]int{10: most, 20: 0, 90: most}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReporter(io.Discard)
			b := newFetchBudget(r)
			if test.before != nil {
				test.before(b)
			}
			for second := range 120 {
				if looks, ok := test.looks[second]; ok {
					b.observe(counted(looks), at(second))
				}
			}
			if got := r.breaches[boundedExchanges]; got != test.want {
				t.Errorf("%d breaches, want %d", got, test.want)
			}
		})
	}
}

func TestTheSecretsOfTheKindsAreKeptApart(t *testing.T) {
	t.Parallel()
	token, account := newToken(1), newAccount(1)
	token.UID, account.UID = "token", "account"
	secretOfAccount := corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: accountNameOf(1).Namespace, Name: accountSecretOf(1).Name,
		OwnerReferences: []metav1.OwnerReference{{Kind: v1alpha1.KindPipedreamAccount, Name: account.Name, UID: account.UID, Controller: new(true)}},
		Annotations:     map[string]string{v1alpha1.OwnerAnnotation: v1alpha1.KindPipedreamAccount + "/" + account.Name},
	}}
	leftOver := *secretOfAccount.DeepCopy()
	leftOver.Name, leftOver.OwnerReferences = "left-over", nil
	secrets := []corev1.Secret{secretOfAccount, leftOver}
	accounts, orphans := assembleAccounts([]v1alpha1.PipedreamAccount{*account}, secrets)
	if accounts[1].owned != 1 || accounts[1].secret == nil || len(orphans) != 1 {
		t.Errorf("the account has %d Secrets, and %v are left over, want one of each", accounts[1].owned, orphans)
	}
	if _, orphans := assemble([]v1alpha1.PipedreamToken{*token}, secrets); len(orphans) != 0 {
		t.Errorf("Secrets of PipedreamAccounts count as left over by PipedreamTokens: %v", orphans)
	}
}
