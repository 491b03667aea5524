// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

func eachRefresh(account *v1alpha1.PipedreamAccount) {
	account.Spec.FetchPolicy = v1alpha1.FetchEachRefresh
}

func rotating(a *simulator.Account) { a.Rotating = true }

// TestAConsumerOfARotatingApp has a consumer use the Secret each second through three refreshes. The app refuses an
// access token as soon as Pipedream has refreshed it.
func TestAConsumerOfARotatingApp(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		life    time.Duration
		refresh string
		policy  v1alpha1.FetchPolicy
		// least and most are how many seconds the app refuses each access token.
		least, most int
	}{
		"each refresh of an hour":                   {time.Hour, "background:13m30s", v1alpha1.FetchEachRefresh, 10, 16},
		"each refresh of ten minutes":               {10 * time.Minute, "background:2m15s", v1alpha1.FetchEachRefresh, 10, 16},
		"each refresh, close to the expiry":         {10 * time.Minute, "lead:10s", v1alpha1.FetchEachRefresh, 5, 11},
		"each refresh of a token without expiry":    {0, "background:13m30s", v1alpha1.FetchEachRefresh, 10, 16},
		"before the expiry, which does not suffice": {time.Hour, "background:13m30s", v1alpha1.FetchBeforeExpiry, 600, 3600},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.connect(accountID, test.refresh, rotating, func(a *simulator.Account) { a.Life = test.life })
			w.fetched(func(account *v1alpha1.PipedreamAccount) { account.Spec.FetchPolicy = test.policy })
			tokens := 4
			if test.policy != v1alpha1.FetchEachRefresh {
				tokens = 2
			}

			refused := w.consume(tokens)

			if slices.Min(refused) < test.least || slices.Max(refused) > test.most {
				t.Errorf("the app has refused the access tokens for %v seconds, want %d to %d", refused, test.least, test.most)
			}
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantNoSecretSeen()
		})
	}
}

// TestARefreshThatIsBeingMadeIsFollowed has the account be fetched for the first time when the announced time is over and
// Pipedream has not made the refresh yet.
func TestARefreshThatIsBeingMadeIsFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "background:13m30s", rotating, func(a *simulator.Account) { a.NextRefresh = "-5s" })
	w.pass(13*time.Minute + 27*time.Second)
	w.fetched(eachRefresh)
	w.live(4 * time.Second)
	if w.accepted() {
		t.Fatal("the app accepts the token that Pipedream has replaced")
	}
	w.live(16 * time.Second)
	if !w.accepted() {
		t.Error("17 seconds after the refresh the app does not accept the token in the Secret")
	}
	w.wantFetches(2)
}

// TestALookAfterEachRefreshCosts counts the looks of 12 hours, and what a restart in each hour adds to them.
func TestALookAfterEachRefreshCosts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change      func(*v1alpha1.PipedreamAccount)
		least, most int // looks in 12 hours
	}{
		"without the field":        {func(*v1alpha1.PipedreamAccount) {}, 15, 18},
		"with the field's default": {func(a *v1alpha1.PipedreamAccount) { a.Spec.FetchPolicy = v1alpha1.FetchBeforeExpiry }, 15, 18},
		"with each refresh":        {eachRefresh, 53, 54},
	} {
		for when, restarts := range map[string]bool{"": false, ", restarted each hour": true} {
			t.Run(name+when, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.connect(accountID, "background:13m30s")
				w.fetched(test.change)
				for range 12 {
					w.live(time.Hour)
					if restarts {
						w.reconcile() // Nothing is due now.
						w.restart()
						w.wire.Reset()
						fetches := w.fetches()
						w.reconcile()
						w.wantRequests(map[string]int{})
						w.wantFetches(fetches)
					}
				}
				if got := w.fetches(); got < test.least || got > test.most {
					t.Errorf("%d looks in 12 hours, want %d to %d", got, test.least, test.most)
				}
				w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			})
		}
	}
}

