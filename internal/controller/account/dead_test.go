// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// TestARestartKeepsTheVerdict restarts the operator while condition Fetched does not say, or does not say for this
// generation, that the account is dead. Condition Ready must not become True before Pipedream has answered.
func TestARestartKeepsTheVerdict(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(*v1alpha1.PipedreamAccount)
		fetched string
	}{
		"it is suspended": {
			change:  func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = true },
			fetched: v1alpha1.ReasonSuspended,
		},
		"it has another interval": {
			change:  func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 700 },
			fetched: v1alpha1.ReasonAccountDead,
		},
	} {
		for when, isSeen := range map[string]bool{"before the restart": true, "while the operator does not run": false} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.fetched(eachTenMinutes)
				w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
				w.look()
				w.wantReasons(v1alpha1.ReasonAccountDead, v1alpha1.ReasonAccountDead)
				must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: http.StatusServiceUnavailable}))
				change(w, w.account(), test.change)
				w.pass(30 * time.Second)
				if isSeen {
					w.reconcile()
					w.wantReasons(test.fetched, v1alpha1.ReasonAccountDead)
				}
				w.restart()
				w.reconcile()
				if ready := w.condition(v1alpha1.ConditionReady); ready.Reason != v1alpha1.ReasonAccountDead {
					t.Errorf("after the restart, Ready is %s %s: %s", ready.Status, ready.Reason, ready.Message)
				}
			})
		}
	}
}

// TestARestartOfASuspendedDeadAccountWritesNothing has the credentials of a dead account be good, or be expired.
func TestARestartOfASuspendedDeadAccountWritesNothing(t *testing.T) {
	t.Parallel()
	for ready, age := range map[string]time.Duration{v1alpha1.ReasonAccountDead: time.Minute, v1alpha1.ReasonCredentialsExpired: 2 * time.Hour} {
		t.Run(ready, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
			w.look()
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = true })
			w.live(age)
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonSuspended, ready)
			w.restart()
			w.wire.Reset()

			w.reconcile()

			w.wantRequests(map[string]int{})
			w.wantReasons(v1alpha1.ReasonSuspended, ready)
			w.wantCondition(v1alpha1.ConditionHealthy, metav1.ConditionFalse, v1alpha1.ReasonAccountDead)
		})
	}
}

// TestAnotherVerdictDoesNotEndADeath deletes a dead account, or connects two others for its user. The credentials in
// the Secret are still the ones of the dead account.
func TestAnotherVerdictDoesNotEndADeath(t *testing.T) {
	t.Parallel()
	for reason, happen := range map[string]func(*world){
		v1alpha1.ReasonAccountNotFound: func(w *world) { w.pipedream.Accounts.Delete(accountID) },
		v1alpha1.ReasonAccountAmbiguous: func(w *world) {
			w.connect("apn_second", "lead:20m")
			w.connect("apn_third", "lead:20m")
		},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes, byUser)
			w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
			w.look()
			w.wantReasons(v1alpha1.ReasonAccountDead, v1alpha1.ReasonAccountDead)
			happen(w)

			w.look()

			w.wantReasons(reason, v1alpha1.ReasonAccountDead)
			w.restart()
			w.reconcile()
			w.wantReasons(reason, v1alpha1.ReasonAccountDead)
		})
	}
}

// TestADeadAccountIsAskedForAgain has the spec ask for another account for a moment, about which Pipedream does not
// answer, or says that there is no such account.
func TestADeadAccountIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]*simulator.Fault{
		"there is no other account": nil,
		"Pipedream does not answer": {Endpoint: simulator.EndpointAny, Status: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
			w.look()
			if fault != nil {
				must(t, w.pipedream.AddFault(*fault))
			}
			ask := func(id string) {
				change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.AccountID = id })
				w.pass(time.Second)
				w.reconcile()
				w.live(30 * time.Second)
			}
			ask("apn_typo")
			if ready := w.condition(v1alpha1.ConditionReady); ready.Reason != v1alpha1.ReasonAccountOutdated {
				t.Fatalf("Ready is %s: %s", ready.Reason, ready.Message)
			}

			ask(accountID)

			if ready := w.condition(v1alpha1.ConditionReady); ready.Reason != v1alpha1.ReasonAccountDead {
				t.Errorf("Ready is %s: %s", ready.Reason, ready.Message)
			}
		})
	}
}

// TestExpiredCredentialsDoNotEndAVerdict has Pipedream say something bad about an account, and then give out credentials
// that have expired, which are not written. The Secret still holds the credentials that the verdict is about.
func TestExpiredCredentialsDoNotEndAVerdict(t *testing.T) {
	t.Parallel()
	for reason, happen := range map[string]func(*world){
		v1alpha1.ReasonAccountDead:     func(w *world) { w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) }) },
		v1alpha1.ReasonAccountNotFound: func(w *world) { w.pipedream.Accounts.Delete(accountID) },
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			held := w.target().ResourceVersion
			happen(w)
			w.pass(11 * time.Minute)
			w.live(5 * time.Minute)
			w.wantReasons(reason, reason)
			w.answer(`"expires_at":"2026-01-02T03:10:00Z","credentials":{"oauth_access_token":"an-expired-token"}`)

			w.live(5 * time.Minute)

			if w.target().ResourceVersion != held {
				t.Fatal("the Secret was written")
			}
			w.wantReasons(v1alpha1.ReasonCredentialsStale, reason)
			w.restart()
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonCredentialsStale, reason)

			w.pipedream.ClearFaults()
			w.connect(accountID, "lead:20m")
			w.live(5 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}

