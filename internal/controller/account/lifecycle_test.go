// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func TestTheFirstCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()

	result := w.reconcile()

	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantCondition(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonAccountHealthy)
	w.wantStalled(false)
	// The client's Secret is read once, and the metadata of kinds are asked for outside of these.
	w.wantRequests(map[string]int{"GET secrets": 1, "POST secrets": 1, "PATCH pipedreamaccounts/status": 1})
	w.wantFetches(1)
	w.wantExchanges(1)
	secret, status := w.target(), w.account().Status
	got := slices.Sorted(maps.Keys(secret.Data))
	if diff := cmp.Diff([]string{"expires_at", "oauth_access_token", "oauth_client_id", "oauth_uid"}, got); diff != "" {
		t.Errorf("keys of the Secret (-want +got):\n%s", diff)
	}
	if !w.accepted() {
		t.Error("the app refuses the access token in the Secret")
	}
	if status.Account != (v1alpha1.FetchedAccount{ID: accountID, App: "slack"}) || status.ExpirationTime == nil ||
		string(secret.Data["expires_at"]) != show(status.ExpirationTime) || status.FetchTime == nil ||
		status.Secret.ResourceVersion != secret.ResourceVersion || status.NextAttemptTime != nil {
		t.Errorf("status %+v does not fit to the Secret %+v", status, secret.ObjectMeta)
	}
	if secret.Annotations[v1alpha1.OwnerAnnotation] != "PipedreamAccount/slack" || !metav1.IsControlledBy(secret, w.account()) {
		t.Errorf("the Secret says that it belongs to %q %+v", secret.Annotations[v1alpha1.OwnerAnnotation], secret.OwnerReferences)
	}
	if result.RequeueAfter > 5*time.Minute {
		t.Errorf("the next reconcile comes after %s", result.RequeueAfter)
	}
	w.wantNoSecretSeen()
}

func TestALookThatBringsNothingNewCostsNoRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 60 })
	version := w.target().ResourceVersion

	w.live(10 * time.Minute)

	w.wantRequests(map[string]int{})
	if got := w.fetches(); got < 10 || got > 11 {
		t.Errorf("in ten minutes there were %d looks, want one a minute", got)
	}
	w.wantExchanges(1)
	if got := w.target().ResourceVersion; got != version {
		t.Errorf("the Secret was written, though nothing was new")
	}
}

func TestAnAnswerThatTakesTimeDelaysNoLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.api = deletingAPI{w.api, func() { w.pass(300 * time.Millisecond) }}
	w.restart()
	w.fetched(func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 60 })

	w.live(10 * time.Minute)

	if got := w.fetches(); got < 10 || got > 11 {
		t.Errorf("in ten minutes there were %d looks, want one a minute", got)
	}
}

// TestALookInTheSecondOfTheExpiryIsRepeated has the interval ask for a look just before Pipedream refreshes an account,
// which it does when somebody asks for expired credentials.
func TestALookInTheSecondOfTheExpiryIsRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "lazy")
	w.fetched(eachTenMinutes)
	expires := w.account().Status.ExpirationTime.Time
	w.clock.SetTime(expires.Add(-time.Minute))
	w.reconcile()
	w.clock.SetTime(expires)
	before := w.fetches()

	w.reconcile()

	w.wantFetches(before + 1)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsExpired)
	if w.accepted() {
		t.Log("the app accepts the credentials for less than a second more")
	}
	w.live(1500 * time.Millisecond)
	w.wantFetches(before + 2)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	if !w.accepted() {
		t.Error("1.5 seconds after the expiry the Secret holds no new credentials")
	}
}

// TestTheLookAfterASlowAnswerComesInTime has the clock go on while Pipedream answers, as it does outside of tests.
func TestTheLookAfterASlowAnswerComesInTime(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(*simulator.Account)
		longest time.Duration
	}{
		"nothing new":     {func(*simulator.Account) {}, time.Minute},
		"another health":  {func(a *simulator.Account) { a.Healthy = new(false) }, time.Minute},
		"not exportable":  {notExportable(simulator.CredentialsNull), 30 * time.Second},
		"new credentials": {func(a *simulator.Account) { a.Refresh = "force" }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 60 })
			w.reconciler.Pipedream = deletingAPI{w.api, func() { w.pass(50 * time.Millisecond) }}
			w.changeAccount(test.change)
			w.pass(time.Minute)

			result := w.reconcile()

			w.wantFetches(2)
			if result.RequeueAfter > test.longest {
				t.Errorf("the next reconcile comes after %s, want %s at most", result.RequeueAfter, test.longest)
			}
		})
	}
}

func TestNewCredentialsCostTwoRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	before := w.target()
	must(t, w.pipedream.Accounts.Refresh(accountID))
	w.pass(11 * time.Minute)

	w.reconcile()

	w.wantRequests(map[string]int{"PUT secrets": 1, "PATCH pipedreamaccounts/status": 1})
	after := w.target()
	if string(before.Data["oauth_access_token"]) == string(after.Data["oauth_access_token"]) || !w.accepted() {
		t.Error("the Secret does not hold the new credentials")
	}
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

func TestARestartAsksForNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchIntervalSeconds = 3600 })
	fetches := w.fetches()
	w.pass(5 * time.Minute)

	for range 3 {
		w.restart()
		w.wire.Reset()
		w.reconcile()
		w.wantRequests(map[string]int{})
		w.wantFetches(fetches)
		w.pass(time.Minute)
	}
}

