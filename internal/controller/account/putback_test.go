// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// TestAnOlderSecretThatIsPutBackIsReplaced has somebody put an older Secret back, such as from a backup. The older
// Secret is intact, and its credentials have not expired; but the app may have ended them when Pipedream refreshed
// the account.
func TestAnOlderSecretThatIsPutBackIsReplaced(t *testing.T) {
	t.Parallel()
	for name, isRestarted := range map[string]bool{"while the operator runs": false, "while no operator runs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			older := w.refreshed()
			newest := string(w.target().Data["oauth_access_token"])
			w.putBack(older)
			if isRestarted {
				w.restart()
			}
			w.pass(time.Minute)
			w.live(2 * time.Minute)
			ready := w.condition(v1alpha1.ConditionReady)
			if got := string(w.target().Data["oauth_access_token"]); got != newest {
				t.Errorf("after three minutes the Secret holds the older credentials, and Ready is %s %s", ready.Status, ready.Reason)
			}
			w.wantFetches(3)
			if !w.accepted() {
				t.Error("the app refuses the credentials")
			}
		})
	}
}

// TestAnOlderSecretIsReplacedThoughTheOperatorIsRestarted has somebody put an older Secret back. The operator sees it,
// can't look at the account at once, and is restarted. Only the process before knows that there were newer credentials.
func TestAnOlderSecretIsReplacedThoughTheOperatorIsRestarted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		delay, resume func(*world)
		because       string
	}{
		"while the look waits for its turn": {
			delay:   func(w *world) { w.reconciler.Requests = nobodysTurn{w.reconciler.Requests, w} },
			resume:  func(*world) {},
			because: v1alpha1.ReasonQueued,
		},
		"while Pipedream limits the rate of requests": {
			delay:   func(w *world) { w.reconciler.Requests.Pause(projectID, w.clock.Now().Add(5*time.Minute)) },
			resume:  func(*world) {},
			because: v1alpha1.ReasonQueued,
		},
		"while the look fails": {
			delay: func(w *world) {
				must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusServiceUnavailable}))
			},
			resume:  func(w *world) { w.pipedream.ClearFaults() },
			because: v1alpha1.ReasonEndpointUnavailable,
		},
		"while it is suspended": {
			delay: func(w *world) {
				change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = true })
				w.reconcile()
			},
			resume: func(w *world) {
				change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Spec.Suspend = false })
			},
			because: v1alpha1.ReasonSuspended,
		},
	} {
		for interval, changes := range map[string][]func(*v1alpha1.PipedreamAccount){"with an interval": {eachTenMinutes}, "without an interval": nil} {
			t.Run(name+", "+interval, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.fetched(changes...)
				older := w.target()
				w.refreshedOnRequest()
				newest := string(w.target().Data["oauth_access_token"])
				w.pass(time.Minute)
				test.delay(w)
				w.putBack(older)
				for range 2 {
					w.live(2 * time.Second)
					w.wantReasons(test.because, v1alpha1.ReasonCredentialsValid)
					w.restart()
					test.delay(w)
				}
				w.live(2 * time.Second)
				w.restart()
				test.resume(w)
				w.live(3 * time.Minute)
				w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
				if got := string(w.target().Data["oauth_access_token"]); got != newest {
					t.Error("the Secret holds the older credentials")
				}
			})
		}
	}
}

// TestAnOlderSecretIsKeptIfPipedreamGivesOutItsCredentials has Pipedream give out what the older Secret holds. The
// account is not looked at again and again then.
func TestAnOlderSecretIsKeptIfPipedreamGivesOutItsCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := &firstAnswer{PipedreamAPI: w.api}
	w.reconciler.Pipedream = first
	w.fetched(eachTenMinutes)
	older := w.refreshed()
	w.putBack(older)
	first.isRepeated = true
	w.live(5 * time.Minute)
	if first.repeated != 1 {
		t.Errorf("in five minutes the account was looked at %d times, want once", first.repeated)
	}
	if got := string(w.target().Data["oauth_access_token"]); got != string(older.Data["oauth_access_token"]) {
		t.Error("the Secret does not hold what Pipedream gives out")
	}
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// refreshed has Pipedream refresh the account and the operator look at it, and returns the Secret from before.
func (w *world) refreshed() *corev1.Secret {
	w.Helper()
	older := w.target()
	must(w.T, w.pipedream.Accounts.Refresh(accountID))
	w.pass(11 * time.Minute)
	w.reconcile()
	if string(w.target().Data["oauth_access_token"]) == string(older.Data["oauth_access_token"]) {
		w.Fatal("the credentials are the same")
	}
	return older
}

// refreshedOnRequest has Pipedream refresh the account and somebody ask for a look at it, whatever the interval is.
func (w *world) refreshedOnRequest() {
	w.Helper()
	must(w.T, w.pipedream.Accounts.Refresh(accountID))
	w.pass(time.Minute)
	for _, annotations := range []map[string]string{{v1alpha1.RenewRequestAnnotation: "now"}, nil} {
		change(w, w.account(), func(account *v1alpha1.PipedreamAccount) { account.Annotations = annotations })
		w.reconcile()
	}
	w.wantFetches(2)
}

// putBack gives the Secret the data and the record of an older one.
func (w *world) putBack(older *corev1.Secret) {
	w.Helper()
	change(w, w.target(), func(s *corev1.Secret) { s.Data, s.Annotations = older.Data, older.Annotations })
}

// firstAnswer repeats the first answer about an account when it is told to.
type firstAnswer struct {
	PipedreamAPI
	answer     *pipedream.Account
	isRepeated bool
	repeated   int
}

func (f *firstAnswer) Account(ctx context.Context, token pipedream.Sensitive, query pipedream.AccountQuery) (pipedream.Account, error) {
	if f.isRepeated {
		f.repeated++
		return *f.answer, nil
	}
	got, err := f.PipedreamAPI.Account(ctx, token, query)
	if f.answer == nil {
		f.answer = &got
	}
	return got, err
}
