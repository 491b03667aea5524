// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// theirs is a finalizer of somebody else.
const theirs = "example.com/kept"

// holdNamed gives an object finalizers and deletes it.
func holdNamed(w *world, object client.Object, how metav1.DeletionPropagation, finalizers ...string) {
	w.Helper()
	must(w.T, w.admin.Get(w.Context(), client.ObjectKeyFromObject(object), object))
	change(w, object, func(o client.Object) { o.SetFinalizers(finalizers) })
	must(w.T, w.admin.Delete(w.Context(), object, client.PropagationPolicy(how)))
}

// hold gives an object a finalizer and deletes it.
func hold(w *world, object client.Object) {
	w.Helper()
	holdNamed(w, object, metav1.DeletePropagationBackground, theirs)
}

// release removes the finalizers of an object that is being deleted.
func release(w *world, object client.Object) {
	w.Helper()
	must(w.T, w.admin.Get(w.Context(), client.ObjectKeyFromObject(object), object))
	change(w, object, func(o client.Object) { o.SetFinalizers(nil) })
}

// sleepOn lets pass the time until the operator comes back by itself.
func (w *world) sleepOn() {
	w.Helper()
	sleep := w.reconcile().RequeueAfter
	if sleep <= 0 {
		w.Fatal("the operator does not come back by itself")
	}
	w.pass(sleep)
}

// hasToken reports whether the PipedreamToken is there.
func (w *world) hasToken() bool {
	w.Helper()
	err := w.admin.Get(w.Context(), w.key("orders"), &v1alpha1.PipedreamToken{})
	must(w.T, client.IgnoreNotFound(err))
	return !apierrors.IsNotFound(err)
}

// wantStanding checks that a few reconciles, also after a restart, neither ask for a token nor send a
// request to the API server.
func (w *world) wantStanding() {
	w.Helper()
	exchanges, version := w.exchanges(), w.token().ResourceVersion
	for _, again := range []func(){func() {}, w.restart, func() {}} {
		again()
		w.wire.reset()
		w.reconcile()
		w.wantRequests(noRequests)
		w.wantExchanges(exchanges)
		w.wantEvents()
	}
	if got := w.token().ResourceVersion; got != version {
		w.Errorf("the status was written again: %+v", w.token().Status)
	}
}

// wantHeld checks that condition Renewed says what is being deleted and what holds it.
func (w *world) wantHeld(parts ...string) metav1.Condition {
	w.Helper()
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretTerminating)
	for _, part := range parts {
		w.wantMessage(renewed, part)
	}
	return renewed
}

// dying are the two ways in which a finalizer of somebody else holds what the operator works on.
var dying = map[string]struct {
	object func(*world) client.Object
	says   string
	// checks are the requests that tell whether the Secret holds what was written, after the Secret has changed.
	checks map[string]int
}{
	"the PipedreamToken is held": {
		object: func(w *world) client.Object { return w.token() },
		says:   "PipedreamToken `orders` is being deleted, and is held by its finalizer `" + theirs + "`, since ",
		checks: noRequests,
	},
	"the Secret is held": {
		object: func(w *world) client.Object { return w.target() },
		says:   "Secret `orders-pipedream` is being deleted, and is held by its finalizer `" + theirs + "`, since ",
		checks: map[string]int{"GET secrets": 1},
	},
}

