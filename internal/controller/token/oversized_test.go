// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// ofOthers is what others put on a Secret.
type ofOthers struct{ labels, annotations, finalizers, owners int }

func (o ofOthers) add(w *world, secret *corev1.Secret) {
	w.Helper()
	if secret.Labels == nil {
		secret.Labels = map[string]string{}
	}
	for i := range o.labels {
		secret.Labels[fmt.Sprintf("example.com/label-%d", i)] = "theirs"
	}
	for i := range o.annotations {
		secret.Annotations[fmt.Sprintf("example.com/note-%d", i)] = strings.Repeat("theirs ", 1000)
	}
	for i := range o.finalizers {
		secret.Finalizers = append(secret.Finalizers, fmt.Sprintf("example.com/hold-%d", i))
	}
	owner := w.secret("credentials") // Anything that is not collected.
	for range o.owners {
		secret.OwnerReferences = append(secret.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "Secret", Name: owner.Name, UID: owner.UID})
	}
}

// wantKept checks that everything of others is still on the Secret.
func (w *world) wantKept(before, after *corev1.Secret) {
	w.Helper()
	for key, value := range before.Labels {
		if strings.HasPrefix(key, "example.com/") && after.Labels[key] != value {
			w.Fatalf("the label %s of others is lost", key)
		}
	}
	for key, value := range before.Annotations {
		if strings.HasPrefix(key, "example.com/") && after.Annotations[key] != value {
			w.Fatalf("the annotation %s of others is lost", key)
		}
	}
	if !slices.Equal(before.Finalizers, after.Finalizers) {
		w.Errorf("of %d finalizers %d are left", len(before.Finalizers), len(after.Finalizers))
	}
	if len(before.OwnerReferences) != len(after.OwnerReferences) || metav1.GetControllerOf(after) == nil {
		w.Errorf("of %d owner references %d are left", len(before.OwnerReferences), len(after.OwnerReferences))
	}
	if slices.ContainsFunc(slices.Collect(maps.Keys(after.Annotations)), func(key string) bool { return strings.HasPrefix(key, "/") }) {
		w.Error("a mark of the cache has come to the API server")
	}
}

// holdings are what others may put on a Secret, and whether the cache holds all of it.
var holdings = map[string]struct {
	ofOthers
	isOversized bool
}{
	"little":            {ofOthers{3, 0, 1, 1}, false},
	"a long note":       {ofOthers{0, 1, 0, 0}, true},
	"250 kB of notes":   {ofOthers{2, 34, 1, 1}, true},
	"many labels":       {ofOthers{500, 0, 0, 0}, true},
	"many finalizers":   {ofOthers{0, 0, 500, 0}, true},
	"some of each":      {ofOthers{100, 2, 20, 1}, true},
	"nothing of theirs": {ofOthers{}, false},
}

// TestWhatOthersHaveSetSurvives renews, rewrites and repairs Secrets with little and with much of
// others on them, after a restart, which knows only what the cache shows.
func TestWhatOthersHaveSetSurvives(t *testing.T) {
	t.Parallel()
	for name, holding := range holdings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued(withTeam)
			w.pass(time.Minute)
			target := w.target()
			holding.add(w, target)
			must(t, w.admin.Update(t.Context(), target))
			defer func() { change(w, w.target(), func(s *corev1.Secret) { s.Finalizers = nil }) }()
			before := w.target()
			w.reconcile()
			w.wantExchanges(1) // What others set is no edit.

			w.restart()
			w.wire.reset()
			w.reconcile()
			w.wantRequests(map[string]int{}) // And a restart costs nothing.

			w.passUntil(w.token().Status.RenewalTime)
			w.reconcile()
			w.wantExchanges(2)
			requests := map[string]int{"GET secrets": 1, "PUT secrets": 1, "PATCH pipedreamtokens/status": 1}
			if holding.isOversized {
				requests["GET secrets"] = 2
			}
			w.wantRequests(requests)
			w.wantKept(before, w.target())

			// The spec's label is taken away: the Secret is written again, with the same token.
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Secret.Labels = nil })
			w.reconcile()
			if _, isThere := w.target().Labels["team"]; isThere {
				t.Error("a label that was removed from the spec is still on the Secret")
			}
			w.wantKept(before, w.target())

			// Somebody edits the token: a new one comes, and all else stays.
			w.pass(time.Minute)
			w.rewrite(1)
			w.reconcile()
			w.wantExchanges(3)
			w.wantKept(before, w.target())
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantAccepted()
		})
	}
}

