// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// mostOfOthers is how many bytes a cached Secret has at most of labels, annotations, finalizers
	// and owner references that the operator has not set.
	mostOfOthers = 4 << 10
	// longestName is the longest name, kind or other short text of an object that the cache keeps.
	longestName = 253
	// mostFinalizers is how many finalizers the cache keeps of an object with too much of others.
	mostFinalizers = 8
	// longestRequest is the longest request to renew that is kept as it is.
	longestRequest = 1 << 10
	// ownDomain is the domain of the operator's annotations.
	ownDomain = "pipedream-operator.io/"
	// mostUnknown is how many annotations of the operator's domain are kept that this version does
	// not know, and longestUnknown how long the value of one may be.
	mostUnknown, longestUnknown = 8, 512

	// incompleteMark is an annotation of cached metadata only. The API server accepts no key that
	// begins with a slash, so that no Secret can have it.
	incompleteMark = "/incomplete"
)

// LongestScope is the longest list of scopes that the cache keeps. The schema allows 64 scopes of 128
// characters.
const LongestScope = 64*(128+1) - 1

// longestValues are the recorded annotations that the cache keeps, and how long the value of each may
// be. LabelsAnnotation and AnnotationsAnnotation are not among them: a write needs them to tell the
// spec's labels and annotations from the ones of others, and the cache has only the ones of others.
var longestValues = map[string]int{
	v1alpha1.OwnerAnnotation:         2*longestName + 1,
	v1alpha1.IssuedAtAnnotation:      longestName,
	v1alpha1.FetchedAtAnnotation:     longestName,
	v1alpha1.ExpiresAtAnnotation:     longestName,
	v1alpha1.NextRefreshAtAnnotation: longestName,
	v1alpha1.ScopesAnnotation:        LongestScope,
	v1alpha1.GrantedScopeAnnotation:  LongestScope,
	v1alpha1.APIAnnotation:           2 << 10,
	v1alpha1.RenewRequestAnnotation:  longestRequest,
	v1alpha1.AccountAnnotation:       longestName,
	v1alpha1.AppAnnotation:           longestName,
	v1alpha1.RequestAnnotation:       longestName,
	v1alpha1.InputsAnnotation:        longestName,
	v1alpha1.CredentialsAnnotation:   4 * (longestName + 1),
	v1alpha1.TokenKeyAnnotation:      longestName,
	v1alpha1.OperatorAnnotation:      2*longestName + 1,
	v1alpha1.RenderingAnnotation:     longestName,
	v1alpha1.ContentAnnotation:       longestName,
}

// errOtherVersion is the cause of the conflict that Complete returns.
var errOtherVersion = errors.New("another version of the Secret was observed")

// readError is the error of a read that comes before a write. It says nothing about the write.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// BoundRequest returns the value of a request to renew. In place of a value of more than 1 KiB it
// returns a digest of the value, which tells the value from any other. The digest of a digest is the
// digest itself.
func BoundRequest(value string) string {
	if len(value) <= longestRequest {
		return value
	}
	digest := sha256.Sum256([]byte(value))
	return "sha256:" + hex.EncodeToString(digest[:])
}

// Bounded returns as much of a Secret's metadata as a cache should hold, whatever others have put
// there: what tells the Secret from any other, and the record. What others have set is kept up to
// 4 KiB. If it is more, all of it is left out but for the controller and some finalizers, and
// Complete reads the rest before a write.
func Bounded(secret *metav1.ObjectMeta) metav1.ObjectMeta {
	kept := identityOf(secret)
	kept.Annotations = make(map[string]string, len(longestValues))
	own, others, isWhole := divide(secret)
	maps.Copy(kept.Annotations, own)
	labels := maps.Clone(secret.Labels)
	for key := range setOf(secret.Annotations[v1alpha1.LabelsAnnotation]) {
		delete(labels, key)
	}
	if isWhole && sizeOf(secret, labels, others) <= mostOfOthers {
		maps.Copy(kept.Annotations, others)
		kept.Labels = labels
		kept.Finalizers, kept.OwnerReferences = secret.Finalizers, secret.OwnerReferences
		return kept
	}
	kept.Annotations[incompleteMark] = ""
	kept.Finalizers = BoundFinalizers(secret.Finalizers)
	kept.OwnerReferences = boundedController(secret)
	return kept
}

