// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
)

// tokenView writes the output of inspect for a PipedreamToken.
type tokenView struct {
	*view
	token  *v1alpha1.PipedreamToken
	target targetSecret
}

func (v *tokenView) show() {
	v.heading("PipedreamToken %s in namespace %s", v.token.Name, v.token.Namespace)
	v.summary()
	v.secret()
	v.claims()
	v.conditions()
}

func (v *tokenView) summary() {
	token := v.token
	spec, status := token.Spec, token.Status
	v.field("Works", v.works())
	v.field("Issued", moment(status.IssueTime, v.now))
	v.field("Expires", moment(status.ExpirationTime, v.now))
	v.field("Renewal", v.due(status.RenewalTime))
	if status.NextAttemptTime != nil {
		v.field("Next attempt", v.due(status.NextAttemptTime))
	}
	v.field("Scopes", cmp.Or(strings.Join(spec.Scopes, " "), "none asked for, so that Pipedream gives its default: * (full access)"))
	v.field("Project", strings.TrimSuffix(strings.TrimPrefix(orNone(spec.ProjectID)+", "+string(spec.Environment), ", "), ", "))
	v.field("Verification", verificationOf(token))
	v.field("Credentials", fmt.Sprintf("Secret %s, keys %s and %s (not looked at)", spec.ClientSecretRef.Name,
		cmp.Or(spec.ClientSecretRef.ClientIDKey, v1alpha1.DefaultClientIDKey),
		cmp.Or(spec.ClientSecretRef.ClientSecretKey, v1alpha1.DefaultClientSecretKey)))
	switch {
	case ownedsecret.IsTerminating(token): // It counts as a change of the spec, too.
		v.field("Note", ownedsecret.DescribeDeletion(v1alpha1.KindPipedreamToken, token)+": it gets no other token")
	case status.ObservedGeneration == 0:
		v.field("Note", "the operator has not seen this PipedreamToken yet")
	case status.ObservedGeneration == token.Generation && spec.Suspend:
		v.field("Note", "suspended by spec.suspend: the operator neither renews nor verifies the token")
	case status.ObservedGeneration != token.Generation:
		v.field("Note", fmt.Sprintf("the operator has not seen the last change of the spec yet (generation %d, the status is of %d)",
			token.Generation, status.ObservedGeneration))
	}
}

func (v *tokenView) works() string {
	token := v.token
	switch readiness(token, v.now) {
	case metav1.ConditionTrue:
		if expires := token.Status.ExpirationTime; expires != nil {
			return "yes, until " + expires.UTC().Format(time.RFC3339)
		}
		return "yes"
	case metav1.ConditionFalse:
		return "no: " + condition(token, v1alpha1.ConditionReady).Reason
	case metav1.ConditionUnknown:
	}
	return "not known. " + explanation(token, v.now)
}

func verificationOf(token *v1alpha1.PipedreamToken) string {
	if every := token.Spec.Verification.IntervalSeconds; every > 0 {
		return "every " + strconv.Itoa(int(every)) + " s"
	}
	return "off: a revoked token stays until it is renewed"
}

func (v *tokenView) secret() {
	target := v.target
	v.section("Secret %s", v.token.TargetName())
	if target.problem != "" {
		v.field("Not shown", target.problem)
		return
	}
	annotations := target.secret.Annotations
	v.field("Type", string(target.secret.Type))
	v.field("Keys", strings.Join(slices.Sorted(maps.Keys(target.secret.Data)), " "))
	v.field("Issued by", annotations[v1alpha1.APIAnnotation])
	v.field("Asked scopes", cmp.Or(annotations[v1alpha1.ScopesAnnotation], "none"))
	v.field("Granted", cmp.Or(annotations[v1alpha1.GrantedScopeAnnotation], "the answer did not say"))
	v.field("For request", cmp.Or(annotations[v1alpha1.RenewRequestAnnotation], "none of `kubectl pipedream renew`"))
}

func (v *tokenView) claims() {
	if v.target.problem != "" {
		return
	}
	token := v.target.token()
	if token.IsEmpty() {
		v.section("Token")
		v.heading("  No key of the Secret holds it and nothing else, so that it is not decoded.")
		return
	}
	shown, others, isJWT := claimsOf(token)
	if !isJWT {
		v.section("Token")
		v.heading("  It is no JWT: there is nothing to decode.")
		return
	}
	v.section("Token, as it says of itself (decoded, the signature is not checked)")
	for _, one := range shown {
		v.field(one.name, one.value)
	}
	if others > 0 {
		v.field("not shown", fmt.Sprintf("%d other claims", others))
	}
}

// conditions shows the conditions. Stalled comes first, because it needs a person.
func (v *tokenView) conditions() {
	v.section("Conditions")
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionReady, v1alpha1.ConditionRenewed, v1alpha1.ConditionVerified} {
		one := condition(v.token, kind)
		if one.Reason == "" {
			continue
		}
		since := ""
		if one.LastTransitionTime.Unix() > 0 {
			since = ", since " + duration.HumanDuration(v.now.Sub(one.LastTransitionTime.Time))
		}
		v.heading("  %s is %s%s: %s", kind, one.Status, since, one.Reason)
		meaning, actor := v.wordsOn(one)
		if kind != v1alpha1.ConditionStalled { // Stalled has the same message as Renewed.
			v.heading("    Says:     %s", oneLine(one.Message))
		}
		v.heading("    Means:    %s", orNone(meaning))
		v.heading("    Must act: %s", orNone(actor))
	}
}

// wordsOn returns the meaning of a condition in plain words, and the person who must act.
func (v *tokenView) wordsOn(one metav1.Condition) (meaning, actor string) {
	switch {
	case one.Type == v1alpha1.ConditionStalled:
		return "Attempts keep failing until a person helps.", "see Renewed"
	case one.Type == v1alpha1.ConditionReady && readiness(v.token, v.now) == metav1.ConditionUnknown:
		return "This was so until the token expired; nobody has corrected the status since.", reason.Administrator + ": does the operator run?"
	}
	row := reasons.Rows.Of(one.Reason)
	return row.Meaning, row.Actor
}
