// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"io"
	"maps"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// Layout lists the annotations that the operator records on the Secrets of one kind of owner,
// in the order in which the content digest covers them. The order and the names must never
// change: the operator would take the Secrets of earlier versions for edited.
type Layout []string

// Digest returns the content digest of a Secret: it covers the recorded annotations and the data.
func (l Layout) Digest(annotations map[string]string, data map[string][]byte) string {
	digest := sha256.New()
	for _, key := range l {
		writePart(digest, annotations[key])
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		writePart(digest, key)
		writePart(digest, string(data[key]))
	}
	return encode(digest)
}

// IsIntact reports whether a Secret is as the operator wrote it. The digest is against
// accidents: whoever may read and write the Secret can compute a valid one.
func (l Layout) IsIntact(secret *corev1.Secret) bool {
	want := secret.Annotations[v1alpha1.ContentAnnotation]
	return hmac.Equal([]byte(want), []byte(l.Digest(secret.Annotations, secret.Data)))
}

// operatorName is the namespace and the name of a Lease.
var operatorName = regexp.MustCompile(`^[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}$`)

// SetOperator records on a Secret which operator writes it. Without a name, the record of any operator
// is removed. The content digest does not cover it.
func SetOperator(secret *corev1.Secret, name string) {
	if name == "" {
		delete(secret.Annotations, v1alpha1.OperatorAnnotation)
		return
	}
	secret.Annotations[v1alpha1.OperatorAnnotation] = name
}

// OperatorOf returns the name of the operator that has written a Secret; empty if the Secret names
// none. The name is bounded and safe to show. ok is false if the annotation is not such a name: others
// may write any text there.
func OperatorOf(secret metav1.Object) (name string, ok bool) {
	name = secret.GetAnnotations()[v1alpha1.OperatorAnnotation]
	return name, name == "" || operatorName.MatchString(name)
}

// KeyedDigest returns a digest of the parts that only somebody who knows the key can compute.
func KeyedDigest(key string, parts ...string) string {
	digest := hmac.New(sha256.New, []byte(key))
	for _, part := range parts {
		writePart(digest, part)
	}
	return encode(digest)
}

// writePart also writes the length, so that no two lists of parts look the same.
func writePart(digest hash.Hash, part string) {
	_, _ = digest.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
	_, _ = io.WriteString(digest, part)
}

func encode(digest hash.Hash) string {
	return base64.RawURLEncoding.EncodeToString(digest.Sum(nil))
}

// ParseTime reads a time of the record. It accepts only the form that the operator writes, RFC
// 3339 in whole seconds and UTC: other forms can be of a year that no status can show.
func ParseTime(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil && at.UTC().Format(time.RFC3339) == text
}