// TestWhatALookAfterARefreshWrites has each look bring new credentials, and a refresh that does not come.
func TestWhatALookAfterARefreshWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "background:13m30s")
	w.fetched(eachRefresh)
	w.live(2*13*time.Minute + 2*30*time.Second + 20*time.Second)
	w.wantFetches(3)
	w.wantRequests(map[string]int{"PUT secrets": 2, "PATCH pipedreamaccounts/status": 2})

	w.changeAccount(func(a *simulator.Account) { a.NextRefresh = "-10m" }) // Pipedream says too early a time from now on.
	w.live(13*time.Minute + 30*time.Second)
	w.wantFetches(4)
	w.live(5 * time.Minute) // The operator replaces its own access token, too.
	w.wire.Reset()
	before := w.fetches()
	w.live(7 * time.Minute)
	if got := w.fetches() - before; got < 1 || got > 4 {
		t.Errorf("in seven minutes there were %d looks at credentials that Pipedream has not refreshed", got)
	}
	w.wantRequests(map[string]int{})
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestNoAnnouncedRefreshCausesALoop has Pipedream say of the next refresh all that is wrong, for six hours. Looks at
// credentials that are not refreshed are five minutes apart in the end.
func TestNoAnnouncedRefreshCausesALoop(t *testing.T) {
	t.Parallel()
	for said, test := range map[string]struct {
		refresh string
		fetches int // in six hours, at most
		writes  int // at most, of the Secret
	}{
		"absent":     {"background:45m", 9, 8},
		"unreadable": {"background:45m", 9, 8},
		"-10h":       {"background:45m", 9, 8},
		"10000h":     {"background:45m", 9, 8},
		"-40m":       {"background:45m", 6 * 17, 8},
		"in:0s":      {"background:50m", 6 * 17, 16},
		"in:1s":      {"lazy", 6 * 17, 16},
		"in:290s":    {"lazy", 6 * 17, 16},
		"in:330s":    {"lazy", 6 * 17, 6 * 12}, // Each announced time is far enough to be followed, and is written.
		"in:-20s":    {"lazy", 6 * 17, 16},
		"in:2s":      {"force", 6 * 31, 6 * 31}, // Each look brings other credentials.
	} {
		t.Run(said+" "+test.refresh, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.connect(accountID, test.refresh, func(a *simulator.Account) { a.NextRefresh = said })
			w.fetched(eachRefresh)

			w.live(6*time.Hour - 5*time.Minute)

			if got := w.fetches(); got > test.fetches {
				t.Errorf("%d looks in six hours, want at most %d", got, test.fetches)
			}
			requests := w.wire.Requests()
			if got := requests["PUT secrets"]; got > test.writes {
				t.Errorf("the Secret was written %d times in six hours, want at most %d", got, test.writes)
			}
			if !w.accepted() {
				t.Error("the app does not accept the token in the Secret")
			}
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			t.Logf("%d looks, %v", w.fetches(), requests)
		})
	}
}

// TestTheAnnouncedRefreshIsShown has the status say when Pipedream refreshes next, if the spec asks for looks then.
func TestTheAnnouncedRefreshIsShown(t *testing.T) {
	t.Parallel()
	const said = "Pipedream announces the next refresh for 2026-01-02T03:17:35Z"
	w := newWorld(t)
	w.connect(accountID, "background:13m30s")
	w.fetched()
	want := func(step, text, next string) {
		t.Helper()
		message := w.condition(v1alpha1.ConditionFetched).Message
		if text != "" && !strings.Contains(message, text) || strings.Contains(message, "nnounces") != (text != "") {
			t.Errorf("%s: Fetched says %q, want %q in it", step, message, text)
		}
		got := ""
		if at := w.account().Status.NextRefreshTime; at != nil {
			got = show(at)
		}
		if got != next {
			t.Errorf("%s: the next refresh is %q, want %q", step, got, next)
		}
		w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	}
	want("without the field", "", "")
	setPolicy := func(policy v1alpha1.FetchPolicy) {
		w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.FetchPolicy = policy })
		w.reconcile()
	}

	setPolicy(v1alpha1.FetchEachRefresh)
	want("with EachRefresh", said, "2026-01-02T03:17:35Z")
	w.wantFetches(1) // Another policy is no reason to look.
	w.restart()
	w.wire.Reset()
	w.reconcile()
	w.wantRequests(map[string]int{})
	w.live(14 * time.Minute)
	want("after the refresh", "announces the next refresh for 2026-01-02T03:31:05Z", "2026-01-02T03:31:05Z")

	w.changeAccount(func(a *simulator.Account) { a.NextRefresh = "absent" })
	w.live(14 * time.Minute)
	want("when Pipedream does not say", "Pipedream announces no refresh of these credentials", "")
	setPolicy(v1alpha1.FetchBeforeExpiry)
	want("with BeforeExpiry again", "", "")
	w.wantNoSecretSeen()
}

