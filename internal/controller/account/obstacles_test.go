// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// labelled asks for a label and an annotation on the Secret.
func labelled(account *v1alpha1.PipedreamAccount) {
	account.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "payments"}
	account.Spec.Secret.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/ours": "ours"}
}

// TestWhatOthersHaveSetSurvives has little and much of others on a Secret, of which the cache does not hold
// all. What others have set is no edit, and a look that brings nothing new costs no request.
func TestWhatOthersHaveSetSurvives(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		labels, annotations, finalizers int
		reads                           int
	}{
		"nothing":         {},
		"little":          {labels: 3, finalizers: 1},
		"a long note":     {annotations: 1, reads: 1},
		"250 kB of notes": {labels: 2, annotations: 34, finalizers: 1, reads: 1},
		"many labels":     {labels: 500, reads: 1},
		"many finalizers": {finalizers: 300, reads: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes, labelled)
			change(w, w.target(), func(s *corev1.Secret) {
				for i := range test.labels {
					s.Labels[fmt.Sprintf("example.com/label-%d", i)] = "theirs"
				}
				for i := range test.annotations {
					s.Annotations[fmt.Sprintf("example.com/note-%d", i)] = strings.Repeat("theirs ", 1000)
				}
				for i := range test.finalizers {
					s.Finalizers = append(s.Finalizers, fmt.Sprintf("example.com/hold-%d", i))
				}
			})
			defer func() { change(w, w.target(), func(s *corev1.Secret) { s.Finalizers = nil }) }()
			before := w.target()
			w.pass(time.Minute)
			w.reconcile()
			w.wantFetches(1)

			look := func() { w.pass(10 * time.Minute); w.reconcile() }
			w.restart()
			w.reconcile()
			look()
			w.wantFetches(2)
			w.wire.Reset()
			look()
			w.wantFetches(3)
			w.wantRequests(map[string]int{})
			if got := w.target(); got.ResourceVersion != before.ResourceVersion {
				t.Error("the Secret was written, though nothing was new")
			}

			must(t, w.pipedream.Accounts.Refresh(accountID))
			w.wire.Reset()
			look()
			requests := map[string]int{"PUT secrets": 1, "PATCH pipedreamaccounts/status": 1}
			if test.reads > 0 {
				requests["GET secrets"] = test.reads
			}
			w.wantRequests(requests)
			after := w.target()
			isTheirs := func(key string) bool { return strings.HasPrefix(key, "example.com/") }
			for what, texts := range map[string][2]map[string]string{"labels": {before.Labels, after.Labels}, "annotations": {before.Annotations, after.Annotations}} {
				for key, value := range texts[0] {
					if isTheirs(key) && texts[1][key] != value {
						t.Fatalf("of the %s, %s is lost", what, key)
					}
				}
			}
			if !slices.Equal(before.Finalizers, after.Finalizers) {
				t.Errorf("of %d finalizers %d are left", len(before.Finalizers), len(after.Finalizers))
			}
			if slices.ContainsFunc(slices.Collect(maps.Keys(after.Annotations)), func(key string) bool { return strings.HasPrefix(key, "/") }) {
				t.Error("a mark of the cache has come to the API server")
			}
			if !w.accepted() {
				t.Error("the app refuses the access token in the Secret")
			}
		})
	}
}