func TestObjectThatAFinalizerHolds(t *testing.T) {
	t.Parallel()
	for name, test := range dying {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			first, status := w.target(), w.token().Status
			w.events.Events = make(chan string, 1000)
			w.pass(time.Minute)
			hold(w, test.object(w))

			// In the first seconds there is nothing to say.
			version := w.token().ResourceVersion
			for range 3 {
				if sleep := w.reconcile().RequeueAfter; sleep > 10*time.Second {
					t.Errorf("the next reconcile is in %s, and the finalizer is to be named after 10 s", sleep)
				}
				w.pass(3 * time.Second)
			}
			if got := w.token().ResourceVersion; got != version {
				t.Errorf("the status was written at once: %+v", w.token().Status)
			}
			w.wantRequests(test.checks)

			w.pass(time.Second)
			w.wire.reset()
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			renewed := w.wantHeld(test.says, "The current token is valid until "+show(status.ExpirationTime)+".")
			w.wantNoCondition(v1alpha1.ConditionStalled)
			w.wantEvents("Warning " + v1alpha1.ReasonSecretTerminating + " " + renewed.Message)
			w.wantRequests(map[string]int{"PATCH pipedreamtokens/status": 1})
			if got := w.token().Status.NextAttemptTime; got != nil {
				t.Errorf("nextAttemptTime is %v, and only the removal of a finalizer helps", got)
			}
			w.wantStanding()

			w.pass(2 * time.Minute)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretTerminating)
			w.wantStanding()

			w.passUntil(status.RenewalTime)
			w.pass(time.Minute)
			w.reconcile()
			w.wantStanding()

			// Expiry is reported at its second, by a reconcile that nobody but the operator has asked for.
			for w.clock.Now().Before(status.ExpirationTime.Time) {
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
				w.sleepOn()
			}
			w.reconcile()
			if late := w.clock.Now().Sub(status.ExpirationTime.Time); late > time.Second {
				t.Errorf("the expiry was seen %s late", late)
			}
			ready := w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
			w.wantHeld(test.says, "The Secret holds no usable token.")
			w.wantEvents("Warning " + v1alpha1.ReasonTokenExpired + " " + ready.Message)
			w.wantStanding()
			w.wantExchanges(1)
			if got := w.target(); string(got.Data["access_token"]) != string(first.Data["access_token"]) {
				t.Error("the Secret was written")
			}
		})
	}
}

// TestRequestsOfAPersonDoNotReachAnObjectThatIsHeld asks for a new token in each way that there is.
func TestRequestsOfAPersonDoNotReachAnObjectThatIsHeld(t *testing.T) {
	t.Parallel()
	asks := map[string]func(*world){
		"by a request to renew": func(w *world) {
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
				p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
			})
		},
		"by other scopes": func(w *world) {
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = []string{"connect:*"} })
		},
		"by other credentials": func(w *world) {
			must(w.T, w.pipedream.SetClient(clientID, "rotated"))
			change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("rotated") })
		},
		"by other labels of the Secret": func(w *world) {
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
				p.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "orders"}
			})
		},
		"by an edit of the Secret": func(w *world) {
			change(w, w.target(), func(s *corev1.Secret) { s.Data["access_token"] = []byte("edited") })
		},
	}
	for name, test := range dying {
		for how, ask := range asks {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.issued()
				w.pass(time.Minute)
				hold(w, test.object(w))
				w.reconcile()
				ask(w)
				edited := w.target()
				for range 3 {
					w.pass(time.Minute)
					w.reconcile()
				}
				w.wantExchanges(1)
				if got := w.target(); got.ResourceVersion != edited.ResourceVersion {
					t.Errorf("the Secret was written: %v", got.Annotations)
				}
				w.wantHeld(test.says)
				switch how {
				case "by other scopes":
					w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenOutdated)
				case "by an edit of the Secret":
					ready := w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
					w.wantMessage(ready, "Somebody has changed the Secret")
				default:
					w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
				}
			})
		}
	}
}

func TestSecretThatIsGoneAtLastIsMadeAnewOnce(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]time.Duration{
		"a moment later":    2 * time.Second,
		"after a minute":    time.Minute,
		"after its renewal": 45 * time.Minute,
		"after its expiry":  2 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			w.events.Events = make(chan string, 1000)
			w.pass(time.Minute)
			hold(w, w.target())
			w.reconcile()
			w.pass(wait)
			w.reconcile()
			w.wantExchanges(1)
			isHeld := wait > 10*time.Second
			if renewed := w.condition(v1alpha1.ConditionRenewed); (renewed.Reason == v1alpha1.ReasonSecretTerminating) != isHeld {
				t.Errorf("condition Renewed is %+v", renewed)
			}
			release(w, w.target())
			for range 5 {
				w.reconcile()
				w.pass(10 * time.Second)
			}
			w.wantExchanges(2)
			w.wantAccepted()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
			w.wantNoCondition(v1alpha1.ConditionStalled)
			if events := drain(w.events.Events); !isHeld && len(events) > 0 {
				t.Errorf("of a Secret that was gone after a moment, the events are %v", events)
			}
		})
	}
}