// TestAReconnectedAccountIsNotCalledDead has the end user connect a dead account again, while its credentials can't be
// written. Healthy says at once that the account is alive. Ready is about the credentials in the Secret, which are still
// the ones of the dead connection.
func TestAReconnectedAccountIsNotCalledDead(t *testing.T) {
	t.Parallel()
	suspend := func(w *world, suspended bool) {
		change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = suspended })
	}
	for name, test := range map[string]struct {
		hinder, mend func(*world)
		fetched      string
	}{
		"the API server refuses the Secret": {
			hinder:  func(w *world) { w.wire.Respond(refuse("PUT secrets", 403, metav1.StatusReasonForbidden)) },
			mend:    func(w *world) { w.wire.Respond(nil) },
			fetched: v1alpha1.ReasonSecretWriteRefused,
		},
		"the API server does not answer": {
			hinder:  func(w *world) { w.wire.Respond(refuse("PUT secrets", 504, metav1.StatusReasonTimeout)) },
			mend:    func(w *world) { w.wire.Respond(nil) },
			fetched: v1alpha1.ReasonClusterUnavailable,
		},
		"the account has no longer a field that the templates show": {
			hinder:  func(w *world) { w.answer(`"healthy":true,"credentials":{"api_key":"a-key-of-another-name"}`) },
			mend:    func(w *world) { w.pipedream.ClearFaults() },
			fetched: v1alpha1.ReasonTemplateInvalid,
		},
		"the PipedreamAccount is suspended while Pipedream answers": {
			hinder: func(w *world) {
				w.reconciler.Pipedream = afterFirst{w.api, &sync.Once{}, func() { suspend(w, true) }}
			},
			mend:    func(w *world) { suspend(w, false) },
			fetched: v1alpha1.ReasonSuspended,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes, func(account *v1alpha1.PipedreamAccount) {
				account.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"token": "{{ .Credentials.oauth_access_token }}"}
			})
			w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
			w.pass(11 * time.Minute)
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonAccountDead, v1alpha1.ReasonAccountDead)
			w.changeAccount(func(a *simulator.Account) { a.Dead, a.Healthy = new(false), new(true) })
			must(t, w.pipedream.Accounts.Refresh(accountID))
			test.hinder(w)

			for end := w.clock.Now().Add(10 * time.Minute); w.clock.Now().Before(end); {
				result, _ := w.tryReconcile() // While the API server fails, the reconcile ends with an error.
				w.pass(max(result.RequeueAfter, time.Second))
			}

			w.wantReasons(test.fetched, v1alpha1.ReasonAccountDead)
			w.wantCondition(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonAccountHealthy)
			w.restart()
			_, _ = w.tryReconcile()
			w.wantReasons(test.fetched, v1alpha1.ReasonAccountDead)
			w.wantCondition(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonAccountHealthy)

			test.mend(w)
			w.live(16 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}

// TestADeadAccountIsAskedForAgainAfterARestart has the spec ask for another account, and then for the dead one again.
// The operator is restarted in between, or does not run while the spec changes. Nothing has made the credentials in the
// Secret good.
func TestADeadAccountIsAskedForAgainAfterARestart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ isOtherSeen, isReturnSeen bool }{
		"before the other account is seen":             {false, true},
		"while the spec asks for the other":            {true, true},
		"while the spec asks for the first again":      {true, false},
		"while the spec changes to and fro, unnoticed": {false, false},
	} {
		for verdict, happen := range map[string]func(*world){
			v1alpha1.ReasonAccountDead:          func(w *world) { w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) }) },
			v1alpha1.ReasonAccountNotFound:      func(w *world) { w.pipedream.Accounts.Delete(accountID) },
			v1alpha1.ReasonAccountNotExportable: func(w *world) { w.changeAccount(notExportable(simulator.CredentialsNull)) },
		} {
			t.Run(verdict+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.fetched(eachTenMinutes)
				happen(w)
				w.pass(11 * time.Minute)
				w.live(5 * time.Minute)
				w.wantReasons(verdict, verdict)
				must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: http.StatusServiceUnavailable}))
				ask := func(id string) {
					change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.AccountID = id })
					w.pass(time.Second)
				}

				ask("apn_typo")
				if test.isOtherSeen {
					w.live(30 * time.Second)
				}
				if test.isReturnSeen {
					w.restart()
					w.live(30 * time.Second)
					w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonAccountOutdated)
				}
				ask(accountID)
				w.restart()
				w.live(30 * time.Second)

				w.wantReasons(v1alpha1.ReasonEndpointUnavailable, verdict)
				w.pipedream.ClearFaults()
				w.connect(accountID, "lead:20m")
				w.live(16 * time.Minute)
				w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
				if got := w.account().Status.Account.Verdict; got != "" {
					t.Errorf("the status still has the verdict %s", got)
				}
			})
		}
	}
}

// TestARestartKeepsTheDeathOfExpiredCredentials changes a suspended PipedreamAccount while the operator does not run. The
// account is dead, its credentials have expired, and the spec asks for the same account as before.
func TestARestartKeepsTheDeathOfExpiredCredentials(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*v1alpha1.PipedreamAccountSpec){
		"another interval": func(spec *v1alpha1.PipedreamAccountSpec) { spec.FetchIntervalSeconds = 700 },
		"another label": func(spec *v1alpha1.PipedreamAccountSpec) {
			spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "a"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			w.changeAccount(func(a *simulator.Account) { a.Dead = new(true) })
			w.look()
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = true })
			w.live(2 * time.Hour)
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonSuspended, v1alpha1.ReasonCredentialsExpired)
			w.wantHealth(v1alpha1.ReasonAccountDead)
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { test(&account.Spec) })

			for range 2 {
				w.restart()
				w.reconcile()
				w.wantReasons(v1alpha1.ReasonSuspended, v1alpha1.ReasonCredentialsExpired)
				w.wantHealth(v1alpha1.ReasonAccountDead)
			}
		})
	}
}
