// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	here  = "pipedream-operator-system/pipedream-operator"
	there = "team-b/pipedream-operator"
)

// install makes an operator with a name, and makes it the one that reconciles.
func (w *world) install(name string) *Reconciler {
	w.Helper()
	w.restart()
	w.reconciler.Operator = name
	return w.reconciler
}

// as reconciles as one of the operators.
func (w *world) as(operator *Reconciler) {
	w.Helper()
	w.reconciler = operator
	w.reconcile()
}

// race has two operators reconcile at the same moment: the second one issues and writes its token after
// the first one has issued its own, and before the first one has written it. If the first one issues
// none, the second one reconciles after it.
func (w *world) race(first, second *Reconciler) {
	w.Helper()
	hasReconciled := false
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if (call == "PUT secrets" || call == "POST secrets") && !hasReconciled {
			hasReconciled = true
			w.as(second)
		}
		return forward()
	})
	w.as(first)
	w.wire.cut(nil)
	if !hasReconciled {
		w.as(second)
	}
}

// warnings returns the events of an operator about another one, and forgets its events.
func warnings(operator *Reconciler) []string {
	return slices.DeleteFunc(drainWhole(operator.Events.(*events.FakeRecorder).Events), func(event string) bool {
		return !strings.Contains(event, v1alpha1.EventTwoOperators)
	})
}

func (w *world) wantWriter(want string) {
	w.Helper()
	if got, ok := w.target().Annotations[v1alpha1.OperatorAnnotation]; got != want || ok != (want != "") {
		w.Errorf("the Secret names the operator %q, want %q", got, want)
	}
}

// wantTold checks whether condition Renewed says that two operators write the Secret.
func (w *world) wantTold(want bool, names ...string) {
	w.Helper()
	message := w.condition(v1alpha1.ConditionRenewed).Message
	if got := strings.Contains(message, "writes the same Secret"); got != want {
		w.Errorf("Renewed says of two operators: %t, want %t: %s", got, want, message)
	}
	for _, name := range names {
		if !strings.Contains(message, "`"+name+"`") {
			w.Errorf("Renewed does not name %s: %s", name, message)
		}
	}
}

func TestSecretNamesItsOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.install(here)
	w.issued()
	w.wantWriter(here)

	t.Log("an edit costs nothing, and the next write sets it again")
	for _, value := range []string{"", "anything\nat all", there} {
		change(w, w.target(), func(s *corev1.Secret) {
			s.Annotations[v1alpha1.OperatorAnnotation] = value
			if value == "" {
				delete(s.Annotations, v1alpha1.OperatorAnnotation)
			}
		})
		version := w.target().ResourceVersion
		w.pass(time.Minute)
		w.reconcile()
		if w.target().ResourceVersion != version {
			t.Errorf("the Secret was written because it named the operator %q", value)
		}
		w.wantExchanges(1)
		w.wantReady()
	}
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantExchanges(2)
	w.wantWriter(here)
	w.wantTold(false)
}

func TestUpgradeAndRollbackOfTheNameOfTheOperatorCostNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued() // By a version that knows no names, or without leader election.
	w.wantWriter("")
	for i, name := range []string{here, "", here, there} {
		w.pass(time.Minute)
		w.install(name)
		w.wire.reset()
		w.reconcile()
		w.wantRequests(noRequests)
		w.wantExchanges(i + 1)
		w.passUntil(w.token().Status.RenewalTime)
		w.reconcile()
		w.wantRequests(renewalRequests)
		w.wantExchanges(i + 2)
		w.wantWriter(name)
		w.wantTold(false)
		if got := warnings(w.reconciler); len(got) != 0 {
			t.Errorf("events: %v", got)
		}
	}
}

func TestTwoOperatorsTakeTurnsAndSaySo(t *testing.T) {
	tests := map[string]struct {
		names    [2]string
		lifetime time.Duration
	}{
		"with tokens of an hour":              {[2]string{here, there}, time.Hour},
		"with tokens of a minute":             {[2]string{here, there}, time.Minute},
		"with tokens of a day":                {[2]string{here, there}, day},
		"of which one elects no leader":       {[2]string{here, ""}, time.Hour},
		"of which the first elects none":      {[2]string{"", there}, time.Hour},
		"in namespaces with the longest name": {[2]string{strings.Repeat("a", 63) + "/" + "pipedream-operator", there}, time.Hour},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, w.pipedream.SetTokenLifetime(test.lifetime))
			one, other := w.install(test.names[0]), w.install(test.names[1])
			w.createCredentials()
			w.create()
			w.race(one, other)
			w.wantExchanges(2) // The first token: neither can know of the other one.
			const renewals = 8
			for range renewals {
				w.passUntil(w.token().Status.RenewalTime)
				for range 3 {
					w.race(one, other)
					w.race(other, one)
					w.wantReady()
				}
			}
			if got := w.exchanges() - 2; got > renewals+1 {
				t.Errorf("%d renewals cost %d exchanges, want one each, and one more at most until both know of each other", renewals, got)
			}
			var told []string
			for _, name := range test.names {
				if name != "" {
					told = append(told, name)
				}
			}
			w.wantTold(true, told...)
			if of := [2]int{len(warnings(one)), len(warnings(other))}; of[0] == 0 || of[1] == 0 {
				t.Errorf("the operators have recorded %v events about each other, want each to have", of)
			}
			if !strings.Contains(w.log.String(), "another operator writes the same Secret") {
				t.Error("the log does not say it")
			}
			w.wire.reset()
			for range 10 {
				w.pass(time.Second / 2)
				w.as(one)
				w.as(other)
			}
			w.wantRequests(noRequests) // Neither puts its own words in the place of the other's.
		})
	}
}