func TestTokenThatIsReleasedAMomentLaterCostsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	hold(w, w.token())
	w.events.Events = make(chan string, 1000)
	w.wire.reset()
	w.reconcile()
	w.pass(time.Second)
	release(w, w.token())
	_, err := w.tryReconcile()
	must(t, err)
	w.wantRequests(noRequests)
	w.wantEvents()
	w.wantExchanges(1)
}

// TestFinalizersAreNamedAsTheyAre removes one of two finalizers, before and after a restart.
func TestFinalizersAreNamedAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, test := range dying {
		for how, restart := range map[string]func(*world){"in one run": func(*world) {}, "after a restart": (*world).restart} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.issued()
				holdNamed(w, test.object(w), metav1.DeletePropagationBackground, theirs, "example.com/other")
				w.reconcile()
				w.pass(time.Minute)
				w.reconcile()
				w.wantHeld("is held by its finalizers `" + theirs + "`, `example.com/other`, since ")
				restart(w)
				w.reconcile()
				change(w, test.object(w), func(o client.Object) { o.SetFinalizers([]string{theirs}) })
				w.events.Events = make(chan string, 1000)
				w.reconcile()
				if renewed := w.wantHeld(test.says); strings.Contains(renewed.Message, "other") {
					t.Errorf("the message names a finalizer that is gone: %s", renewed.Message)
				}
				w.wantEvents()
				w.wantStanding()
			})
		}
	}
}

// TestTokenThatWasNeverIssuedAndIsHeld deletes a PipedreamToken before there is a token.
func TestTokenThatWasNeverIssuedAndIsHeld(t *testing.T) {
	t.Parallel()
	for name, isSeen := range map[string]bool{"after its credentials were missed": true, "before it was seen": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.create()
			if isSeen {
				w.reconcile()
				w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
			}
			hold(w, w.token())
			w.reconcile()
			w.createCredentials()
			w.pass(time.Minute)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
			w.wantHeld("PipedreamToken `orders` is being deleted")
			w.events.Events = make(chan string, 1000)
			w.wantStanding()
			w.wantExchanges(0)
			if w.hasTarget() {
				t.Error("a Secret was made for a PipedreamToken that is being deleted")
			}
		})
	}
}

// TestWaitOfAnObjectThatIsHeldIsGivenUp deletes a PipedreamToken while its request waits for its turn.
func TestWaitOfAnObjectThatIsHeldIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create()
	w.occupy(time.Minute)
	w.reconcile()
	isIdle := func() bool { return w.reconciler.TokenRequests.Load().Waiting == throttle.Load{}.Waiting }
	if isIdle() {
		t.Fatal("no request waits")
	}
	hold(w, w.token())
	w.reconcile()
	if !isIdle() {
		t.Error("the request still waits")
	}
	w.pass(2 * time.Minute)
	w.reconcile()
	w.wantExchanges(0)
	w.wantHeld("PipedreamToken `orders` is being deleted")
}

// TestPendingTokenOutlastsASecretThatIsHeld has a token issued that can't be written, and the Secret deleted.
func TestPendingTokenOutlastsASecretThatIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	w.failWrites("PUT secrets")
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
	w.wantExchanges(2)
	w.wire.cut(nil)
	held := w.target()
	hold(w, held)
	held = w.target()
	for range 5 {
		w.pass(time.Minute)
		w.reconcile()
	}
	w.wantExchanges(2)
	w.wantHeld("Secret `orders-pipedream` is being deleted")
	if got := w.target(); got.ResourceVersion != held.ResourceVersion {
		t.Error("the pending token was written to a Secret that is being deleted")
	}
	release(w, w.target())
	w.reconcile()
	w.wantExchanges(2)
	w.wantAccepted()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
}

// TestPendingTokenOfAnObjectThatIsHeldIsDropped has a token issued that can't be written, and the PipedreamToken deleted.
func TestPendingTokenOfAnObjectThatIsHeldIsDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	w.failWrites("PUT secrets")
	w.reconcile()
	w.wantExchanges(2)
	w.wire.cut(nil)
	before := w.target()
	hold(w, w.token())
	for range 3 {
		w.pass(time.Minute)
		w.reconcile()
	}
	w.wantExchanges(2)
	w.wantHeld("PipedreamToken `orders` is being deleted")
	if got := w.target(); got.ResourceVersion != before.ResourceVersion {
		t.Error("the pending token was written")
	}
	if known, _ := w.reconciler.states.Of(w.key("orders"), w.token().UID); known == nil || known.attempt.pending != nil {
		t.Error("a token that is never written is kept in memory")
	}
}

