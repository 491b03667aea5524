// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
)

// tokenSubject is a PipedreamToken.
type tokenSubject struct{ *v1alpha1.PipedreamToken }

var _ subject = tokenSubject{}

func (t tokenSubject) facts() facts {
	status := t.Status
	return facts{
		isSuspended: t.Spec.Suspend, conditions: status.Conditions, observedGeneration: status.ObservedGeneration, secret: status.Secret,
		contentTime: status.IssueTime, expirationTime: status.ExpirationTime, status: status,
	}
}

// nextAttempt returns the time of the next token request. After a failure, it is before the planned renewal.
func (t tokenSubject) nextAttempt(time.Time) *metav1.Time {
	return cmp.Or(t.Status.NextAttemptTime, t.Status.RenewalTime)
}

func (tokenSubject) row(because string) reason.Row { return reasons.Rows.Of(because) }

// request returns the scopes.
func (t tokenSubject) request() string { return cmp.Or(strings.Join(t.Spec.Scopes, " "), "*") }

func (t tokenSubject) isNewSince(earlier subject) bool {
	return !t.Status.IssueTime.Equal(earlier.facts().contentTime)
}