// TestLabelsAreSetAgain has somebody change what the spec sets on the Secret. The credentials are fetched for
// that, because the operator keeps none; they stay the ones that were fetched first.
func TestLabelsAreSetAgain(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(w *world){
		"a label of the spec is changed on the Secret": func(w *world) { change(w, w.target(), func(s *corev1.Secret) { s.Labels["team"] = "other" }) },
		"an annotation of the spec is removed": func(w *world) {
			change(w, w.target(), func(s *corev1.Secret) { delete(s.Annotations, "example.com/ours") })
		},
		"the owner reference is removed": func(w *world) { change(w, w.target(), func(s *corev1.Secret) { s.OwnerReferences = nil }) },
		"the spec asks for another value": func(w *world) {
			change(w, w.account(), func(a *v1alpha1.PipedreamAccount) { a.Spec.Secret.Labels["team"] = "x" })
		},
		"the spec does not ask for the label any longer": func(w *world) {
			change(w, w.account(), func(a *v1alpha1.PipedreamAccount) { a.Spec.Secret.Labels = nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(labelled)
			fetched := w.account().Status.FetchTime
			w.pass(time.Minute)
			edit(w)
			w.live(5 * time.Minute)
			w.wantFetches(2)
			target, want := w.target(), w.account().Spec.Secret.Labels
			if got, isThere := target.Labels["team"]; got != string(want["team"]) || isThere != (want != nil) || target.Annotations["example.com/ours"] != "ours" || metav1.GetControllerOf(target) == nil {
				t.Errorf("the Secret has the labels %v and the annotations %v", target.Labels, target.Annotations)
			}
			if got := w.account().Status.FetchTime; !got.Equal(fetched) {
				t.Errorf("the credentials count as fetched at %v, and they are the ones of %v", got, fetched)
			}
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
		})
	}
}

const holder = "example.com/holder"

// TestWhileTheSecretIsBeingDeleted has a finalizer hold the Secret.
func TestWhileTheSecretIsBeingDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	change(w, w.target(), func(s *corev1.Secret) { s.Finalizers = []string{holder} })
	w.reconcile()
	w.wire.Reset()
	must(t, w.admin.Delete(t.Context(), w.target()))
	w.reconcile()
	if _, isWritten := w.wire.Requests()["PATCH pipedreamaccounts/status"]; isWritten {
		t.Error("the status says at once what is over in a moment, mostly")
	}
	w.live(11 * time.Second)
	w.reconcile()
	message := w.condition(v1alpha1.ConditionFetched).Message
	if reason := w.condition(v1alpha1.ConditionFetched).Reason; reason != v1alpha1.ReasonSecretTerminating || !strings.Contains(message, holder) {
		t.Errorf("Fetched is %s: %s", reason, message)
	}
	w.wantStalled(false)
	status := w.account().Status
	w.restart()
	w.wire.Reset()
	w.reconcile()
	w.wantRequests(map[string]int{})
	w.live(30 * time.Minute)
	w.wantStalled(true)
	w.wantFetches(1)
	if got := w.account().Status.Account; got != status.Account {
		t.Errorf("the account is %+v, and was %+v", got, status.Account)
	}

	change(w, w.target(), func(s *corev1.Secret) { s.Finalizers = nil })
	w.live(time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantStalled(false)
	w.wantNoSecretSeen()
}

// TestWhileThePipedreamAccountIsBeingDeleted has a finalizer hold the PipedreamAccount, suspended or not.
func TestWhileThePipedreamAccountIsBeingDeleted(t *testing.T) {
	t.Parallel()
	for _, isSuspended := range []bool{false, true} {
		t.Run(fmt.Sprintf("suspended %v", isSuspended), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fetched(eachTenMinutes, func(a *v1alpha1.PipedreamAccount) { a.Finalizers = []string{holder} })
			if isSuspended {
				change(w, w.account(), func(a *v1alpha1.PipedreamAccount) { a.Spec.Suspend = true })
				w.reconcile()
			}
			must(t, w.admin.Delete(t.Context(), w.account()))
			defer func() { change(w, w.account(), func(a *v1alpha1.PipedreamAccount) { a.Finalizers = nil }) }()
			w.live(30 * time.Minute)
			w.wantFetches(1)
			if got := w.condition(v1alpha1.ConditionFetched); got.Reason != v1alpha1.ReasonSecretTerminating || !strings.Contains(got.Message, "PipedreamAccount `slack`") {
				t.Errorf("Fetched is %s: %s", got.Reason, got.Message)
			}
			w.wantStalled(true)
			must(t, w.admin.Delete(t.Context(), w.target()))
			w.live(10 * time.Minute)
			w.wantFetches(1)
			if w.hasTarget() {
				t.Error("there is a Secret that nobody owns")
			}
		})
	}
}

// TestItIsDeletedWhileItsAccountIsFetched has the deletion come between the answer and the write.
func TestItIsDeletedWhileItsAccountIsFetched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create(func(a *v1alpha1.PipedreamAccount) { a.Finalizers = []string{holder} })
	defer func() { change(w, w.account(), func(a *v1alpha1.PipedreamAccount) { a.Finalizers = nil }) }()
	w.reconciler.Pipedream = deletingAPI{w.api, func() { must(t, w.admin.Delete(t.Context(), w.account())) }}
	_, err := w.tryReconcile()
	must(t, err)
	w.wantFetches(1)
	if w.hasTarget() {
		t.Error("a Secret was written for a PipedreamAccount that is being deleted")
	}
	w.wantReasons(v1alpha1.ReasonNotAttempted, v1alpha1.ReasonNotFetched)
}

