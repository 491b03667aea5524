// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// recordLayout is a layout like the one of PipedreamTokens.
var recordLayout = Layout{v1alpha1.OwnerAnnotation, v1alpha1.ScopesAnnotation, v1alpha1.LabelsAnnotation, v1alpha1.AnnotationsAnnotation}

// ours returns a Secret as the operator writes it for a spec with labels and annotations.
func ours() *corev1.Secret {
	secret := recordLayout.Build(token, nil, Desired{
		Record:      map[string]string{v1alpha1.ScopesAnnotation: "connect:accounts:read", v1alpha1.RenewRequestAnnotation: "now"},
		Labels:      map[string]string{"tier": "one"},
		Annotations: map[string]string{"note": strings.Repeat("long ", 200)},
	})
	secret.UID, secret.ResourceVersion = "uid", "7"
	return secret
}

// sizeOfAll returns about how much memory metadata take.
func sizeOfAll(kept *metav1.ObjectMeta) int { return sizeOf(kept, kept.Labels, kept.Annotations) }

// TestAWriteFromBoundedMetadataIsTheSameAsFromAll holds for a Secret with little of others.
func TestAWriteFromBoundedMetadataIsTheSameAsFromAll(t *testing.T) {
	t.Parallel()
	whole := ours()
	whole.Labels["team"], whole.Annotations["example.com/owner"] = "shop", "Jane"
	whole.Annotations["pipedream-operator.io/of-a-later-version"] = "something"
	whole.Annotations[corev1.LastAppliedConfigAnnotation] = strings.Repeat("in clear ", 1000)
	whole.Finalizers = []string{"example.com/hold"}
	whole.OwnerReferences = append(whole.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "other", UID: "9"})
	kept := Bounded(&whole.ObjectMeta)
	for name, desired := range map[string]Desired{
		"the same":   {Labels: map[string]string{"tier": "two"}, Annotations: map[string]string{"note": "b"}},
		"less":       {},
		"a takeover": {Labels: map[string]string{"team": "mine"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := recordLayout.Build(token, &metav1.PartialObjectMetadata{ObjectMeta: whole.ObjectMeta}, desired)
			got := recordLayout.Build(token, &metav1.PartialObjectMetadata{ObjectMeta: kept}, desired)
			if !equality.Semantic.DeepEqual(got, want) {
				t.Errorf("from bounded metadata it writes\n%+v\nwant\n%+v", got, want)
			}
		})
	}
	if _, isIncomplete := kept.Annotations[incompleteMark]; isIncomplete {
		t.Error("little of others makes the metadata incomplete")
	}
}

func TestBoundedMetadataIsSmall(t *testing.T) {
	t.Parallel()
	junk := strings.Repeat("x", 200<<10)
	tests := map[string]struct {
		fill func(*corev1.Secret)
		// isWhole is true if nothing of others is missing.
		isWhole bool
	}{
		"a long annotation":               {fill: func(s *corev1.Secret) { s.Annotations["junk"] = junk }},
		"many annotations":                {fill: func(s *corev1.Secret) { fillWith(s.Annotations, "junk-", 5000) }},
		"many annotations of our domain":  {fill: func(s *corev1.Secret) { fillWith(s.Annotations, "pipedream-operator.io/junk-", 5000) }},
		"a long annotation of our domain": {fill: func(s *corev1.Secret) { s.Annotations["pipedream-operator.io/junk"] = junk }},
		"many labels":                     {fill: func(s *corev1.Secret) { fillWith(s.Labels, "junk-", 5000) }},
		"many finalizers": {fill: func(s *corev1.Secret) {
			for i := range 5000 {
				s.Finalizers = append(s.Finalizers, fmt.Sprintf("example.com/%d", i))
			}
		}},
		"many owners": {fill: func(s *corev1.Secret) {
			for range 5000 {
				s.OwnerReferences = append(s.OwnerReferences, metav1.OwnerReference{Kind: "ConfigMap", Name: "other", UID: "9"})
			}
		}},
		"managed fields":         {isWhole: true, fill: func(s *corev1.Secret) { s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: junk}} }},
		"a copy by kubectl":      {isWhole: true, fill: func(s *corev1.Secret) { s.Annotations[corev1.LastAppliedConfigAnnotation] = junk }},
		"a long request":         {isWhole: true, fill: func(s *corev1.Secret) { s.Annotations[v1alpha1.RenewRequestAnnotation] = junk }},
		"a long record":          {fill: func(s *corev1.Secret) { s.Annotations[v1alpha1.ScopesAnnotation] = junk }},
		"a long list of labels":  {isWhole: true, fill: func(s *corev1.Secret) { s.Annotations[v1alpha1.LabelsAnnotation] = junk }},
		"a long list of its own": {isWhole: true, fill: func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationsAnnotation] = junk }},
		"every record is long": {fill: func(s *corev1.Secret) {
			for key := range longestValues {
				s.Annotations[key] = junk
			}
		}},
		"every record is as long as it may be": {isWhole: true, fill: func(s *corev1.Secret) {
			for key, longest := range longestValues {
				s.Annotations[key] = junk[:longest]
			}
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := ours()
			test.fill(secret)
			kept := Bounded(&secret.ObjectMeta)
			if size := sizeOfAll(&kept); size > 40<<10 {
				t.Errorf("the cache holds %d bytes of it", size)
			}
			if _, isIncomplete := kept.Annotations[incompleteMark]; isIncomplete == test.isWhole {
				t.Errorf("incomplete is %v", isIncomplete)
			}
			if again := Bounded(&kept); !equality.Semantic.DeepEqual(again, kept) {
				t.Errorf("bounded again, it is\n%+v\nwant\n%+v", again, kept)
			}
			if kept.Name != secret.Name || kept.UID != secret.UID || kept.ResourceVersion != secret.ResourceVersion {
				t.Errorf("it is not known which Secret it is: %+v", kept)
			}
		})
	}
}

