// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// addNamed creates PipedreamTokens with a prefix in their names, and has them visited.
func (f *fleet) addNamed(prefix string, count int, changes ...func(*v1alpha1.PipedreamToken)) {
	f.Helper()
	tokens := &v1alpha1.PipedreamTokenList{}
	must(f.T, f.admin.List(f.Context(), tokens, client.InNamespace(f.namespace)))
	all := len(tokens.Items) + count
	f.inParallel(count, func(i int) {
		token := &v1alpha1.PipedreamToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: fmt.Sprintf("%s-%04d", prefix, i)},
			Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"}},
		}
		for _, change := range changes {
			change(token)
		}
		if err := f.admin.Create(f.Context(), token); err != nil {
			f.Error(err)
		}
	})
	f.awaitCache(func() bool {
		must(f.T, f.reconciler.Cache.List(f.Context(), tokens))
		return len(tokens.Items) == all
	})
	for _, token := range tokens.Items {
		if strings.HasPrefix(token.Name, prefix+"-") {
			f.next[client.ObjectKeyFromObject(&token)] = f.clock.Now()
		}
	}
}

func (f *fleet) statusWrites() int {
	f.wire.mu.Lock()
	defer f.wire.mu.Unlock()
	return f.wire.requests["PATCH pipedreamtokens/status"]
}

// restartFleet makes a reconciler and a limiter that remember nothing, and has all visited.
func (f *fleet) restartFleet() {
	f.Helper()
	informers, recorder := f.reconciler.Cache, f.reconciler.Events
	// A process that starts lists everything, so its cache is not older than the last status.
	f.awaitCache(func() bool { return cmp.Equal(versionsIn(f, informers), versionsIn(f, f.admin)) })
	f.restart()
	f.reconciler.Cache, f.reconciler.Events = informers, recorder
	f.reconciler.TokenRequests, f.ready = throttle.NewLimiter(throttle.Options{PerSecond: 5, Burst: 10, InFlight: workers, Now: f.clock.Now})
	for name := range f.next {
		f.next[name] = f.clock.Now()
	}
}

// versionsIn returns the versions of all PipedreamTokens of the fleet, by their names.
func versionsIn(f *fleet, reader client.Reader) map[string]string {
	f.Helper()
	tokens := &v1alpha1.PipedreamTokenList{}
	must(f.T, reader.List(f.Context(), tokens, client.InNamespace(f.namespace)))
	versions := map[string]string{}
	for i := range tokens.Items {
		versions[tokens.Items[i].Name] = tokens.Items[i].ResourceVersion
	}
	return versions
}

// breakPipedream has each token request fail.
func (f *fleet) breakPipedream(status int) {
	f.Helper()
	must(f.T, f.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: status}))
}

// hangingAPI is an API that answers no token request: ten seconds later the request fails.
type hangingAPI struct {
	PipedreamAPI
	clock *clocktesting.FakePassiveClock
	sent  *atomic.Int64
}

func (h hangingAPI) Issue(context.Context, pipedream.Credentials, []string) (pipedream.Token, error) {
	h.sent.Add(1)
	h.clock.SetTime(h.clock.Now().Add(10 * time.Second))
	return pipedream.Token{}, &pipedream.Error{Kind: pipedream.Unavailable, Detail: "no complete answer in time"}
}

// While Pipedream does not answer, no token is said to wait for its turn only. Neither does a
// restart say so, and it writes no status but that of an attempt.
func TestNobodyIsQueuedWhilePipedreamDoesNotAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		status  int
		reason  string
		hangs   bool
		restart bool
	}{
		"it hangs":            {hangs: true, reason: v1alpha1.ReasonEndpointUnavailable},
		"a bad gateway":       {status: 502, reason: v1alpha1.ReasonEndpointUnavailable},
		"server errors":       {status: 500, reason: v1alpha1.ReasonEndpointUnavailable},
		"a sign-in page":      {status: 200, reason: v1alpha1.ReasonMalformedResponse},
		"it hangs, a restart": {hangs: true, reason: v1alpha1.ReasonEndpointUnavailable, restart: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const count = 20
			f := newFleet(t)
			f.createCredentials()
			working, sent := f.reconciler.Pipedream, &atomic.Int64{}
			if test.hangs {
				f.api = hangingAPI{f.reconciler.Pipedream, f.clock, sent}
				f.reconciler.Pipedream = f.api
			} else {
				f.breakPipedream(test.status)
			}
			f.add(count)
			f.runFor(40 * time.Second)
			f.wantReasons(map[string]int{test.reason: count})
			f.runFor(10 * time.Minute)
			f.wantReasons(map[string]int{test.reason: count})
			if test.restart {
				f.wire.reset()
				before, planned := sent.Load(), f.planned()
				f.restartFleet()
				f.runFor(20 * time.Second)
				f.wantReasons(map[string]int{test.reason: count})
				if got, attempts := f.statusWrites(), int(sent.Load()-before); got > attempts+planned || attempts > 5 {
					t.Errorf("a restart writes %d statuses for %d attempts, and %d that are not planned any longer", got, attempts, planned)
				}
			}
			f.pipedream.ClearFaults()
			f.reconciler.Pipedream = working
			f.runFor(time.Minute)
			f.wantReasons(map[string]int{v1alpha1.ReasonIssued: count})
		})
	}
}

