// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// failWrites has the API server's answer to each call of that kind replaced by an
// internal error, as an admission webhook that can't be asked makes it.
func (w *world) failWrites(call string) {
	w.wire.cut(func(made string, forward func() (*http.Response, error)) (*http.Response, error) {
		if made != call {
			return forward()
		}
		return &http.Response{
			StatusCode: http.StatusInternalServerError,
			Header:     http.Header{"Content-Type": {"application/json"}},
			Body:       io.NopCloser(strings.NewReader(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500}`)),
		}, nil
	})
}

func TestSecretThatCanNotBeWrittenIsReported(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	w.failWrites("PUT secrets")
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
	w.passUntil(w.token().Status.ExpirationTime)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
	w.wire.cut(nil)
	w.pass(2 * time.Minute)
	w.reconcile()
	w.wantExchanges(2)
	w.wantAccepted()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestExpiryIsReportedWhileTheAPIServerLosesWrites(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "PUT secrets" {
			return nil, errCut
		}
		return forward()
	})
	for range 2 {
		if _, err := w.tryReconcile(); err == nil {
			t.Error("the visit ends well, though the Secret could not be written")
		}
		w.passUntil(w.token().Status.ExpirationTime)
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
	w.wantExchanges(2)
}

// slowAPI takes its time to verify.
type slowAPI struct {
	PipedreamAPI
	verifying func()
}

func (a slowAPI) Verify(ctx context.Context, token pipedream.Sensitive, trial pipedream.Trial) (pipedream.Verdict, error) {
	a.verifying()
	return a.PipedreamAPI.Verify(ctx, token, trial)
}

func TestWhatComesDueDuringAVisitIsNotSleptOver(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	renewal := w.token().Status.RenewalTime
	w.passUntil(renewal)
	w.pass(-time.Second)
	w.reconciler.Pipedream = slowAPI{PipedreamAPI: w.api, verifying: func() { w.pass(2 * time.Second) }}
	if sleep := w.reconcile().RequeueAfter; sleep > time.Second {
		t.Errorf("the next visit is in %v, though the renewal came due during this one", sleep)
	}
}

func TestEditIsSeenWhileARenewalWaits(t *testing.T) {
	tests := map[string]func(*world){
		"for rejected credentials": func(w *world) { must(w.T, w.pipedream.SetClient(clientID, "rotated")) },
		"for missing credentials":  func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.secret("credentials"))) },
		"for its turn":             func(w *world) { w.occupy(100 * time.Second) },
	}
	for name, hinder := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			w.passUntil(w.token().Status.RenewalTime)
			hinder(w)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			change(w, w.target(), func(s *corev1.Secret) { s.Data["access_token"] = []byte("edited") })
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
		})
	}
}

// hindered is a world in which a token was found revoked, and its replacement
// could not be had.
func hindered(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.issued(withVerification)
	w.pipedream.RevokeAll()
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 500, Calls: 1}))
	w.pass(time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
	return w
}

func TestVerdictIsAboutOneToken(t *testing.T) {
	w := hindered(t)
	must(t, w.admin.Delete(t.Context(), w.target()))
	w.pass(10 * time.Second)
	w.reconcile()
	w.wantExchanges(3)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive)
	w.restart()
	w.reconcile()
	w.wantExchanges(3)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestRevokedTokenWhoseReplacementCanNotBeStored(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	change(w, w.target(), func(s *corev1.Secret) { s.Immutable = new(true) })
	w.pipedream.RevokeAll()
	w.pass(time.Minute)
	for range 2 {
		w.reconcile()
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
		w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
		w.restart()
	}
	w.wantExchanges(2)
}

func TestRevokedTokenIsReplacedOnceWhenTheAnswerIsLost(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification)
	w.pipedream.RevokeAll()
	w.pass(time.Minute)
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "PUT secrets" {
			return answered(forward)
		}
		return forward()
	})
	if _, err := w.tryReconcile(); err == nil {
		t.Fatal("the visit ends well, though the answer was lost")
	}
	w.wire.cut(nil)
	for range 3 {
		w.reconcile()
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		w.pass(11 * time.Second)
	}
	w.wantExchanges(2)
}

func TestRestartDoesNotForgetThatAKeyIsMissing(t *testing.T) {
	w := newWorld(t)
	w.issued()
	change(w, w.secret("credentials"), func(s *corev1.Secret) { delete(s.Data, "client_secret") })
	w.reconcile()
	w.pass(missingCredentialsGrace)
	for range 2 {
		w.reconcile()
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
		w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsMissing)
		w.restart()
	}
}

// TestARestartDoesNotMakeMissingCredentialsOlder restarts the operator after the credentials were deleted, which Pipedream
// has refused for long. Credentials that are refused are not missing: the two minutes begin with the deletion.
func TestARestartDoesNotMakeMissingCredentialsOlder(t *testing.T) {
	w := newWorld(t)
	w.issued()
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsRejected)
	w.pass(3 * time.Minute)
	must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
	w.wantNoCondition(v1alpha1.ConditionStalled)

	w.restart()
	w.reconcile()
	w.wantNoCondition(v1alpha1.ConditionStalled)
	w.pass(missingCredentialsGrace)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsMissing)
	w.restart()
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsMissing)
}

func TestRejectedCredentialsAreNotTriedWithEachChange(t *testing.T) {
	tests := map[string]struct {
		change func(w *world, i int)
		most   int
	}{
		"of an annotation beside them": {
			change: func(w *world, i int) {
				change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Annotations = map[string]string{"synced": strconv.Itoa(i)} })
			},
			most: 2, // A minute apart.
		},
		"of the client secret itself": {
			change: func(w *world, i int) {
				change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte(strconv.Itoa(i)) })
			},
			most: 5, // At once, then 10, 20 and 40 s apart.
		},
		"of the renew request": {
			change: func(w *world, i int) {
				change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
					p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: strconv.Itoa(i)}
				})
			},
			most: 5,
		},
		"of a foreign Secret that comes and goes": {
			change: func(w *world, _ int) {
				foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders-pipedream"}}
				must(w.T, w.admin.Create(w.Context(), foreign))
				w.reconcile()
				must(w.T, w.admin.Delete(w.Context(), foreign))
			},
			most: 2,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.createCredentials()
			w.create()
			must(t, w.pipedream.SetClient(clientID, "rotated"))
			for i := range 70 {
				w.reconcile()
				w.pass(time.Second)
				test.change(w, i)
			}
			if got := w.exchanges(); got > test.most {
				t.Errorf("%d attempts in 70 s, want at most %d", got, test.most)
			}
		})
	}
}

func TestCorrectedCredentialsAreTriedWhileOldOnesWait(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	w.reconcile()
	w.pass(2 * time.Second)
	change(w, w.token(), func(token *v1alpha1.PipedreamToken) {
		token.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	w.reconcile() // Too soon for credentials that were refused two seconds ago.
	w.wantExchanges(1)
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("rotated") })
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestWaitThatAWrongClockHasSetIsCutShort(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 404, Calls: 1}))
	w.pass(240 * time.Hour)
	w.reconcile()
	w.pass(-240 * time.Hour)
	w.restart()
	w.reconcile()
	w.pass(retry.LongestWait)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestFailureIsNotHiddenByAQueue(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	w.reconcile()
	w.events.Events = make(chan string, 10)
	w.reconciler.TokenRequests.Pause(w.clock.Now().Add(10 * time.Minute))
	w.pass(time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected)
	if got := w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsRejected); !strings.Contains(got.Message, "rejected the client credentials") {
		t.Errorf("Stalled says %q", got.Message)
	}
	if got := drain(w.events.Events); len(got) != 0 {
		t.Errorf("the events are %v, want none", got)
	}
}

func TestDeletedSecretIsReportedWhileTheNextTokenWaits(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	w.occupy(5 * time.Second)
	must(t, w.admin.Delete(t.Context(), w.target()))
	w.reconcile()
	w.wantExchanges(1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
}

func TestRestartDoesNotForgetAPause(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 429, Calls: 1}))
	w.reconcile()
	end := w.token().Status.NextAttemptTime
	w.restart()
	w.reconcile()
	other := throttle.Requester{Group: "elsewhere", Name: "other"}
	if got := w.reconciler.TokenRequests.Reserve(other, throttle.ReserveOptions{Lane: throttle.NearEnd}); got.IsReady || !got.PausedUntil.Equal(end.Time) {
		t.Errorf("after the restart others wait until %v, want them to wait until %v", got.PausedUntil, end)
	}
}

func TestSpacingIsReported(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Hour / 2)
	for range 3 {
		must(t, w.admin.Delete(t.Context(), w.target()))
		for w.reconcile(); !w.hasTarget(); w.reconcile() {
			w.pass(time.Second)
		}
	}
	must(t, w.admin.Delete(t.Context(), w.target()))
	w.reconcile()
	got := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
	if !strings.Contains(got.Message, "waits until 2026-01-02T03:3") {
		t.Errorf("the message does not say until when: %s", got.Message)
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
}

func TestRenewalThatQueuesIsARoutineOne(t *testing.T) {
	w := newWorld(t)
	w.issued()
	drain(w.events.Events)
	for range 2 {
		w.passUntil(w.token().Status.RenewalTime)
		w.occupy(20 * time.Second)
		w.reconcile()
		w.pass(15 * time.Second)
		w.reconcile()
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
		w.pass(5 * time.Second)
		w.reconcile()
	}
	w.wantExchanges(3)
	if got := drain(w.events.Events); len(got) != 0 {
		t.Errorf("the events are %v, want none", got)
	}
}

func TestWhatFollowsOnAQueueIsTold(t *testing.T) {
	tests := map[string]struct {
		// before has the renewal queue, and after is what has changed when its turn comes.
		before, after func(*world)
		want          []string
	}{
		"it fails": {
			before: func(*world) {},
			after:  func(w *world) { must(w.T, w.pipedream.SetClient(clientID, "rotated")) },
			want:   []string{"Warning CredentialsRejected"},
		},
		"it had failed, and works": {
			before: func(w *world) {
				must(w.T, w.admin.Delete(w.Context(), w.secret("credentials")))
				w.reconcile()
				w.createCredentials()
			},
			after: func(*world) {},
			want:  []string{"Warning CredentialsMissing", "Normal Issued"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			drain(w.events.Events)
			w.passUntil(w.token().Status.RenewalTime)
			test.before(w)
			w.occupy(20 * time.Second)
			w.reconcile()
			w.pass(15 * time.Second)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
			test.after(w)
			w.pass(5 * time.Second)
			w.reconcile()
			got := drain(w.events.Events)
			if len(got) != len(test.want) {
				t.Fatalf("the events are %v, want %v", got, test.want)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("event %d is %s, want %s", i, got[i], want)
				}
			}
		})
	}
}

func TestUnstoredTokenIsForgottenAtTheEndOfItsLife(t *testing.T) {
	w := newWorld(t)
	w.issued()
	change(w, w.target(), func(s *corev1.Secret) { s.Immutable = new(true) })
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	known, _ := w.reconciler.states.Of(w.key("orders"), w.token().UID)
	if known.attempt.pending == nil {
		t.Fatal("the token that could not be stored is not kept")
	}
	expiry := known.attempt.pending.token.ExpirationTime
	must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
	w.clock.SetTime(expiry)
	w.reconcile()
	if known.attempt.pending != nil {
		t.Error("a token that has expired is still kept")
	}
}

func TestMessageOfAnEarlierRunIsNotRepeatedWhenItBecomesUntrue(t *testing.T) {
	w := newWorld(t)
	w.issued()
	must(t, w.pipedream.SetClient(clientID, "rotated"))
	expiry := w.token().Status.ExpirationTime
	w.passUntil(expiry)
	w.pass(-time.Second)
	w.reconcile()
	w.restart()
	w.pass(time.Second)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
	if got := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsRejected); strings.Contains(got.Message, "valid until") {
		t.Errorf("the token has expired, and the message is: %s", got.Message)
	}
}

// frozenCache shows one object as it was.
type frozenCache struct {
	client.Reader
	name     string
	metadata *metav1.PartialObjectMetadata
	token    *v1alpha1.PipedreamToken
}

func (f frozenCache) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	switch into := object.(type) {
	case *metav1.PartialObjectMetadata:
		if f.metadata != nil && key.Name == f.name {
			f.metadata.DeepCopyInto(into)
			return nil
		}
	case *v1alpha1.PipedreamToken:
		if f.token != nil {
			f.token.DeepCopyInto(into)
			return nil
		}
	}
	return f.Reader.Get(ctx, key, object, options...)
}

func TestFailedReadDoesNotMakeALateCacheBelieved(t *testing.T) {
	w := newWorld(t)
	w.issued()
	late, err := ownedsecret.Metadata(t.Context(), w.admin, w.key("orders-pipedream"))
	must(t, err)
	w.reconciler.Cache = frozenCache{Reader: w.admin, name: "orders-pipedream", metadata: late}
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.wantExchanges(2)

	w.pass(11 * time.Second)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.ProjectID = "proj_other" })
	reads := 0
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "GET secrets" {
			if reads++; reads == 2 {
				return nil, errCut
			}
		}
		return forward()
	})
	for range 3 {
		_, _ = w.tryReconcile()
		w.pass(time.Second)
	}
	w.wantExchanges(2)
	if got := string(w.target().Data["project_id"]); got != "proj_other" {
		t.Errorf("project_id is %q, want the new one", got)
	}
}

func TestStatusIsNotAppliedAgainBecauseTheCacheIsLate(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.reconciler.Cache = frozenCache{Reader: w.admin, token: w.token()}
	w.reconcile()
	w.wire.reset()
	for range 3 {
		w.reconcile()
	}
	w.wantRequests(noRequests)
	if got := drain(w.events.Events); len(got) != 1 {
		t.Errorf("the events are %v, want one", got)
	}
}

// TestSuccessorGetsNothingOfItsPredecessor has the cache show a PipedreamToken after it
// was deleted, and another one was made under its name.
func TestSuccessorGetsNothingOfItsPredecessor(t *testing.T) {
	tests := map[string]func(*world){
		"its Secret was collected": func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.target())) },
		"there is something to say of its own time": func(w *world) {
			must(w.T, w.admin.Delete(w.Context(), w.secret("credentials")))
			w.passUntil(w.token().Status.ExpirationTime)
		},
	}
	for name, come := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			w.pass(time.Minute)
			predecessor := w.token()
			come(w)
			must(t, w.admin.Delete(t.Context(), predecessor))
			w.create()
			w.reconciler.Cache = frozenCache{Reader: w.admin, token: predecessor}
			w.reconcile()
			if got := w.token().Status; got.IssueTime != nil || got.ObservedGeneration != 0 {
				t.Errorf("its status is %+v, want none", got)
			}
			if got := drain(w.events.Events); len(got) != 1 {
				t.Errorf("the events are %v, want that of the first token", got)
			}
			w.wantExchanges(1)
		})
	}
}

func TestOrphanedSecretIsAdoptedWhereThatIsAllowed(t *testing.T) {
	tests := map[string]struct {
		client func(*world) client.Client
		want   int
	}{
		"by one who may delete Secrets": {client: func(w *world) client.Client { return w.reconciler.Client }, want: 1},
		"not by one who may not":        {client: (*world).leastPrivilegedClient, want: 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			w.reconciler.Client = test.client(w)
			change(w, w.target(), func(s *corev1.Secret) { s.OwnerReferences = nil })
			w.reconcile()
			w.wantExchanges(1)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
			if got := len(w.target().OwnerReferences); got != test.want {
				t.Errorf("the Secret has %d owners, want %d", got, test.want)
			}
			before := w.target().ResourceVersion
			w.reconcile()
			if w.target().ResourceVersion != before {
				t.Error("the Secret is written at each visit")
			}
		})
	}
}

func (w *world) leastPrivilegedClient() client.Client {
	w.Helper()
	allowed, err := client.New(w.leastPrivilege(), client.Options{Scheme: newScheme(w.T), FieldOwner: ownedsecret.FieldOwner})
	must(w.T, err)
	return allowed
}

func TestAppliedSecretLosesTheCopyOfItsData(t *testing.T) {
	w := newWorld(t)
	w.issued()
	change(w, w.target(), func(s *corev1.Secret) {
		s.Annotations[corev1.LastAppliedConfigAnnotation] = `{"data":{"access_token":"in clear"}}`
	})
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	if got, kept := w.target().Annotations[corev1.LastAppliedConfigAnnotation]; kept {
		t.Errorf("the renewed Secret still carries %s", got)
	}
}

func TestTerminatingNamespaceGetsNoFailure(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call != "POST secrets" {
			return forward()
		}
		refusal := apierrors.NewForbidden(corev1.Resource("secrets"), "orders-pipedream", nil)
		refusal.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
		content := &bytes.Buffer{}
		content.WriteString(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,` +
			`"details":{"causes":[{"reason":"` + string(refusal.ErrStatus.Details.Causes[0].Type) + `"}]}}`)
		return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(content)}, nil
	})
	w.reconcile()
	w.wantNoCondition(v1alpha1.ConditionStalled)
	if got := drain(w.events.Events); len(got) != 0 {
		t.Errorf("the events are %v, want none", got)
	}
}
