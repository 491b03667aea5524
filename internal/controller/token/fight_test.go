// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

// rewrite changes the data of the target, as another controller that thinks the
// Secret is its own.
func (w *world) rewrite(round int) {
	w.Helper()
	target := w.target()
	target.Data["access_token"] = fmt.Appendf(nil, "theirs, round %d", round)
	must(w.T, w.admin.Update(w.Context(), target, client.FieldOwner("their-controller")))
}

func TestFightOverTheSecretIsSpacedAndSaysWithWhom(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)

	// Ten times a second, for half a minute.
	for round := range 300 {
		w.rewrite(round)
		w.reconcile()
		w.pass(100 * time.Millisecond)
	}
	// At 0, 10 and 30 s.
	if got := w.exchanges() - 1; got < 2 || got > 3 {
		t.Errorf("in half a minute of fight %d tokens were issued, want 2 or 3", got)
	}
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
	if !strings.Contains(renewed.Message, `"their-controller"`) {
		t.Errorf("Renewed does not say with whom: %s", renewed.Message)
	}
	ready := w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
	if !strings.Contains(ready.Message, "Somebody has changed the Secret") {
		t.Errorf("Ready does not say what has happened: %s", ready.Message)
	}

	// For an hour more, whenever the Secret was written.
	w.wire.reset()
	before := w.exchanges()
	for end := w.clock.Now().Add(time.Hour); w.clock.Now().Before(end); {
		w.rewrite(int(w.clock.Now().Unix()))
		w.pass(w.reconcile().RequeueAfter)
	}
	if got := w.exchanges() - before; got < 10 || got > 16 {
		t.Errorf("in an hour of fight %d tokens were issued, want one each five minutes in the end", got)
	}

	// When the other one gives up, one token settles it.
	w.rewrite(0)
	w.reconcile()
	w.pass(5 * time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantAccepted()
}

func TestFightThatMakesTheTokenLookOldIsSpaced(t *testing.T) {
	at := func(w *world, after time.Duration) string { return w.clock.Now().Add(after).UTC().Format(time.RFC3339) }
	tests := map[string]struct {
		// age is that of the copy that is put back.
		age  time.Duration
		edit func(w *world, target, old *corev1.Secret)
	}{
		"by an expired copy": {age: 2 * time.Hour, edit: func(_ *world, target, old *corev1.Secret) {
			target.Data, target.Annotations = old.Data, old.Annotations
		}},
		"by a copy that is due": {age: 45 * time.Minute, edit: func(_ *world, target, old *corev1.Secret) {
			target.Data, target.Annotations = old.Data, old.Annotations
		}},
		"by a record of the past": {age: time.Minute, edit: func(w *world, target, _ *corev1.Secret) {
			target.Annotations[v1alpha1.IssuedAtAnnotation] = at(w, -2*time.Hour)
			target.Annotations[v1alpha1.ExpiresAtAnnotation] = at(w, -time.Hour)
		}},
		"by a record of the future": {age: time.Minute, edit: func(w *world, target, _ *corev1.Secret) {
			target.Annotations[v1alpha1.IssuedAtAnnotation] = at(w, 10*time.Minute)
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			old := w.target()
			w.pass(test.age)
			w.reconcile()
			w.pass(time.Minute)
			before := w.exchanges()
			for range 100 {
				target := w.target()
				test.edit(w, target, old)
				must(t, w.admin.Update(t.Context(), target, client.FieldOwner("their-controller")))
				w.reconcile()
				w.pass(6 * time.Second)
			}
			// At 0, 10, 30, 70, 150, 310 and 610 s at the soonest.
			if got := w.exchanges() - before; got < 4 || got > 7 {
				t.Errorf("in ten minutes of fight %d tokens were issued, want fewer and fewer", got)
			}
			renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
			if !strings.Contains(renewed.Message, `"their-controller"`) {
				t.Errorf("Renewed does not say with whom: %s", renewed.Message)
			}
		})
	}
}

// TestWhoPutsBackAnOldSecretIsNamed has a copier put back a Secret as it was before somebody asked for
// another token. Nothing in the Secret looks edited, and for each reason it is not what is asked for now.
func TestWhoPutsBackAnOldSecretIsNamed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec func(*v1alpha1.PipedreamToken)
		ask  func(*world)
	}{
		"it has other scopes": {ask: func(w *world) {
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = []string{"connect:*"} })
		}},
		"it is from before a request to renew": {ask: func(w *world) {
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
				p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
			})
		}},
		"it is for other credentials": {ask: func(w *world) {
			must(w.T, w.pipedream.SetClient("client-two", "another-secret"))
			change(w, w.secret("credentials"), func(s *corev1.Secret) {
				s.Data["client_id"], s.Data["client_secret"] = []byte("client-two"), []byte("another-secret")
			})
		}},
		"it is of other templates": {
			spec: withData(withoutTokenKey),
			ask: func(w *world) {
				change(w, w.token(), withData(templates{"header": `{{ .TokenType }}: {{ .AccessToken }}`}))
			},
		},
		"it is from before the Secret was deleted, and from before other scopes": {ask: func(w *world) {
			must(w.T, w.admin.Delete(w.Context(), w.target()))
			w.reconcile()
			w.pass(time.Minute)
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = []string{"connect:*"} })
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create(func(p *v1alpha1.PipedreamToken) {
				if test.spec != nil {
					test.spec(p)
				}
			})
			w.reconcile()
			old := w.target()
			w.pass(time.Minute)
			test.ask(w)
			w.reconcile()
			w.pass(time.Minute)
			before := w.exchanges()
			for range 60 {
				target := w.target()
				target.Data, target.Annotations = old.Data, old.Annotations
				must(t, w.admin.Update(t.Context(), target, client.FieldOwner("their-copier")))
				w.reconcile()
				w.pass(6 * time.Second)
			}
			if got := w.exchanges() - before; got < 3 || got > 6 {
				t.Errorf("in six minutes %d tokens were issued, want fewer and fewer", got)
			}
			renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionUnknown, v1alpha1.ReasonQueued)
			w.wantMessage(renewed, `The field manager "their-copier" has changed the Secret.`)
			// When the copier gives up, nobody is named any longer.
			w.pass(10 * time.Minute)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			if got := w.condition(v1alpha1.ConditionRenewed); strings.Contains(got.Message, "their-copier") {
				t.Errorf("Renewed still says: %s", got.Message)
			}
		})
	}
}