// TestTheDueTimeOfEachRefresh has the metric and the demand follow the announced refresh.
func TestTheDueTimeOfEachRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "background:13m30s")
	w.fetched(eachRefresh)
	account := w.account()
	fetched := account.Status.FetchTime.Time
	_, due := shown{account}.GetTimes()
	if got := due.Sub(fetched); got != 13*time.Minute+45*time.Second {
		t.Errorf("the metric says that a look is due after %s", got)
	}
	perSecond := demandOf([]v1alpha1.PipedreamAccount{*account})[projectID].perSecond
	if got := time.Duration(float64(time.Second) / perSecond).Round(time.Second); got != 13*time.Minute+45*time.Second {
		t.Errorf("the demand is one look in %s", got)
	}
	account.Status.ExpirationTime = nil
	if _, due := (shown{account}).GetTimes(); due != nil {
		t.Errorf("of credentials that do not expire, the metric says %s", show(due))
	}
}

// TestTheLookAfterARefreshIsUrgent has the look be due at which the app refuses the token in the Secret already.
func TestTheLookAfterARefreshIsUrgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "background:50m", func(a *simulator.Account) { a.NextRefresh = "-40m" })
	w.fetched(eachRefresh)
	lane := noRequest
	w.reconciler.Requests = laneSeen{w.reconciler.Requests, &lane}
	w.live(9*time.Minute + 40*time.Second)
	change(w, w.account(), func(account *v1alpha1.PipedreamAccount) {
		account.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	for _, step := range []struct {
		wait time.Duration
		want throttle.Lane
	}{
		{time.Second, throttle.OnDemand}, // Before the refresh, no look brings another token.
		{33 * time.Second, noRequest},
		{2 * time.Second, throttle.NearEnd},
		{30 * time.Second, throttle.DueRenewal}, // There was no refresh, so that the token is as good as before.
	} {
		lane = noRequest
		w.live(step.wait)
		w.reconcile()
		if lane != step.want {
			t.Errorf("%s later the request has waited in lane %d, want %d", step.wait, lane, step.want)
		}
	}
}

// TestAFailureAfterARefreshWaitsBriefly has Pipedream not answer for ten minutes, from an announced refresh on. The app
// then refuses the token in the Secret, however long it would live.
func TestAFailureAfterARefreshWaitsBriefly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "background:13m30s", rotating, func(a *simulator.Account) { a.Life = 10 * time.Hour })
	w.fetched(eachRefresh)
	w.live(13*time.Minute + 31*time.Second)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusServiceUnavailable}))
	w.live(10 * time.Minute)
	w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsValid)
	if w.accepted() {
		t.Fatal("the app accepts the token that Pipedream has replaced")
	}
	next := w.account().Status.NextAttemptTime
	if next == nil || next.Sub(w.clock.Now()) > 30*time.Second {
		t.Errorf("the next attempt is at %v, and it is %s", next, w.clock.Now())
	}
	w.pipedream.ClearFaults()
	w.live(31 * time.Second)
	if !w.accepted() {
		t.Error("31 seconds after the outage the app does not accept the token in the Secret")
	}
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestAnOlderSecretOfARotatingAppIsReplaced has somebody put back the Secret from before a refresh.
func TestAnOlderSecretOfARotatingAppIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "background:13m30s", rotating)
	w.fetched(eachRefresh)
	older := w.target()
	w.live(14 * time.Minute)
	change(w, w.target(), func(now *corev1.Secret) { now.Data, now.Annotations = older.Data, older.Annotations })
	if w.accepted() {
		t.Fatal("the app accepts the older token")
	}
	w.live(15 * time.Second)
	if !w.accepted() {
		t.Error("15 seconds later the Secret holds no token that the app accepts")
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonCredentialsValid)
}
