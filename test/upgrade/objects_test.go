//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const clientSecret = "the-client-secret"

// object is a PipedreamToken of the test, with the Secrets and the OAuth client that belong to it.
type object struct {
	*state
	namespace, name string
	// manifest is what its user has applied last.
	manifest *v1alpha1.PipedreamToken

	// judgedFrom is when it has reached its state. From then on each request about it must have a reason.
	judgedFrom time.Time
	// baseline is how it was at a time at which all was as it should be.
	baseline   *sight
	baselineAt time.Time
	// excuses are the times in which the test has changed something, until the operator had dealt with that.
	excuses []excuse
	// adapts tells that its status holds reasons that the version which runs now does not know. It may write another status.
	adapts bool
	// judgedSights is how many changes of it were judged already.
	judgedSights int
	// retired tells that the test has deleted it, and that nothing about it matters any longer.
	retired atomic.Bool
}

type excuse struct{ from, to time.Time }

func (o *object) String() string { return o.namespace + "/" + o.name }
func (o *object) key() types.NamespacedName {
	return types.NamespacedName{Namespace: o.namespace, Name: o.name}
}
func (o *object) secretName() string      { return o.manifest.TargetName() }
func (o *object) credentialsName() string { return o.name + "-credentials" }
func (o *object) client() string          { return o.namespace + "." + o.name }
func (o *object) isRetired() bool         { return o.retired.Load() }

func (o *object) isJudged(at time.Time) bool {
	return !o.judgedFrom.IsZero() && !at.Before(o.judgedFrom) && !o.isRetired() &&
		!slices.ContainsFunc(o.excuses, func(e excuse) bool { return !at.Before(e.from) && !at.After(e.to) })
}

// excuse begins a time in which requests about the object need no other reason.
func (o *object) excuse() { o.excuses = append(o.excuses, excuse{time.Now(), never}) }

// accuse ends that time: the operator has done what the test asked for, and may still send an Event.
func (o *object) accuse() { o.excuses[len(o.excuses)-1].to = time.Now().Add(aftermath) }

// all returns the objects; it is safe for concurrent use.
func (s *site) all() []*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.objects)
}

func (s *site) ofClient(id string) *object {
	for _, o := range s.objects {
		if o.client() == id {
			return o
		}
	}
	return nil
}

// live returns the objects that were not retired.
func (s *site) live() []*object {
	return slices.DeleteFunc(s.all(), (*object).isRetired)
}

// make creates an object in a state: the credentials first, then the PipedreamToken.
func (s *site) make(namespace, name string, kind *state) *object {
	s.Helper()
	o := &object{state: kind, namespace: namespace, name: name}
	o.manifest = &v1alpha1.PipedreamToken{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "PipedreamToken"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: kind.annotations, Finalizers: kind.finalizers},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: o.credentialsName()},
			Scopes:          []string{"connect:accounts:read"},
			ProjectID:       "proj_upgrade",
		},
	}
	if kind.spec != nil {
		kind.spec(&o.manifest.Spec)
	}
	s.mu.Lock()
	s.objects = append(s.objects, o)
	s.mu.Unlock()
	harness.Must(s.T, s.pipedream.SetClient(o.client(), clientSecret))
	data := map[string]string{"client_id": o.client(), "client_secret": clientSecret}
	if kind.credentials != nil {
		data = kind.credentials(o)
	}
	if data != nil {
		harness.Must(s.T, s.admin.Create(s.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: o.credentialsName()}, StringData: data,
		}))
	}
	if kind.prepare != nil {
		kind.prepare(s, o)
	}
	s.apply(o)
	return o
}