func TestOneWhoOnlyLabelsIsNotTakenForTheEditor(t *testing.T) {
	at := func(second int64) *metav1.Time { return &metav1.Time{Time: time.Unix(second, 0)} }
	entry := func(manager string, second int64, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Time: at(second), FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const data, labels = `{"f:data":{"f:access_token":{}}}`, `{"f:metadata":{"f:labels":{}}}`
	tests := map[string]struct {
		managers []metav1.ManagedFieldsEntry
		want     string
	}{
		"nobody but us":               {managers: []metav1.ManagedFieldsEntry{entry(ownedsecret.FieldOwner, 9, data)}},
		"the last who changed data":   {managers: []metav1.ManagedFieldsEntry{entry("old", 1, data), entry("new", 2, data), entry(ownedsecret.FieldOwner, 9, data)}, want: "new"},
		"data counts more than age":   {managers: []metav1.ManagedFieldsEntry{entry("editor", 1, data), entry("labeller", 2, labels)}, want: "editor"},
		"one who has removed a key":   {managers: []metav1.ManagedFieldsEntry{entry(ownedsecret.FieldOwner, 9, data), entry("remover", 2, labels)}, want: "remover"},
		"an entry without its fields": {managers: []metav1.ManagedFieldsEntry{{Manager: "unknown"}}, want: "unknown"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ManagedFields: test.managers}}
			if got := ownedsecret.Editor(secret); got != test.want {
				t.Errorf("the editor is %q, want %q", got, test.want)
			}
		})
	}
}

func TestDeletedSecretInATerminatingNamespaceCostsNoExchange(t *testing.T) {
	w := newWorld(t)
	w.issued()
	w.pass(time.Minute)
	// A finalizer keeps the credentials while the namespace is being deleted.
	change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Finalizers = []string{"example.com/kept"} })
	token := w.token()
	token.Finalizers = []string{"example.com/kept"}
	must(t, w.admin.Update(t.Context(), token))
	held := w.token()
	must(t, w.admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}))
	defer func() {
		change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Finalizers = nil })
		change(w, w.token(), func(token *v1alpha1.PipedreamToken) { token.Finalizers = nil })
	}()
	w.eventually("the Secret is collected", func() bool { return !w.hasTarget() })
	// What the operator sees when the PipedreamToken's own turn has not come yet.
	w.reconciler.Cache = staleTokens{Reader: w.admin, token: held}
	w.wire.reset()
	for range 3 {
		w.pass(time.Minute)
		w.reconcile()
	}
	w.wantExchanges(1)
}

// staleTokens shows a PipedreamToken as it once was.
type staleTokens struct {
	client.Reader
	token *v1alpha1.PipedreamToken
}

func (s staleTokens) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if token, ok := object.(*v1alpha1.PipedreamToken); ok {
		s.token.DeepCopyInto(token)
		return nil
	}
	return s.Reader.Get(ctx, key, object, options...)
}

// fightOverALabel changes a label of the spec whenever it was put back, for longer than
// it takes until it is put back each five minutes only.
func (w *world) fightOverALabel() {
	w.Helper()
	for range 320 {
		if target := w.target(); target.Labels["team"] == "orders" {
			target.Labels["team"] = "billing"
			must(w.T, w.admin.Update(w.Context(), target, client.FieldOwner("their-controller")))
		}
		w.reconcile()
		w.pass(time.Second)
	}
	w.wantExchanges(1)
}

func TestFightOverALabelDelaysNoToken(t *testing.T) {
	tests := map[string]func(*world){
		"when the Secret is deleted": func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.target())) },
		"when other scopes are asked for": func(w *world) {
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = []string{"connect:*"} })
		},
	}
	for name, asks := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued(withTeam)
			w.fightOverALabel()
			asks(w)
			w.reconcile()
			w.wantExchanges(2)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		})
	}
}

func TestFightOverALabelSaysWithWhom(t *testing.T) {
	w := newWorld(t)
	w.issued(withTeam)
	w.fightOverALabel()
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	if !strings.Contains(renewed.Message, `"their-controller"`) {
		t.Errorf("Renewed does not say with whom: %s", renewed.Message)
	}
	w.pass(5 * time.Minute)
	w.reconcile()
	renewed = w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	if strings.Contains(renewed.Message, "their-controller") || w.target().Labels["team"] != "orders" {
		t.Errorf("when the other one has given up, the labels are %v, and Renewed says: %s", w.target().Labels, renewed.Message)
	}
}