// TestAnOutage has other accounts of the project find out that Pipedream does not answer.
func TestAnOutage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	requesterOfOther := func(i int) throttle.Requester {
		return throttle.Requester{Kind: kind, Group: w.namespace, Name: fmt.Sprint("other-", i)}
	}
	other := func(i int, err error) {
		requester := requesterOfOther(i)
		if w.reconciler.Requests.Reserve(projectID, requester, throttle.ReserveOptions{}).IsReady {
			_ = w.reconciler.Requests.Do(projectID, requester, throttle.DoOptions{}, func() error { return err })
		}
	}
	w.pass(10*time.Minute - time.Second)
	for i := range 20 {
		other(i, &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: http.StatusBadGateway})
	}
	w.pass(time.Second)
	w.reconcile()
	w.wantFetches(1)
	w.pass(11 * time.Second)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsValid)
	w.wantStalled(false)
	w.wantFetches(1) // It waits for its turn, and says why.
	for i := range 20 {
		w.reconciler.Requests.Cancel(requesterOfOther(i))
	}
	w.pass(time.Minute)
	w.reconcile()
	w.wantFetches(2)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestTheClusterFailsWhileReading has the API server answer no read of a Secret.
func TestTheClusterFailsWhileReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched()
	change(w, w.target(), func(s *corev1.Secret) { s.Annotations["example.com/note"] = "theirs" })
	w.pass(time.Minute)
	w.wire.Respond(refuse("GET secrets", http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable))
	_, _ = w.tryReconcile()
	w.wantReasons(v1alpha1.ReasonClusterUnavailable, v1alpha1.ReasonCredentialsValid)
	status := w.account().Status
	w.wire.Reset()
	w.reconcile() // Somebody wakes it before the time.
	w.wantRequests(map[string]int{})
	if status.NextAttemptTime == nil {
		t.Error("the status does not say when the Secret is read again")
	}
	w.wire.Respond(nil)
	w.live(2 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantFetches(1)
}

// TestTheClusterFailsWhileReadingTheClientCredentials has no first credentials come.
func TestTheClusterFailsWhileReadingTheClientCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.wire.Respond(refuse("GET secrets", http.StatusForbidden, metav1.StatusReasonForbidden))
	_, _ = w.tryReconcile()
	w.wantReasons(v1alpha1.ReasonClusterUnavailable, v1alpha1.ReasonNotFetched)
	w.wantExchanges(0)
	w.wire.Respond(nil)
	w.pass(time.Minute)
	w.live(time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantExchanges(1)
}

// TestAFailedReadHidesNoPause has a read of the Secret fail while Pipedream wants fewer requests.
func TestAFailedReadHidesNoPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusTooManyRequests, Headers: map[string]string{"Retry-After": "600"}}))
	w.look()
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonCredentialsValid)
	w.pipedream.ClearFaults()
	fetches := w.fetches()
	w.pass(time.Minute)
	change(w, w.target(), func(s *corev1.Secret) { s.Annotations["example.com/note"] = "theirs" })
	w.wire.Respond(refuse("GET secrets", http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable))
	_, _ = w.tryReconcile()
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonCredentialsValid)
	w.restart()
	w.wire.Respond(nil)
	w.live(8 * time.Minute)
	w.wantFetches(fetches)
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonCredentialsValid)
	w.live(3 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantFetches(fetches + 1)
}

// TestItIsSuspendedWhileItsAccountIsFetched has the suspension come between the answer and the write.
func TestItIsSuspendedWhileItsAccountIsFetched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.reconciler.Pipedream = deletingAPI{w.api, func() {
		change(w, w.account(), func(a *v1alpha1.PipedreamAccount) { a.Spec.Suspend = true })
	}}
	_, _ = w.tryReconcile()
	if w.hasTarget() {
		t.Error("a Secret was written for a suspended PipedreamAccount")
	}
	w.reconciler.Pipedream = w.api
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonSuspended, v1alpha1.ReasonNotFetched)
	w.wantFetches(1)
}