// TestForeignSecretThatIsHeldIsNeverTouched takes the name of the Secret by one that is being deleted.
func TestForeignSecretThatIsHeldIsNeverTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	foreign := &corev1.Secret{StringData: map[string]string{"mine": "yes"}}
	foreign.Namespace, foreign.Name = w.namespace, "orders-pipedream"
	must(t, w.admin.Create(t.Context(), foreign))
	hold(w, foreign)
	foreign = w.target()
	w.create()
	for range 3 {
		w.reconcile()
		w.pass(10 * time.Minute)
	}
	w.wantExchanges(0)
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretNotOwned)
	w.wantMessage(renewed, "is not the operator's; Secret `orders-pipedream` is being deleted, and is held by its finalizer `"+theirs+"`")
	if got := w.target(); got.ResourceVersion != foreign.ResourceVersion {
		t.Error("the foreign Secret was written")
	}
	release(w, w.target())
	w.reconcile()
	w.wantExchanges(1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

// TestSecretOfAPredecessorThatIsHeld deletes a PipedreamToken and creates it again, while a finalizer holds the
// Secret for longer than the operator waits for the garbage collector.
func TestSecretOfAPredecessorThatIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	change(w, w.target(), func(s *corev1.Secret) { s.Finalizers = []string{theirs} })
	must(t, w.admin.Delete(t.Context(), w.token()))
	harness.Wait{Patience: patience}.Eventually(t, "the garbage collector to delete the Secret", harness.Holds(func() bool {
		return w.target().DeletionTimestamp != nil
	}))
	held := w.target()
	w.create()
	w.reconcile()
	if got := w.token().Status; got.ObservedGeneration != 0 {
		t.Errorf("the first status was written at once: %+v", got)
	}
	for range 3 {
		w.pass(time.Minute)
		w.reconcile()
	}
	w.wantExchanges(1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantHeld("Secret `orders-pipedream` is being deleted")
	if got := w.target(); got.ResourceVersion != held.ResourceVersion {
		t.Error("the Secret was written")
	}
	w.events.Events = make(chan string, 1000)
	w.wantStanding()
	release(w, w.target())
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	if got := w.target(); !metav1.IsControlledBy(got, w.token()) {
		t.Errorf("the Secret is controlled by %v", got.OwnerReferences)
	}
}

// TestSecretOfAPredecessorThatTheCacheDoesNotShow has the operator find out by its write that the Secret is there.
func TestSecretOfAPredecessorThatTheCacheDoesNotShow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	change(w, w.target(), func(s *corev1.Secret) { s.Finalizers = []string{theirs} })
	must(t, w.admin.Delete(t.Context(), w.token()))
	harness.Wait{Patience: patience}.Eventually(t, "the garbage collector to delete the Secret", harness.Holds(func() bool {
		return w.target().DeletionTimestamp != nil
	}))
	held := w.target()
	w.create()
	w.reconciler.Cache = blindToSecret{Reader: w.admin, name: "orders-pipedream"}
	w.reconcile()
	w.wantExchanges(2)
	w.reconciler.Cache = w.admin
	for range 3 {
		w.pass(time.Minute)
		w.reconcile()
	}
	w.wantHeld("Secret `orders-pipedream` is being deleted")
	if got := w.target(); got.ResourceVersion != held.ResourceVersion {
		t.Error("the token was written to a Secret that is being deleted")
	}
	release(w, w.target())
	w.reconcile()
	w.wantExchanges(2)
	w.wantAccepted()
}

// deletingAPI has something deleted while Pipedream issues a token.
type deletingAPI struct {
	PipedreamAPI
	remove func()
}

func (a deletingAPI) Issue(ctx context.Context, credentials pipedream.Credentials, scopes []string) (pipedream.Token, error) {
	a.remove()
	return a.PipedreamAPI.Issue(ctx, credentials, scopes)
}