// When an outage ends, all who have failed or wait get a token at the pace of the limiter, and
// no status is written but that of an attempt.
func TestTheEndOfAnOutageWritesNoStatusButThatOfAnAttempt(t *testing.T) {
	t.Parallel()
	const count = 200
	f := newFleet(t)
	f.createCredentials()
	f.breakPipedream(503)
	f.add(count)
	f.runFor(5 * time.Minute)
	f.wantReasons(map[string]int{v1alpha1.ReasonEndpointUnavailable: count})
	if got := f.exchanges(); got > 5+300/10 {
		t.Errorf("in an outage of five minutes Pipedream was asked %d times, want at most once in ten seconds", got)
	}
	f.pipedream.ClearFaults()
	probes := f.exchanges()
	for f.exchanges() == probes {
		f.runFor(time.Second)
	}
	f.wire.reset()
	before := f.exchanges()
	f.runFor(20 * time.Second)
	issued := f.exchanges() - before
	if issued < 40 || issued > 110 {
		t.Errorf("20 s after the end of the outage Pipedream was asked for %d tokens, want 5 a second", issued)
	}
	if got := f.statusWrites(); got != issued {
		t.Errorf("%d statuses are written for %d attempts", got, issued)
	}
	f.runFor(time.Minute)
	f.wantReasons(map[string]int{v1alpha1.ReasonIssued: count})
	if got, attempts := f.statusWrites(), f.exchanges()-before; got != attempts || f.exchanges()-probes != count {
		t.Errorf("%d statuses are written for %d attempts", got, attempts)
	}
}

// Pipedream answers again forty seconds before the tokens expire, and all are renewed in time.
func TestTokensAreRenewedWhenAnOutageEndsBeforeTheyExpire(t *testing.T) {
	for name, fault := range map[string]simulator.Fault{
		"a bad gateway":  {Endpoint: simulator.EndpointToken, Status: 502},
		"a server error": {Endpoint: simulator.EndpointToken, Status: 500},
		"no connection":  {Endpoint: simulator.EndpointToken, Drop: simulator.DropBeforeAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const count = 50
			f := newFleet(t)
			f.createCredentials()
			f.add(count)
			begun := f.clock.Now()
			f.runFor(30 * time.Minute)
			f.wantReasons(map[string]int{v1alpha1.ReasonIssued: count})
			must(t, f.pipedream.AddFault(fault))
			f.runFor(begun.Add(lifetime - 40*time.Second).Sub(f.clock.Now()))
			f.wantReasons(map[string]int{v1alpha1.ReasonEndpointUnavailable: count})
			f.pipedream.ClearFaults()
			f.runFor(39 * time.Second)
			f.wantReasons(map[string]int{v1alpha1.ReasonIssued: count})
			tokens := &v1alpha1.PipedreamTokenList{}
			must(t, f.admin.List(t.Context(), tokens, client.InNamespace(f.namespace)))
			for _, token := range tokens.Items {
				if ready := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady); ready.LastTransitionTime.After(begun.Add(time.Minute)) {
					t.Errorf("%s was not Ready for a while: %s", token.Name, ready.Message)
				}
			}
		})
	}
}

// An object whose attempts have failed in an outage tries again when it ends, whenever its own
// wait is over, and that counts as no change by somebody.
func TestAnAttemptNeedNotWaitAfterAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 502}))
	w.live(5*time.Minute, func() {})
	next := w.token().Status.NextAttemptTime
	if next.Sub(w.clock.Now()) < 20*time.Second {
		w.pass(next.Sub(w.clock.Now()) + time.Second)
		w.reconcile()
	}
	w.pipedream.ClearFaults()
	w.pass(11 * time.Second)
	before := w.exchanges()
	w.reconcile()
	w.wantExchanges(before) // Nobody knows yet that Pipedream answers.
	other := throttle.Requester{Kind: "another", Group: "elsewhere", Name: "other"}
	if ticket := w.reconciler.TokenRequests.Reserve(other, throttle.ReserveOptions{}); !ticket.IsReady {
		t.Fatal("the other one may not send a probe")
	}
	must(t, w.reconciler.TokenRequests.Do(other, throttle.DoOptions{}, func() error { return nil }))
	w.pass(time.Second)
	w.reconcile()
	w.wantExchanges(before + 1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	if st, _ := w.reconciler.states.Of(w.key("orders"), w.token().UID); st.attempt.triggered.Count != 0 {
		t.Errorf("the attempt counts as triggered: %+v", st.attempt.triggered)
	}
}

