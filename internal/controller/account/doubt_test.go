// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// TestADoubtfulVerdictNeedsTwoMinutesOrAnotherAccount has Pipedream give a doubtful answer for two minutes, while
// no other account of the project is answered. Ready stays True: a doubtful answer confirms no other one, nor
// does an answer from before the doubt.
func TestADoubtfulVerdictNeedsTwoMinutesOrAnotherAccount(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spec   func(*v1alpha1.PipedreamAccount)
		happen func(*world)
		reason string
	}{
		"no credentials": {
			happen: func(w *world) { w.changeAccount(notExportable(simulator.CredentialsNull)) },
			reason: v1alpha1.ReasonAccountNotExportable,
		},
		"an empty list": {
			spec:   byUser,
			happen: func(w *world) { w.pipedream.Accounts.Delete(accountID) },
			reason: v1alpha1.ReasonAccountNotFound,
		},
		"404, with an access token that was issued shortly before": {
			happen: func(w *world) { w.pipedream.Accounts.Delete(accountID) },
			reason: v1alpha1.ReasonAccountNotFound,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			changes := []func(*v1alpha1.PipedreamAccount){}
			if test.spec != nil {
				changes = append(changes, test.spec)
			}
			w.fetched(changes...)
			test.happen(w)
			w.pass(11 * time.Second)
			change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
				account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
			})
			w.reconcile()
			w.wantReasons(test.reason, v1alpha1.ReasonCredentialsValid)
			began := w.clock.Now()

			for w.clock.Now().Sub(began) < 110*time.Second {
				w.pass(min(w.reconcile().RequeueAfter, 10*time.Second))
				if ready := w.condition(v1alpha1.ConditionReady); ready.Status != metav1.ConditionTrue {
					t.Fatalf("Ready is %s after %s, though nobody else was answered: %s", ready.Reason, w.clock.Now().Sub(began), ready.Message)
				}
			}
		})
	}
}

// TestAnotherAccountConfirmsADoubt has Pipedream give out the credentials of another account of the project, before
// the first 404 or after it. Only the second says that Pipedream answers rightly.
func TestAnotherAccountConfirmsADoubt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		isFetchedAfter bool
		ready          string
	}{
		"it is fetched before the first 404": {false, v1alpha1.ReasonCredentialsValid},
		"it is fetched after the first 404":  {true, v1alpha1.ReasonAccountNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes)
			w.connect("apn_second", "lead:20m")
			fetchOther := func() {
				w.createNamed("other", false, func(account *v1alpha1.PipedreamAccount) { account.Spec.AccountID = "apn_second" })
				if len(w.secret("other-credentials").Data) == 0 {
					t.Fatal("the other account was not fetched")
				}
			}
			w.pass(11 * time.Minute)
			if !test.isFetchedAfter {
				fetchOther()
			}
			w.pipedream.Accounts.Delete(accountID)
			w.pass(time.Second)
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonCredentialsValid)
			w.pass(time.Second)
			if test.isFetchedAfter {
				fetchOther()
			}

			w.pass(30 * time.Second)
			w.reconcile()

			w.wantReasons(v1alpha1.ReasonAccountNotFound, test.ready)
		})
	}
}