// TestTokenIsNotWrittenForAnObjectThatWasDeletedMeanwhile deletes the PipedreamToken while its request is on its way.
func TestTokenIsNotWrittenForAnObjectThatWasDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	removals := map[string]func(*world){
		"for good":       func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.token())) },
		"and it is held": func(w *world) { hold(w, w.token()) },
		"and is made anew": func(w *world) {
			must(w.T, w.admin.Delete(w.Context(), w.token()))
			w.create()
		},
		"and its Secret is orphaned": func(w *world) {
			must(w.T, w.admin.Delete(w.Context(), w.token(), client.PropagationPolicy(metav1.DeletePropagationOrphan)))
			harness.Wait{Patience: patience}.Eventually(w.T, "the PipedreamToken to go", harness.Holds(func() bool { return !w.hasToken() }))
		},
	}
	for name, remove := range removals {
		for when, isRenewal := range map[string]bool{"before its first token": false, "at its renewal": true} {
			t.Run(when+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				if isRenewal {
					w.issued()
					w.passUntil(w.token().Status.RenewalTime)
				} else {
					w.createCredentials()
					w.create()
				}
				before := w.exchanges()
				w.reconciler.Pipedream = deletingAPI{w.api, func() { remove(w) }}
				_, err := w.tryReconcile()
				must(t, err)
				w.wire.mu.Lock()
				got := w.wire.requests
				w.wire.mu.Unlock()
				if got["POST secrets"] > 0 || got["PUT secrets"] > 0 {
					t.Errorf("the token was written to a Secret that nobody owns: %v", got)
				}
				w.wantExchanges(before + 1)
			})
		}
	}
}

// TestTokenIsNotWrittenToASecretThatIsBeingDeletedMeanwhile deletes the Secret while a token request is on its way.
func TestTokenIsNotWrittenToASecretThatIsBeingDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
	w.reconciler.Pipedream = deletingAPI{w.api, func() { hold(w, w.target()) }}
	w.reconcile()
	w.reconciler.Pipedream = w.api
	old := w.target()
	for range 3 {
		w.pass(time.Minute)
		w.reconcile()
	}
	w.wantExchanges(2)
	w.wantHeld("Secret `orders-pipedream` is being deleted")
	if got := w.target(); got.ResourceVersion != old.ResourceVersion {
		t.Error("the token was written to a Secret that is being deleted")
	}
	release(w, old)
	w.reconcile()
	w.wantExchanges(2)
	w.wantAccepted()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
}

// TestForegroundDeletionIsNotHeldUp deletes a PipedreamToken as `kubectl delete --cascade=foreground` does, with the
// real garbage collector.
func TestForegroundDeletionIsNotHeldUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	must(t, w.admin.Delete(t.Context(), w.token(), client.PropagationPolicy(metav1.DeletePropagationForeground)))
	harness.Wait{Patience: patience, Every: 20 * time.Millisecond}.Eventually(t, "both to be gone", harness.Holds(func() bool {
		_, err := w.tryReconcile()
		must(t, err)
		return !w.hasToken() && !w.hasTarget()
	}))
	w.wantExchanges(1)
	// The Secret goes first. A reconcile between the two looks once whether it is gone, and says so.
	for call, count := range w.wire.requests {
		if count > 1 || call != "GET secrets" && call != "PATCH pipedreamtokens/status" {
			t.Errorf("the API server got %q %d times", call, count)
		}
	}
}

