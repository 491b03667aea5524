// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"io"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// recordAnnotations are those that the content digest covers.
var recordAnnotations = []string{
	v1alpha1.OwnerAnnotation,
	v1alpha1.IssuedAtAnnotation,
	v1alpha1.ExpiresAtAnnotation,
	v1alpha1.ScopesAnnotation,
	v1alpha1.APIAnnotation,
	v1alpha1.RenewRequestAnnotation,
	v1alpha1.InputsAnnotation,
	v1alpha1.GrantedScopeAnnotation,
	v1alpha1.CredentialsAnnotation,
	v1alpha1.TokenKeyAnnotation,
	v1alpha1.RenderingAnnotation,
	v1alpha1.LabelsAnnotation,
	v1alpha1.AnnotationsAnnotation,
}

// parseRecord reads the record of a Secret from its annotations. It returns nil
// when they are not as they were written.
func parseRecord(annotations map[string]string) *renewal.Record {
	issued, isIssued := parseTime(annotations[v1alpha1.IssuedAtAnnotation])
	expires, isExpiring := parseTime(annotations[v1alpha1.ExpiresAtAnnotation])
	if !isIssued || !isExpiring || !expires.After(issued) {
		return nil
	}
	return &renewal.Record{
		IssueTime:      issued,
		ExpirationTime: expires,
		Scopes:         annotations[v1alpha1.ScopesAnnotation],
		API:            annotations[v1alpha1.APIAnnotation],
		RenewRequest:   annotations[v1alpha1.RenewRequestAnnotation],
	}
}

// parseTime reads a time in the one form in which it is written: whole seconds, in
// UTC. In others it may be of a year that no status can show.
func parseTime(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil && at.UTC().Format(time.RFC3339) == text
}

// belongsTo tells whether a Secret is the owner's to write: it says so itself,
// and no other object controls it. An owner that was deleted and made anew under
// the same name inherits the Secret of its predecessor.
func belongsTo(secret, owner metav1.Object, kind schema.GroupVersionKind) bool {
	if secret.GetAnnotations()[v1alpha1.OwnerAnnotation] != owner.GetName() {
		return false
	}
	controller := metav1.GetControllerOfNoCopy(secret)
	if controller == nil {
		return true
	}
	group, err := schema.ParseGroupVersion(controller.APIVersion)
	return err == nil && group.Group == kind.Group && controller.Kind == kind.Kind && controller.Name == owner.GetName()
}

// ownerReferences returns the Secret's owner references with the owner as the
// only controller.
func ownerReferences(secret, owner metav1.Object, kind schema.GroupVersionKind) []metav1.OwnerReference {
	others := slices.DeleteFunc(slices.Clone(secret.GetOwnerReferences()), func(reference metav1.OwnerReference) bool {
		return reference.Controller != nil && *reference.Controller
	})
	return append(others, metav1.OwnerReference{
		APIVersion: kind.GroupVersion().String(),
		Kind:       kind.Kind,
		Name:       owner.GetName(),
		UID:        owner.GetUID(),
		Controller: new(true),
		// With true, admission asks for a permission to update the owner's finalizers.
		BlockOwnerDeletion: new(false),
	})
}

// contentDigest covers the data of a Secret and its record.
func contentDigest(annotations map[string]string, data map[string][]byte) string {
	digest := sha256.New()
	for _, key := range recordAnnotations {
		writePart(digest, annotations[key])
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		writePart(digest, key)
		writePart(digest, string(data[key]))
	}
	return encode(digest)
}

// keyedDigest covers the parts, and can be computed only by who knows the key.
func keyedDigest(key string, parts ...string) string {
	digest := hmac.New(sha256.New, []byte(key))
	for _, part := range parts {
		writePart(digest, part)
	}
	return encode(digest)
}

// writePart writes the length too, so that no two lists of parts look the same.
func writePart(digest hash.Hash, part string) {
	_, _ = digest.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
	_, _ = io.WriteString(digest, part)
}

func encode(digest hash.Hash) string {
	return base64.RawURLEncoding.EncodeToString(digest.Sum(nil))
}

// isIntact tells whether a Secret is as it was written.
func isIntact(secret *corev1.Secret) bool {
	want := secret.Annotations[v1alpha1.ContentAnnotation]
	return hmac.Equal([]byte(want), []byte(contentDigest(secret.Annotations, secret.Data)))
}