// identityOf returns the fields that tell one version of an object from any other.
func identityOf(object *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         object.Namespace,
		Name:              object.Name,
		UID:               object.UID,
		ResourceVersion:   object.ResourceVersion,
		CreationTimestamp: object.CreationTimestamp,
		DeletionTimestamp: object.DeletionTimestamp,
	}
}

// divide parts the annotations of a Secret: the record, and what a write merges with. Left out are
// annotations that the spec has asked for at the last write, which a write sets anew or removes, and
// kubectl's copy of the Secret. isWhole is false if a part of the record is too long to be kept.
func divide(secret *metav1.ObjectMeta) (own, others map[string]string, isWhole bool) {
	own, others, isWhole = map[string]string{}, map[string]string{}, true
	leftOut := setOf(secret.Annotations[v1alpha1.AnnotationsAnnotation])
	for _, key := range []string{v1alpha1.LabelsAnnotation, v1alpha1.AnnotationsAnnotation, corev1.LastAppliedConfigAnnotation} {
		leftOut[key] = true
	}
	unknown := 0
	for _, key := range slices.Sorted(maps.Keys(secret.Annotations)) {
		value := secret.Annotations[key]
		longest, isRecord := longestValues[key]
		isUnknown := strings.HasPrefix(key, ownDomain) && len(value) <= longestUnknown && unknown < mostUnknown
		switch {
		case key == v1alpha1.RenewRequestAnnotation:
			own[key] = BoundRequest(value)
		case isRecord && len(value) <= longest:
			own[key] = value
		case isRecord:
			isWhole = false
		case leftOut[key]:
		case isUnknown:
			own[key] = value
			unknown++
		default:
			others[key] = value
		}
	}
	return own, others, isWhole
}

// setOf returns the set of the keys in a list of the record.
func setOf(list string) map[string]bool {
	keys := map[string]bool{}
	for key := range strings.SplitSeq(list, ",") {
		keys[key] = true
	}
	return keys
}

// sizeOf returns how many bytes others have put into a Secret's metadata, with these labels and
// annotations of theirs.
func sizeOf(secret *metav1.ObjectMeta, labels, annotations map[string]string) int {
	size := 0
	for _, texts := range []map[string]string{labels, annotations} {
		for key, value := range texts {
			size += len(key) + len(value)
		}
	}
	for _, finalizer := range secret.Finalizers {
		size += len(finalizer)
	}
	for i := range secret.OwnerReferences {
		reference := &secret.OwnerReferences[i]
		size += len(reference.APIVersion) + len(reference.Kind) + len(reference.Name) + len(reference.UID)
	}
	return size
}

// BoundFinalizers returns the first eight finalizers of an object, each cut to 253 characters.
func BoundFinalizers(finalizers []string) []string {
	kept := slices.Clone(finalizers[:min(len(finalizers), mostFinalizers)])
	for i := range kept {
		kept[i] = strings.Clone(kept[i][:min(len(kept[i]), longestName)])
	}
	return kept
}

// boundedController returns the controller of a Secret. In place of a text that is too long for the
// name of an object it has an empty one: the controller is then the owner of no object's name.
func boundedController(secret *metav1.ObjectMeta) []metav1.OwnerReference {
	controller := metav1.GetControllerOf(secret)
	if controller == nil {
		return nil
	}
	if max(len(controller.APIVersion), len(controller.Kind), len(controller.Name), len(controller.UID)) > longestName {
		controller = &metav1.OwnerReference{Controller: controller.Controller}
	}
	return []metav1.OwnerReference{*controller}
}

// Complete returns the whole metadata of a Secret that is about to be written. Metadata from a cache
// may lack what others have set. Complete then reads the Secret live, and returns a conflict if that
// is not the version that was observed.
func Complete(ctx context.Context, live client.Reader, observed *metav1.PartialObjectMetadata) (*metav1.PartialObjectMetadata, error) {
	if observed == nil {
		return nil, nil
	}
	if _, isIncomplete := observed.Annotations[incompleteMark]; !isIncomplete {
		return observed, nil
	}
	whole, err := Metadata(ctx, live, client.ObjectKeyFromObject(observed))
	if err != nil {
		return nil, &readError{err}
	}
	if Version(whole) != observed.ResourceVersion {
		return nil, Failed("write the Secret `"+observed.Name+"`", apierrors.NewConflict(corev1.Resource("secrets"), observed.Name, errOtherVersion))
	}
	return whole, nil
}