// TestForegroundDeletionThatASecretHoldsUp has the PipedreamToken wait for its Secret, and the Secret for a finalizer.
func TestForegroundDeletionThatASecretHoldsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	change(w, w.target(), func(s *corev1.Secret) {
		s.Finalizers = []string{theirs}
		s.OwnerReferences[0].BlockOwnerDeletion = new(true)
	})
	must(t, w.admin.Delete(t.Context(), w.token(), client.PropagationPolicy(metav1.DeletePropagationForeground)))
	harness.Wait{Patience: patience}.Eventually(t, "the garbage collector to delete the Secret", harness.Holds(func() bool {
		return w.target().DeletionTimestamp != nil
	}))
	w.wire.reset()
	w.reconcile()
	for range 100 {
		w.pass(2 * time.Second)
		w.reconcile()
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantHeld("PipedreamToken `orders` is being deleted, and is held by its finalizer `foregroundDeletion`; " +
		"Secret `orders-pipedream` is being deleted, and is held by its finalizer `" + theirs + "`, since ")
	w.wantExchanges(1)
	// One report after ten seconds, and one when it is Stalled.
	w.wantRequests(map[string]int{"GET secrets": 1, "PATCH pipedreamtokens/status": 2})
	release(w, w.target())
	harness.Wait{Patience: patience, Every: 20 * time.Millisecond}.Eventually(t, "both to be gone", harness.Holds(func() bool {
		_, err := w.tryReconcile()
		must(t, err)
		return !w.hasToken() && !w.hasTarget()
	}))
	w.wantExchanges(1)
}

// TestTokenOfASecretThatIsHeldIsVerified revokes the token of a Secret that is being deleted.
func TestTokenOfASecretThatIsHeldIsVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued(withVerification)
	w.pass(2 * time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	hold(w, w.target())
	w.reconcile()
	w.pipedream.RevokeAll()
	for range 3 {
		w.pass(2 * time.Minute)
		w.reconcile()
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionFalse, v1alpha1.ReasonTokenRevoked)
	w.wantHeld("Secret `orders-pipedream` is being deleted")
	w.wantExchanges(1)
	release(w, w.target())
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

// TestNothingIsVerifiedForAnObjectThatIsHeld checks that condition Verified stays as it was, and keeps nobody busy.
func TestNothingIsVerifiedForAnObjectThatIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued(withVerification)
	w.pass(2 * time.Minute)
	w.reconcile()
	verified := w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	calls := w.pipedream.Counters().Calls[simulator.EndpointAccounts]
	hold(w, w.token())
	begin := w.clock.Now()
	reconciles := 0
	for w.clock.Now().Sub(begin) < 40*time.Minute {
		w.sleepOn()
		reconciles++
	}
	if got := w.condition(v1alpha1.ConditionVerified); got == nil || *got != verified {
		t.Errorf("condition Verified is %+v, want %+v", got, verified)
	}
	if got := w.pipedream.Counters().Calls[simulator.EndpointAccounts]; got != calls {
		t.Errorf("Pipedream got %v calls, want %v", got, calls)
	}
	if reconciles > 14 {
		t.Errorf("%d reconciles in 40 minutes", reconciles)
	}
}

// TestSecondsOfADeletionCountByTheEarlierClock restarts the operator in the first seconds of a deletion, with a
// clock that agrees with the API server's.
func TestSecondsOfADeletionCountByTheEarlierClock(t *testing.T) {
	t.Parallel()
	for name, test := range dying {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.clock.SetTime(time.Now())
			w.issued()
			hold(w, test.object(w))
			at := test.object(w).GetDeletionTimestamp()
			w.clock.SetTime(at.Add(6 * time.Second))
			w.reconcile()
			w.restart()
			w.clock.SetTime(at.Add(11 * time.Second))
			w.reconcile()
			w.wantHeld(test.says + show(at))
			w.restart()
			w.clock.SetTime(at.Add(2*time.Minute - time.Second))
			w.reconcile()
			w.wantNoCondition(v1alpha1.ConditionStalled)
			w.pass(time.Second)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretTerminating)
			w.wantStanding()
		})
	}
}

// TestFailureBeforeADeletionIsNotItsBeginning deletes an object whose renewal has failed for long, and restarts the
// operator.
func TestFailureBeforeADeletionIsNotItsBeginning(t *testing.T) {
	t.Parallel()
	for name, test := range dying {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.clock.SetTime(time.Now().Add(-50 * time.Minute))
			w.issued()
			must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 503}))
			w.passUntil(w.token().Status.RenewalTime)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonEndpointUnavailable)
			hold(w, test.object(w))
			w.clock.SetTime(test.object(w).GetDeletionTimestamp().Add(20 * time.Second))
			w.reconcile()
			w.wantHeld(test.says)
			w.wantNoCondition(v1alpha1.ConditionStalled)
			w.events.Events = make(chan string, 1000)
			w.wantStanding()
		})
	}
}