// TestAnEditOfAnOversizedSecretIsSeen has somebody change the record or a label of the spec.
func TestAnEditOfAnOversizedSecretIsSeen(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit      func(*corev1.Secret)
		exchanges int
	}{
		"a label of the spec": {func(s *corev1.Secret) { s.Labels["team"] = "theirs" }, 1},
		"the record":          {func(s *corev1.Secret) { s.Annotations[v1alpha1.GrantedScopeAnnotation] = "connect:*" }, 2},
		"a long record":       {func(s *corev1.Secret) { s.Annotations[v1alpha1.ScopesAnnotation] = strings.Repeat("x ", 20000) }, 2},
		"the data":            {func(s *corev1.Secret) { s.Data["access_token"] = []byte("theirs") }, 2},
		"nothing of ours":     {func(s *corev1.Secret) { s.Labels["example.com/other"] = "theirs" }, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued(withTeam)
			change(w, w.target(), ofOthers{labels: 100, annotations: 10}.addTo(w))
			w.reconcile()
			w.restart()
			w.pass(time.Minute)
			before := w.target()
			change(w, w.target(), test.edit)
			w.reconcile()
			w.wantExchanges(test.exchanges)
			after := w.target()
			if after.Labels["team"] != "orders" {
				t.Errorf("the label of the spec is %q", after.Labels["team"])
			}
			w.wantKept(before, after)
			w.wantAccepted()
			if !layout.IsIntact(after) {
				t.Error("the Secret is not intact")
			}
		})
	}
}

func (o ofOthers) addTo(w *world) func(*corev1.Secret) {
	return func(s *corev1.Secret) { o.add(w, s) }
}

// TestAnOversizedSecretThatChangesBeforeTheWrite loses nothing that came between the read and the write.
func TestAnOversizedSecretThatChangesBeforeTheWrite(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(*world){
		"another label": func(w *world) {
			change(w, w.target(), func(s *corev1.Secret) { s.Labels["example.com/late"] = "theirs" })
		},
		"deleted": func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.target())) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			change(w, w.target(), ofOthers{labels: 100, annotations: 10}.addTo(w))
			w.reconcile()
			w.passUntil(w.token().Status.RenewalTime)
			reads := 0
			var want *corev1.Secret
			w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
				if call == "GET secrets" {
					if reads++; reads == 2 { // The first one is of the credentials.
						meanwhile(w)
						if w.hasTarget() {
							want = w.target()
						}
					}
				}
				return forward()
			})
			w.reconcile()
			w.wire.cut(nil)
			w.wantExchanges(2)
			if want != nil {
				w.wantKept(want, w.target())
			}
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			w.wantAccepted()
		})
	}
}

// TestAnOversizedSecretThatCantBeRead keeps the issued token until the Secret can be read and written.
func TestAnOversizedSecretThatCantBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	change(w, w.target(), ofOthers{labels: 100, annotations: 10}.addTo(w))
	w.reconcile()
	before := w.target()
	w.passUntil(w.token().Status.RenewalTime)
	reads := 0
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "GET secrets" {
			if reads++; reads > 1 { // The first one is of the credentials.
				return forbidden(t), nil
			}
		}
		return forward()
	})
	for range 3 {
		_, _ = w.tryReconcile()
		w.pass(time.Minute)
	}
	if got := w.condition(v1alpha1.ConditionRenewed); got.Reason == v1alpha1.ReasonSecretWriteRefused {
		t.Errorf("a Secret that can't be read is said to be refused: %s", got.Message)
	}
	w.wire.cut(nil)
	w.pass(5 * time.Minute)
	w.reconcile()
	w.wantExchanges(2)
	w.wantKept(before, w.target())
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	w.wantAccepted()
}

// TestALongRequestToRenewIsAnsweredOnce holds for any length of the value, and after a restart.
func TestALongRequestToRenewIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	long := strings.Repeat("now ", 50000)
	for i := range 2 {
		change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
			p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: long + fmt.Sprint(i), "example.com/note": "x"}
		})
		for range 3 {
			w.reconcile()
			w.restart()
			w.pass(time.Minute)
		}
		w.wantExchanges(i + 2)
	}
	if got := len(w.target().Annotations[v1alpha1.RenewRequestAnnotation]); got > 1024 {
		t.Errorf("the record of the request has %d bytes", got)
	}
}