// apply applies the manifest of an object by server-side apply, as Flux and Argo CD do, and returns the generation.
func (s *site) apply(o *object) int64 {
	s.Helper()
	content := toUnstructured(s.T, o.manifest)
	unstructured.RemoveNestedField(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	applied := &unstructured.Unstructured{Object: content}
	harness.Must(s.T, s.admin.Apply(s.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("gitops")))
	return applied.GetGeneration()
}

func toUnstructured(t *testing.T, token *v1alpha1.PipedreamToken) map[string]any {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(token)
	harness.Must(t, err)
	return content
}

// change applies another manifest.
func (s *site) change(o *object, edit func(*v1alpha1.PipedreamTokenSpec)) {
	s.Helper()
	edit(&o.manifest.Spec)
	s.apply(o)
}

// requestRenewal asks for another token, as `kubectl annotate` does.
func (s *site) requestRenewal(o *object, value string) {
	s.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.RenewRequestAnnotation, value)
	token := &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name}}
	harness.Must(s.T, s.admin.Patch(s.Context(), token, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// touch changes a Secret in a way that matters to nobody: it gets a label with a value.
func (s *site) touch(namespace, name, value string) {
	s.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	patch := fmt.Sprintf(`{"metadata":{"labels":{"seen-by":%q}}}`, value)
	harness.Must(s.T, s.admin.Patch(s.Context(), secret, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// rotate changes the client secret of an object, at Pipedream and in the cluster.
func (s *site) rotate(o *object) {
	s.Helper()
	const rotated = "the-rotated-client-secret"
	harness.Must(s.T, s.pipedream.SetClient(o.client(), rotated))
	s.writeClientSecret(o, rotated)
}

// writeClientSecret changes the client secret of an object in the cluster only.
func (s *site) writeClientSecret(o *object, value string) {
	s.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.credentialsName()}}
	patch := fmt.Sprintf(`{"stringData":{"client_secret":%q}}`, value)
	harness.Must(s.T, s.admin.Patch(s.Context(), secret, client.RawPatch(types.MergePatchType, []byte(patch))))
}

func (s *site) deleteCredentials(o *object) {
	s.Helper()
	harness.Must(s.T, s.admin.Delete(s.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.credentialsName()}}))
}

func (s *site) deleteToken(o *object, how metav1.DeletionPropagation) {
	s.Helper()
	token := &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name}}
	harness.Must(s.T, client.IgnoreNotFound(s.admin.Delete(s.Context(), token, client.PropagationPolicy(how))))
}

// releaseToken takes the finalizers off an object that is being deleted, so that it is gone and no status is written for it.
func (s *site) releaseToken(o *object) {
	s.Helper()
	token := &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.name}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	harness.Must(s.T, client.IgnoreNotFound(s.admin.Patch(s.Context(), token, patch)))
}

// wrong returns what is not as the state of an object asks for; nothing when all is.
func (s *site) wrong(o *object) string {
	seen := s.observer.last(o)
	if o.arrived != nil {
		if problem := o.arrived(s, o, seen); problem != "" {
			return problem
		}
	}
	isGone := seen.token == nil || seen.token.DeletionTimestamp != nil // A deletion counts as another generation.
	for kind, reasons := range map[string][]string{
		v1alpha1.ConditionReady: o.ready, v1alpha1.ConditionRenewed: o.renewed, v1alpha1.ConditionVerified: o.verified,
	} {
		is := seen.condition(kind)
		// The condition Verified is of the generation for which a token was verified last.
		isOfAnother := !isGone && kind != v1alpha1.ConditionVerified && is.ObservedGeneration != seen.token.Generation
		if len(reasons) > 0 && (!slices.Contains(reasons, is.Reason) || isOfAnother) {
			return fmt.Sprintf("the condition %s is %s %s of generation %d, and its reason must be one of %q", kind, is.Status, is.Reason, is.ObservedGeneration, reasons)
		}
	}
	return ""
}

// await waits until an object is in its state.
func (s *site) await(o *object) {
	s.Helper()
	s.eventually(o.String()+" has reached its state", func() string {
		problem := s.wrong(o)
		if problem != "" {
			return problem + "; its status:\n" + statusOf(s.observer.last(o))
		}
		return ""
	})
}

// awaitReady waits until an object has its first token.
func (s *site) awaitReady(o *object) {
	s.Helper()
	s.eventually(o.String()+" has its first token", func() string {
		if is := s.observer.last(o).condition(v1alpha1.ConditionReady); is.Reason != v1alpha1.ReasonTokenValid {
			return "its condition Ready says " + is.Reason + ": " + is.Message
		}
		return ""
	})
}

func (s *site) createNamespace(name string) {
	s.Helper()
	harness.Must(s.T, s.admin.Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
}

// populate creates an object of each state in a namespace, and returns when all of them are in their states. From then
// on they are judged.
func (s *site) populate(namespace string) {
	s.Helper()
	began := time.Now()
	s.createNamespace(namespace)
	var made []*object
	for _, kind := range states() {
		made = append(made, s.make(namespace, kind.name, kind))
	}
	for _, o := range made {
		if o.disturb != nil {
			s.awaitReady(o)
			o.disturb(s, o)
		}
	}
	s.observer.awaitLook()
	for _, o := range made {
		s.await(o)
	}
	// What was seen last may still be followed by an Event.
	time.Sleep(rounding)
	s.observer.awaitLook()
	for _, o := range made {
		s.beginJudging(o)
	}
	s.Logf("%s: %d objects in %s are in their states after %s", time.Now().Format(time.TimeOnly), len(made), namespace, time.Since(began).Round(time.Second))
}

func (s *site) beginJudging(o *object) {
	history, _ := s.observer.sights(o)
	o.judgedFrom, o.judgedSights = time.Now(), len(history)-1
	o.baseline, o.baselineAt = s.observer.last(o), o.judgedFrom
}