// TestTheClusterFailsWhileReplacing has the API server refuse to replace the Secret until its credentials have
// expired. What Pipedream has answered is not kept: it is asked again.
func TestTheClusterFailsWhileReplacing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched()
	expires := w.account().Status.ExpirationTime
	must(t, w.pipedream.Accounts.Refresh(accountID))
	w.wire.Respond(refuse("PUT secrets", http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable))
	change(w, w.account(), func(a *v1alpha1.PipedreamAccount) {
		a.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	w.pass(time.Minute)
	_, _ = w.tryReconcile()
	w.wantReasons(v1alpha1.ReasonClusterUnavailable, v1alpha1.ReasonCredentialsValid)
	w.wantStalled(false)
	w.wantFetches(2)

	for w.clock.Now().Before(expires.Time) {
		result, err := w.tryReconcile()
		if err != nil {
			result.RequeueAfter = time.Second // The manager's queue waits at least that long.
		}
		w.clock.SetTime(earlier(w.clock.Now().Add(result.RequeueAfter), expires.Time))
	}
	_, _ = w.tryReconcile()
	w.wantReasons(v1alpha1.ReasonClusterUnavailable, v1alpha1.ReasonCredentialsExpired)
	w.pass(time.Second) // Pipedream's times have fractions of a second.
	if w.accepted() {
		t.Error("the app accepts the access token in the Secret, which has expired")
	}
	fetches := w.fetches()
	w.wire.Respond(nil)
	w.live(time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantFetches(fetches + 1)
	if !w.accepted() {
		t.Error("the app refuses the access token in the Secret")
	}
	w.wantNoSecretSeen()
}

// TestWhileTheNamespaceIsBeingDeleted has a finalizer hold the PipedreamAccount, and so its namespace. The
// namespace's controller deletes the Secret.
func TestWhileTheNamespaceIsBeingDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes, func(a *v1alpha1.PipedreamAccount) { a.Finalizers = []string{holder} })
	must(t, w.admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}))
	defer func() { change(w, w.account(), func(a *v1alpha1.PipedreamAccount) { a.Finalizers = nil }) }()
	harness.Eventually(t, "the namespace's controller to delete the Secret and the PipedreamAccount", harness.Holds(func() bool {
		return !w.hasTarget() && w.account().DeletionTimestamp != nil
	}))
	w.live(30 * time.Minute)
	w.wantFetches(1)
	w.wantExchanges(1)
	if requests := w.wire.Requests(); requests["POST secrets"] > 0 {
		t.Errorf("the API server got %v", requests)
	}
	if w.condition(v1alpha1.ConditionReady).Status != metav1.ConditionFalse {
		t.Error("Ready is not False, and there is no Secret")
	}
}

// TestTheNamespaceIsDeletedWhileTheAccountIsFetched has the API server accept no new object when the Secret is to be
// created.
func TestTheNamespaceIsDeletedWhileTheAccountIsFetched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.wire.Respond(func(call string, _ *http.Request, forward func() (*http.Response, error)) (*http.Response, error) {
		if call != "POST secrets" {
			return forward()
		}
		body := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,` +
			`"details":{"causes":[{"reason":"` + string(corev1.NamespaceTerminatingCause) + `"}]}}`
		return &http.Response{
			StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	})
	w.reconcile()
	w.wantFetches(1)
	w.wantStalled(false)
	w.wantReasons(v1alpha1.ReasonNotAttempted, v1alpha1.ReasonNotFetched)
	if len(w.events.Events) > 0 {
		t.Errorf("there is an event: %s", <-w.events.Events)
	}
}

// TestPipedreamRefreshesTooLate has Pipedream give out credentials that have expired.
func TestPipedreamRefreshesTooLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect(accountID, "never")
	w.fetched()
	w.live(59 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	version, fetches := w.target().ResourceVersion, w.fetches()

	w.live(time.Minute + 5*time.Second)
	w.wantReasons(v1alpha1.ReasonCredentialsStale, v1alpha1.ReasonCredentialsExpired)
	w.wantStalled(false)
	if got := w.fetches() - fetches; got != 1 {
		t.Errorf("there were %d looks in the first seconds after the expiry, want one", got)
	}
	fetches = w.fetches()
	w.live(30 * time.Minute)
	// After 30 s, then after twice as long each time, up to five minutes.
	if got := w.fetches() - fetches; got < 7 || got > 10 {
		t.Errorf("there were %d looks in half an hour", got)
	}
	w.wantStalled(false)
	if got := w.target().ResourceVersion; got != version {
		t.Error("the Secret was written for credentials that have expired")
	}
	must(t, w.pipedream.Accounts.Refresh(accountID))
	w.live(5*time.Minute + time.Second)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	if !w.accepted() {
		t.Error("the app refuses the access token in the Secret")
	}
	w.wantNoSecretSeen()
}