func fillWith(texts map[string]string, prefix string, count int) {
	for i := range count {
		texts[fmt.Sprintf("%s%d", prefix, i)] = "x"
	}
}

// TestBoundedMetadataTellWhoseTheSecretIs describes Secrets with too much of others.
func TestBoundedMetadataTellWhoseTheSecretIs(t *testing.T) {
	t.Parallel()
	controlledBy := func(name string) func(*corev1.Secret) {
		return func(s *corev1.Secret) {
			s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "pipedream-operator.io/v1alpha1", Kind: "PipedreamToken", Name: name, UID: "9", Controller: new(true)}}
		}
	}
	for name, change := range map[string]func(*corev1.Secret){
		"its own":                            func(*corev1.Secret) {},
		"of a predecessor":                   controlledBy("orders"),
		"of another object":                  controlledBy("billing"),
		"of an object with a very long name": controlledBy("orders" + strings.Repeat("x", 100<<10)),
		"of an object of a very long kind": func(s *corev1.Secret) {
			controlledBy("orders")(s)
			s.OwnerReferences[0].Kind += strings.Repeat("x", 100<<10)
		},
		"without a controller": func(s *corev1.Secret) { s.OwnerReferences = nil },
		"of an owner with a very long name": func(s *corev1.Secret) {
			s.Annotations[v1alpha1.OwnerAnnotation] = "orders" + strings.Repeat("x", 100<<10)
		},
		"with an owner that is not a controller": func(s *corev1.Secret) {
			s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "other", UID: "9"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := ours()
			secret.Annotations["junk"] = strings.Repeat("x", 100<<10)
			secret.DeletionTimestamp = new(metav1.NewTime(time.Unix(1, 0)))
			secret.Finalizers = []string{"example.com/hold"}
			change(secret)
			kept := Bounded(&secret.ObjectMeta)
			if got, want := BelongsTo(&kept, token), BelongsTo(secret, token); got != want {
				t.Errorf("BelongsTo is %v from the cache, and %v in truth", got, want)
			}
			if got, want := IsOfPredecessor(&kept, token), IsOfPredecessor(secret, token); got != want {
				t.Errorf("IsOfPredecessor is %v from the cache, and %v in truth", got, want)
			}
			if !kept.DeletionTimestamp.Equal(secret.DeletionTimestamp) || len(kept.Finalizers) != 1 {
				t.Errorf("it is not known that it is being deleted, and what holds it: %+v", kept)
			}
		})
	}
}

// TestNobodyCanSetTheMark asks the validation of the API server itself.
func TestNobodyCanSetTheMark(t *testing.T) {
	t.Parallel()
	if errs := validation.ValidateAnnotations(map[string]string{incompleteMark: ""}, field.NewPath("annotations")); len(errs) == 0 {
		t.Error("the API server accepts the mark of incomplete metadata")
	}
}

func TestBoundRequest(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", longestRequest)
	for _, value := range []string{"", "2026-01-02T03:04:05Z", long} {
		if got := BoundRequest(value); got != value {
			t.Errorf("the request %.30q is kept as %.30q", value, got)
		}
	}
	one, other := BoundRequest(long+"1"), BoundRequest(long+"2")
	if one == other || len(one) > longestRequest || BoundRequest(one) != one {
		t.Errorf("two long requests are kept as %q and %q", one, other)
	}
}
