// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// collectionTime is how long after the creation of a PipedreamToken the Secret of its predecessor
// is expected to be collected.
const collectionTime = 10 * time.Second

// collectedBy returns when the Secret of a predecessor is collected or is not waited for any
// longer; zero for any other Secret, and for one that is being deleted already. A predecessor had
// the same name and was deleted.
func (s snapshot) collectedBy() time.Time {
	if s.target == nil || ownedsecret.IsTerminating(s.target) || !ownedsecret.IsOfPredecessor(s.target, s.token) {
		return time.Time{}
	}
	return earlier(s.token.CreationTimestamp.Time, s.firstSeen).Add(collectionTime)
}

// isTokenTerminating reports whether the PipedreamToken itself is being deleted.
func (s snapshot) isTokenTerminating() bool { return ownedsecret.IsTerminating(s.token) }

// isTargetTerminating reports whether the Secret belongs to the PipedreamToken and is being deleted.
func (s snapshot) isTargetTerminating() bool {
	return s.targetState() == renewal.Terminating && ownedsecret.IsTerminating(s.target)
}

// deletion is the deletion of a PipedreamToken, of its Secret, or of both.
type deletion struct {
	// token and target are the objects that are being deleted; nil for one that is not.
	token, target metav1.Object
}

// deletionOf returns which of the PipedreamToken and its Secret are being deleted.
func deletionOf(s snapshot) deletion {
	var d deletion
	if s.isTokenTerminating() {
		d.token = s.token
	}
	if s.isTargetTerminating() {
		d.target = s.target
	}
	return d
}

// describe says which objects are being deleted, and which finalizers hold them; empty if none are.
func (d deletion) describe() string {
	var deleted []string
	if d.token != nil {
		deleted = append(deleted, ownedsecret.DescribeDeletion(kind, d.token))
	}
	if d.target != nil {
		deleted = append(deleted, ownedsecret.DescribeDeletion("Secret", d.target))
	}
	return strings.Join(deleted, "; ")
}

// began returns when the deletion began, by the API server's clock; zero if nothing is being deleted.
func (d deletion) began() time.Time {
	var at time.Time
	if d.token != nil {
		at = d.token.GetDeletionTimestamp().Time
	}
	if d.target != nil && (at.IsZero() || d.target.GetDeletionTimestamp().Time.Before(at)) {
		at = d.target.GetDeletionTimestamp().Time
	}
	return at
}
