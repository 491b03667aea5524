// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// elsewhere is the same API at another address.
type elsewhere struct{ PipedreamAPI }

func (elsewhere) Address() string { return "https://elsewhere.example.com" }

// TestAnotherAPIIsAskedAtOnce restarts the operator with the address of another API. What the API before has answered
// says nothing about the other API: an account that is dead for one of them may be alive for the other.
func TestAnotherAPIIsAskedAtOnce(t *testing.T) {
	t.Parallel()
	fault := func(status int, headers map[string]string) func(*world) {
		return func(w *world) {
			must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: status, Headers: headers}))
		}
	}
	dead := func(w *world) { w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) }) }
	for name, test := range map[string]struct {
		breaks         func(*world)
		after          time.Duration
		fetched, ready string
	}{
		"the account is dead": {
			breaks: dead, after: 20 * time.Minute, fetched: v1alpha1.ReasonAccountDead, ready: v1alpha1.ReasonAccountDead,
		},
		"the account is dead, and the credentials have expired": {
			breaks: dead, after: 100 * time.Minute, fetched: v1alpha1.ReasonAccountDead, ready: v1alpha1.ReasonCredentialsExpired,
		},
		"the account is not found": {
			breaks: fault(http.StatusNotFound, nil), after: 20 * time.Minute,
			fetched: v1alpha1.ReasonAccountNotFound, ready: v1alpha1.ReasonAccountNotFound,
		},
		"the request is rejected": {
			breaks: fault(http.StatusBadRequest, nil), after: 20 * time.Minute,
			fetched: v1alpha1.ReasonRequestRejected, ready: v1alpha1.ReasonCredentialsValid,
		},
		"the rate is limited": {
			breaks: fault(http.StatusTooManyRequests, map[string]string{"Retry-After": "600"}), after: 5 * time.Minute,
			fetched: v1alpha1.ReasonRateLimited, ready: v1alpha1.ReasonCredentialsValid,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			test.breaks(w)
			w.look()
			w.live(test.after)
			w.wantReasons(test.fetched, test.ready)
			w.pipedream.ClearFaults()
			w.changeAccount(func(a *simulator.Account) { a.Dead = new(false) })
			fetches := w.fetches()

			w.api = elsewhere{w.api}
			w.restart()
			w.live(15 * time.Second)

			w.wantFetches(fetches + 1)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantStalled(false)
		})
	}
}

// TestTheAPIBeforeIsAskedAtOnce restarts the operator with the address of an API that does not know the account, and
// later with the address before. What the other API has said does not make the credentials in the Secret any worse.
func TestTheAPIBeforeIsAskedAtOnce(t *testing.T) {
	t.Parallel()
	for because, status := range map[string]int{
		v1alpha1.ReasonAccountNotFound: http.StatusNotFound,
		v1alpha1.ReasonRequestRejected: http.StatusBadRequest,
	} {
		t.Run(because, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			api := w.api
			must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: status}))
			w.pass(time.Minute)
			w.api = elsewhere{api}
			w.restart()
			w.live(20 * time.Minute)
			w.wantReasons(because, v1alpha1.ReasonAccountOutdated)
			fetches := w.fetches()

			w.api = api
			w.restart()
			requests := w.reconciler.Requests
			w.reconciler.Requests = nobodysTurn{requests, w}
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonCredentialsValid)
			w.reconciler.Requests = requests
			w.pipedream.ClearFaults()
			w.live(15 * time.Second)

			w.wantFetches(fetches + 1)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}

// TestTheVerdictOfTheAPIThatIsAskedIsKept restarts the operator after another API has said that the account is dead. The
// Secret still holds credentials from the API before. The status is about the other API then.
func TestTheVerdictOfTheAPIThatIsAskedIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
	w.pass(time.Minute)
	w.api = elsewhere{w.api}
	w.restart()
	w.live(20 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountDead, v1alpha1.ReasonAccountOutdated)
	fetches := w.fetches()
	for range 3 {
		w.restart()
		w.reconcile()
		w.wantReasons(v1alpha1.ReasonAccountDead, v1alpha1.ReasonAccountOutdated)
		w.wantStalled(true)
	}
	w.wantFetches(fetches)
}
