// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/credentials"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// kind is the kind of the objects of this controller.
const kind = "PipedreamToken"

// conditionTypes are the types of the conditions of these objects.
var conditionTypes = []string{v1alpha1.ConditionReady, v1alpha1.ConditionRenewed, v1alpha1.ConditionVerified, v1alpha1.ConditionStalled}

// snapshot is what one reconcile knows of the world. It is a value: nothing that it points to is
// changed, and after returns the next one.
type snapshot struct {
	// operator is the name of this operator; empty without leader election.
	operator string
	token    *v1alpha1.PipedreamToken
	desired  renewal.Desired
	// target is the metadata of the Secret that holds the token, and credentialsSecret the metadata of
	// the Secret that holds the client credentials; nil if absent.
	target, credentialsSecret *metav1.PartialObjectMetadata
	// now is the one moment that the reconcile decides by, and firstSeen is when this process has
	// first seen the object.
	now, firstSeen time.Time
	// outageEnded is when the limiter has last found that Pipedream answers again; zero if it has
	// found no outage.
	outageEnded time.Time

	// clientCredentials are the ones that this reconcile has read; nil if it has read none, or none
	// that can be used. areCredentialsRead tells these two apart.
	clientCredentials  *pipedream.Credentials
	areCredentialsRead bool
	// current is the token that this reconcile has read or written; nil if it has done neither.
	current *recordedToken
	// ticket is where the token request waits for its turn, and verificationTicket where a
	// verification does; zero if none waits. isQueued is true if ticket was taken for the last
	// decision, so that there is nothing to do but wait.
	ticket, verificationTicket throttle.Ticket
	isQueued                   bool
	// isJustIssued is true if the last action has had a token issued.
	isJustIssued bool
	// isDryRunDone is true if this reconcile has asked the API server whether it would create the
	// Secret.
	isDryRunDone bool
	// issuedBecause is why a token was issued that this reconcile has written; empty if it has
	// written none.
	issuedBecause renewal.Why
}

// desiredBy resolves the spec, and what its absent fields mean.
func desiredBy(token *v1alpha1.PipedreamToken, api string) renewal.Desired {
	return renewal.Desired{
		Identity:     token.Namespace + "/" + token.Name,
		Scopes:       strings.Join(slices.Sorted(slices.Values(token.Spec.Scopes)), " "),
		API:          api,
		RenewRequest: ownedsecret.BoundRequest(token.Annotations[v1alpha1.RenewRequestAnnotation]),
		RenewBefore:  time.Duration(token.Spec.RenewBeforeSeconds) * time.Second,
		VerifyEvery:  time.Duration(token.Spec.Verification.IntervalSeconds) * time.Second,
		Suspended:    token.Spec.Suspend,
	}
}

// after returns the snapshot that the next decision is made from.
func (s snapshot) after(o outcome) snapshot {
	s.isQueued = false
	_, s.isJustIssued = o.(issued)
	switch o := o.(type) {
	case kept:
		s.ticket = throttle.Ticket{} // The current token is good: no other one is waited for.
	case queued:
		s.ticket, s.isQueued = o.ticket, true
	case sentBack:
		s.ticket, s.isDryRunDone = o.ticket, true
	case requestFailed, issued, abandoned, sameCredentials, writeRefused, unrenderable, clusterFailed:
		s.ticket = throttle.Ticket{} // The turn has come, and no request waits any longer.
	case verificationQueued:
		s.verificationTicket = o.ticket
	default:
		s = afterSecret(s, o)
	}
	return s
}

// afterSecret returns the snapshot after a Secret was read or written.
func afterSecret(s snapshot, o outcome) snapshot {
	switch o := o.(type) {
	case credentialsRead:
		s = s.withCredentials(o.found)
		s.ticket = throttle.Ticket{} // Credentials are read for a request when its turn has come.
	case targetRead:
		s.target = metadataOf(o.target)
	case targetChecked:
		s.target, s.current = metadataOf(o.target), o.current
		if o.credentials != nil {
			s = s.withCredentials(*o.credentials)
		}
	case verdict:
		s.target = metadataOf(o.target)
	case foreign:
		s.target = o.target
	case terminating:
		s.target = o.target
	case written:
		s.target, s.current = o.target, &o.token
		if !o.kind.isRewrite {
			s.issuedBecause = o.why
		}
	}
	return s
}

func (s snapshot) withCredentials(found credentials.Found) snapshot {
	s.credentialsSecret, s.clientCredentials, s.areCredentialsRead = found.Secret, found.Credentials, true
	return s
}

func metadataOf(secret *corev1.Secret) *metav1.PartialObjectMetadata {
	if secret == nil {
		return nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: secret.ObjectMeta}
}

// targetState returns what the Secret is to the PipedreamToken.
func (s snapshot) targetState() renewal.Target {
	switch {
	case s.target == nil:
		return renewal.Absent
	case !ownedsecret.BelongsTo(s.target, s.token):
		return renewal.Foreign
	case ownedsecret.IsTerminating(s.target), s.now.Before(s.collectedBy()):
		return renewal.Terminating
	}
	return renewal.Owned
}

// holdsOurs reports whether there is a Secret that belongs to the PipedreamToken. The Secret of a
// predecessor that is about to be collected is none.
func (s snapshot) holdsOurs() bool {
	return s.targetState() == renewal.Owned || s.isTargetTerminating()
}

// record returns the record on the Secret; nil if there is none, or if the Secret is foreign.
func (s snapshot) record() *renewal.Record {
	if !s.holdsOurs() {
		return nil
	}
	return parseRecord(s.target.Annotations)
}

// currentInputs returns the digest of everything that the current token was issued for, which
// tells it from any other; empty if there is none.
func (s snapshot) currentInputs() string {
	if !s.holdsOurs() {
		return ""
	}
	return s.target.Annotations[v1alpha1.InputsAnnotation]
}

func (s snapshot) targetVersion() string { return ownedsecret.Version(s.target) }

func (s snapshot) credentialsVersion() string { return ownedsecret.Version(s.credentialsSecret) }

// credentialsRecord tells one version of the credentials, and where they are, from any other.
func (s snapshot) credentialsRecord() string {
	clientID, clientSecret := credentials.Keys(s.token.Spec.ClientSecretRef)
	return strings.Join([]string{s.token.Spec.ClientSecretRef.Name, clientID, clientSecret, s.credentialsVersion()}, "/")
}

// hasNoTokenKey reports whether the Secret holds a token that can't be read from it.
func (s snapshot) hasNoTokenKey() bool {
	return s.record() != nil && s.target.Annotations[v1alpha1.TokenKeyAnnotation] == ""
}

// trialOf returns how the current token of a PipedreamToken is verified.
func trialOf(token *v1alpha1.PipedreamToken) pipedream.Trial {
	environment := token.Spec.Environment
	if environment == "" {
		environment = v1alpha1.EnvironmentProduction
	}
	return pipedream.Trial{
		ProjectID:   token.Spec.ProjectID,
		Environment: string(environment),
		Scopes:      token.Spec.Scopes,
	}
}

// requester returns who the PipedreamToken is at the limiters, where namespaces take turns.
func (s snapshot) requester() throttle.Requester {
	return requesterOf(client.ObjectKeyFromObject(s.token))
}

// isWaiting reports whether a request waits for its turn.
func isWaiting(ticket throttle.Ticket) bool { return !ticket.Since.IsZero() && !ticket.IsReady }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func requesterOf(name types.NamespacedName) throttle.Requester {
	return throttle.Requester{Kind: kind, Group: name.Namespace, Name: name.Name}
}