// TestPipedreamsRefreshesAreFollowed has a consumer use the Secret for three hours, in each way of Pipedream to
// refresh credentials that live an hour.
func TestPipedreamsRefreshesAreFollowed(t *testing.T) {
	t.Parallel()
	for refresh, mostRefused := range map[string]time.Duration{
		"background:13m30s": 0, "background:57m": 0, "lead:5m": 0, "lead:20m": 0, "lazy": 3 * 2 * time.Second, "force": 0,
	} {
		t.Run(refresh, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.connect(accountID, refresh)
			w.fetched()
			refused := time.Duration(0)
			for began := w.clock.Now(); w.clock.Now().Sub(began) < 3*time.Hour+5*time.Minute; {
				sleep := w.reconcile().RequeueAfter
				for sleep > 0 { // The consumer uses the Secret at least once a second around the looks.
					step := min(sleep, time.Minute)
					if sleep < 3*time.Second || !w.accepted() {
						step = min(sleep, 500*time.Millisecond)
					}
					if !w.accepted() {
						refused += step
					}
					w.pass(step)
					sleep -= step
				}
			}
			if refused > mostRefused {
				t.Errorf("in three hours the app has refused the access token for %s, want at most %s", refused, mostRefused)
			}
			if got := w.fetches(); got > 20 {
				t.Errorf("in three hours Pipedream was asked %d times", got)
			}
			w.wantNoSecretSeen()
		})
	}
}

func TestTheSpecSaysHowTheSecretIsMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(func(account *v1alpha1.PipedreamAccount) {
		account.Spec.Secret = v1alpha1.AccountSecretTemplate{
			Name: "slack-credentials", Labels: map[string]v1alpha1.LabelValue{"team": "support"},
			Data: map[string]v1alpha1.ValueTemplate{"TOKEN": "{{ .Credentials.oauth_access_token }}", "about": "{{ .App }} {{ .AccountID }} {{ .Environment }}"},
		}
	})
	secret := w.target()
	if string(secret.Data["about"]) != "slack "+accountID+" production" || len(secret.Data) != 2 || secret.Labels["team"] != "support" {
		t.Errorf("the Secret is %+v", secret)
	}
	// Others' marks stay, and a label of the spec that somebody has changed is set again.
	change(w, secret, func(s *corev1.Secret) { s.Labels["team"], s.Labels["backup"] = "other", "yes" })
	w.pass(time.Minute)
	w.live(2 * time.Minute)
	if labels := w.target().Labels; labels["team"] != "support" || labels["backup"] != "yes" {
		t.Errorf("the labels are %v", labels)
	}
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)

	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
		account.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"OTHER": "{{ .Credentials.oauth_access_token }}"}
	})
	w.pass(time.Minute)
	w.live(2 * time.Minute)
	if data := w.target().Data; len(data) != 1 || len(data["OTHER"]) == 0 {
		t.Errorf("after a change of the templates the keys are %v", slices.Collect(maps.Keys(data)))
	}
	w.wantNoSecretSeen()
}

func TestAnEditedSecretIsFetchedAgain(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*corev1.Secret){
		"data":       func(s *corev1.Secret) { s.Data["oauth_access_token"] = []byte("forged") },
		"the record": func(s *corev1.Secret) { s.Annotations[v1alpha1.ExpiresAtAnnotation] = "2099-01-01T00:00:00Z" },
		"the account in the record": func(s *corev1.Secret) {
			s.Annotations[v1alpha1.AccountAnnotation] = "apn_other"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched()
			good := string(w.target().Data["oauth_access_token"])
			change(w, w.target(), edit)
			w.pass(time.Minute)
			w.live(time.Minute)
			if got := w.target(); string(got.Data["oauth_access_token"]) != good || got.Annotations[v1alpha1.AccountAnnotation] != accountID || !w.accepted() {
				t.Errorf("the Secret is %v", got.Annotations)
			}
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantExchanges(1)
		})
	}
}

func TestAnAccountWithoutAnExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "never", func(a *simulator.Account) { a.AuthType, a.Life = simulator.AuthKeys, 0 })
	w.fetched()
	secret, status := w.target(), w.account().Status
	if _, ok := secret.Data["expires_at"]; ok || status.ExpirationTime != nil || len(secret.Data["api_key"]) == 0 {
		t.Errorf("the Secret has the keys %v, and the status says %+v", slices.Collect(maps.Keys(secret.Data)), status)
	}
	w.live(4*time.Hour + time.Minute)
	w.wantFetches(5)
	// An access token lives an hour, so that each look needs another one.
	w.wantExchanges(5)
	w.wantRequests(map[string]int{"GET secrets": 4})
}

func TestARequestForALook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched()
	w.pass(time.Minute)
	must(t, w.pipedream.Accounts.Refresh(accountID))
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
		account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	w.reconcile()
	w.wantFetches(2)
	if !w.accepted() || w.target().Annotations[v1alpha1.RenewRequestAnnotation] != "now" {
		t.Errorf("the request was not answered: %v", w.target().Annotations)
	}
	w.live(5 * time.Minute)
	w.wantFetches(2)
}

func TestDeletingTheObjectDeletesTheSecretAndNotTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched()
	must(t, w.admin.Delete(t.Context(), w.account()))
	if _, err := w.tryReconcile(); err != nil {
		t.Error(err)
	}
	wait := time.After(30 * time.Second)
	for w.hasTarget() {
		select {
		case <-wait:
			t.Fatal("the Secret is still there")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if got := w.pipedream.Accounts.Counters().Accounts; len(got) != 1 {
		t.Errorf("the accounts at Pipedream are %v", got)
	}
}