func TestOneForeignRecordCostsNothingAndIsNotTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := w.install(here)
	w.issued()
	other := w.install(there)
	w.pass(time.Minute)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "1"}
	})
	w.as(other)
	w.wantExchanges(2)
	w.wantWriter(there)
	for range 5 {
		w.pass(time.Minute)
		w.as(one)
	}
	w.wantExchanges(2)
	w.wantWriter(there)
	w.wantReady()
	w.wantTold(false)
	if got := warnings(one); len(got) != 0 {
		t.Errorf("events: %v", got)
	}
	w.passUntil(w.token().Status.RenewalTime)
	w.as(one)
	w.wantExchanges(3)
	w.wantWriter(here)
}

func TestForeignRecordThatComesBackAgainAndAgainIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.install(there)
	w.issued()
	foreign := w.target()
	w.pass(time.Minute)
	w.install(here)
	for round := range 5 {
		change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
			p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: w.clock.Now().String()}
		})
		w.pass(5 * time.Minute)
		w.reconcile()
		w.wantWriter(here)
		change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Annotations = nil })
		before := w.exchanges()
		for range 2 {
			change(w, w.target(), func(s *corev1.Secret) { s.Data, s.Annotations = foreign.Data, foreign.Annotations })
			w.reconcile()
		}
		if got := w.exchanges() - before; got != 0 {
			t.Errorf("the foreign record cost %d exchanges", got)
		}
		w.wantTold(round >= 2)
	}
	if got := warnings(w.reconciler); len(got) != 1 || !strings.Contains(got[0], here) || !strings.Contains(got[0], there) {
		t.Errorf("the events are %v, want one that names both", got)
	}
}

// TestTheOtherOperatorIsForgotten has one of two operators be uninstalled.
func TestTheOtherOperatorIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, other := w.install(here), w.install(there)
	w.createCredentials()
	w.create()
	w.race(one, other)
	for range 6 {
		w.passUntil(w.token().Status.RenewalTime)
		w.race(one, other)
		w.race(other, one)
	}
	w.wantTold(true)
	w.reconciler = one
	before := w.exchanges()
	w.live(6*time.Hour, w.wantReady)
	if got := w.exchanges() - before; got < 6*60/45 || got > 6*60/34+1 {
		t.Errorf("alone, it issued %d tokens in six hours", got)
	}
	w.wantTold(false)
	w.passUntil(w.token().Status.RenewalTime)
	before = w.exchanges()
	w.reconcile()
	w.wantExchanges(before + 1) // Without waiting for the other one.
}

// Anybody who may write the Secret may write any name there.
func TestNameThatIsNoneIsNotShown(t *testing.T) {
	for _, name := range []string{"<script>/x", "a/b/c", "no-slash", "A/b", "a/" + strings.Repeat("b", 254), "a/b\n", " /b"} {
		t.Run(name[:min(len(name), 20)], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.install(there)
			w.issued()
			foreign := w.target()
			foreign.Annotations[v1alpha1.OperatorAnnotation] = name
			w.pass(time.Minute)
			w.install(here)
			for range 4 {
				change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
					p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: w.clock.Now().String()}
				})
				w.pass(5 * time.Minute)
				w.reconcile()
				change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Annotations = nil })
				change(w, w.target(), func(s *corev1.Secret) { s.Data, s.Annotations = foreign.Data, foreign.Annotations })
				w.reconcile()
			}
			w.wantTold(false)
			if got := warnings(w.reconciler); len(got) != 0 {
				t.Errorf("events: %v", got)
			}
		})
	}
}

// Two operators with different settings never agree on a token.
func TestTwoOperatorsWithDifferentAddressesAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := w.install(here)
	w.api = w.apiAt(strings.Replace(w.address, "127.0.0.1", "localhost", 1))
	other := w.install(there)
	w.createCredentials()
	w.create()
	for range 60 {
		w.as(one)
		w.as(other)
		w.pass(10 * time.Second)
	}
	if got := w.exchanges(); got > 20 {
		t.Errorf("in ten minutes two operators that do not agree have issued %d tokens, want fewer and fewer", got)
	}
	w.wantTold(true, here, there)
	if renewed := w.condition(v1alpha1.ConditionRenewed); renewed.Status == metav1.ConditionTrue && len(warnings(one))+len(warnings(other)) == 0 {
		t.Error("no event says it")
	}
}