// TestMetricsOfAnObjectThatIsHeld reads the metrics and the demand of a PipedreamToken that is being deleted.
func TestMetricsOfAnObjectThatIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	expires := w.token().Status.ExpirationTime
	hold(w, w.token())
	want := func(when string, isReady bool, reason string) {
		t.Helper()
		got := scrape(t, w.reconciler.Metrics)
		status := "False"
		if isReady {
			status = "True"
		}
		labels := `{name="orders",namespace="` + w.namespace + `"`
		for _, line := range []string{
			"pipedream_token_condition" + labels + `,reason="` + reason + `",status="` + status + `",type="Ready"} 1`,
			"pipedream_token_expiration_timestamp_seconds" + labels + "} " + number(expires),
		} {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("%s: the metrics have no line %s:\n%s", when, line, got)
			}
		}
		if strings.Contains(got, "pipedream_token_renewal_timestamp_seconds{") {
			t.Errorf("%s: the metrics show when the token is renewed, and it is not:\n%s", when, got)
		}
	}
	want("at once", true, v1alpha1.ReasonTokenValid)
	if got := demandOf([]v1alpha1.PipedreamToken{*w.token()}); got != 0 {
		t.Errorf("the demand is %v a second, want none", got)
	}
	w.reconcile()
	w.pass(time.Minute)
	w.reconcile()
	want("after a minute", true, v1alpha1.ReasonTokenValid)
	if got := w.token().Status.RenewalTime; got != nil {
		t.Errorf("renewalTime is %v, and the token is not renewed", got)
	}
	w.passUntil(expires)
	w.reconcile()
	want("after its expiry", false, v1alpha1.ReasonTokenExpired)
	release(w, w.token())
	if got := scrape(t, w.reconciler.Metrics); strings.Contains(got, `name="orders"`) {
		t.Errorf("the metrics tell of an object that is gone:\n%s", got)
	}
}

// TestDeletionIsNoticedByTheWatches runs the manager with its caches and watches. What holds the object changes after
// ten seconds.
func TestDeletionIsNoticedByTheWatches(t *testing.T) {
	t.Parallel()
	for name, test := range dying {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.startManager(nil)
			w.createCredentials()
			w.create()
			w.eventually("Ready", w.isReady)
			holdNamed(w, test.object(w), metav1.DeletePropagationBackground, theirs, "example.com/other")
			isNamed := func(finalizers string) func() bool {
				return func() bool {
					renewed := w.condition(v1alpha1.ConditionRenewed)
					return renewed.Reason == v1alpha1.ReasonSecretTerminating && strings.Contains(renewed.Message, finalizers+", since ")
				}
			}
			w.eventually("the finalizers are named", func() bool {
				w.pass(time.Second)
				return isNamed("`" + theirs + "`, `example.com/other`")()
			})
			change(w, test.object(w), func(o client.Object) { o.SetFinalizers([]string{theirs}) })
			w.eventually("the last finalizer is named", isNamed("its finalizer `"+theirs+"`"))
			w.wantExchanges(1)
			isToken := test.object(w).GetName() == "orders"
			release(w, test.object(w))
			if isToken {
				harness.Wait{Patience: patience}.Eventually(t, "the Secret to go with its PipedreamToken", harness.Holds(func() bool { return !w.hasTarget() }))
				w.wantExchanges(1)
				return
			}
			w.eventually("the Secret is made anew", func() bool { return w.isReady() && w.exchanges() == 2 && w.hasTarget() })
		})
	}
}

// TestSecretsOfOthersThatAreHeldAreSeenThroughTheCache runs the manager, whose cache keeps little of a foreign Secret.
func TestSecretsOfOthersThatAreHeldAreSeenThroughTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startManager(nil)
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "orders-pipedream"}}
	must(t, w.admin.Create(t.Context(), foreign))
	hold(w, foreign)
	w.createCredentials()
	w.create()
	w.eventually("the finalizer is named", func() bool {
		renewed := w.condition(v1alpha1.ConditionRenewed)
		return renewed != nil && renewed.Reason == v1alpha1.ReasonSecretNotOwned && strings.Contains(renewed.Message, "`"+theirs+"`")
	})
	release(w, foreign)
	w.eventually("Ready", w.isReady)
	w.wantExchanges(1)
}