// One wrong scope in many PipedreamTokens costs three exchanges in the first minute at most.
// The others with the same client are not held up. A corrected scope is tried at once.
func TestOneBadScopeCostsOneExchangeForAll(t *testing.T) {
	for name, test := range map[string]struct{ scope, reason string }{
		"refused":     {"connect:acounts:read", v1alpha1.ReasonScopeRejected},
		"not granted": {scopeUsers, v1alpha1.ReasonScopeNotGranted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const bad, good = 200, 20
			f := newFleet(t)
			f.createCredentials()
			must(t, f.pipedream.SetClientScopes(clientID, []string{scopeAccounts}))
			f.answerScopes(simulator.ScopeGranted)
			f.addNamed("bad", bad, withScopes(scopeAccounts, test.scope))
			f.runFor(5 * time.Second)
			f.wantReasons(map[string]int{test.reason: bad})
			f.addNamed("good", good, withScopes(scopeAccounts))
			f.runFor(50 * time.Second)
			f.wantReasons(map[string]int{test.reason: bad, v1alpha1.ReasonIssued: good})
			if got := f.exchanges(); got > good+3 {
				t.Errorf("the wrong scopes have cost %d exchanges in the first minute, want at most 3", got-good)
			}
			before := f.exchanges()
			corrected := f.tokenNamed("bad-0000")
			change(f.world, corrected, func(token *v1alpha1.PipedreamToken) { token.Spec.Scopes = []string{scopeAccounts} })
			f.awaitCache(func() bool {
				seen := &v1alpha1.PipedreamToken{}
				must(t, f.reconciler.Cache.Get(t.Context(), client.ObjectKeyFromObject(corrected), seen))
				return seen.Generation == 2
			})
			f.next[client.ObjectKeyFromObject(corrected)] = f.clock.Now()
			f.runFor(2 * time.Second)
			if got := f.exchanges(); got != before+1 {
				t.Errorf("after the correction Pipedream was asked %d times, want once", got-before)
			}
			f.wantReasons(map[string]int{test.reason: bad - 1, v1alpha1.ReasonIssued: good + 1})
			f.runFor(30 * time.Minute)
			if got := f.exchanges(); got > before+1+6 {
				t.Errorf("in half an hour the wrong scopes cost %d exchanges more, want six at most", got-before-1)
			}
		})
	}
}

// planned counts the PipedreamTokens whose status says when the next attempt is made.
func (f *fleet) planned() (count int) {
	f.Helper()
	tokens := &v1alpha1.PipedreamTokenList{}
	must(f.T, f.admin.List(f.Context(), tokens, client.InNamespace(f.namespace)))
	for _, token := range tokens.Items {
		if token.Status.NextAttemptTime != nil {
			count++
		}
	}
	return count
}

func (f *fleet) tokenNamed(name string) *v1alpha1.PipedreamToken {
	f.Helper()
	token := &v1alpha1.PipedreamToken{}
	must(f.T, f.admin.Get(f.Context(), f.key(name), token))
	return token
}

// Twenty PipedreamTokens whose requests always end with a server error cost one probe at each
// wait, and delay nobody.
func TestRequestsThatAlwaysFailAreSentByOneForAll(t *testing.T) {
	t.Parallel()
	const sick, good = 20, 100
	f := newFleet(t)
	f.createCredentials()
	must(t, f.pipedream.SetClient("sick", clientSecret))
	must(t, f.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, ClientID: "sick", Status: 500}))
	must(t, f.admin.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "sick"},
		StringData: map[string]string{"client_id": "sick", "client_secret": clientSecret},
	}))
	f.addNamed("good", good)
	f.runFor(10 * time.Second)
	f.addNamed("sick", sick, func(token *v1alpha1.PipedreamToken) { token.Spec.ClientSecretRef.Name = "sick" })
	const observed = 10 * time.Minute
	f.runFor(observed)
	f.wantReasons(map[string]int{v1alpha1.ReasonEndpointUnavailable: sick, v1alpha1.ReasonIssued: good})
	if got, most := f.exchanges()-good, 5+int(observed/(10*time.Second)); got > most {
		t.Errorf("the failing requests were sent %d times, want at most %d", got, most)
	}
	f.pipedream.ClearFaults()
	f.runFor(time.Minute)
	f.wantReasons(map[string]int{v1alpha1.ReasonIssued: sick + good})
}
