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

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// describe writes what inspect shows of a PipedreamToken only.
func (t tokenSubject) describe(v *view, target targetSecret) {
	t.summarize(v)
	t.describeSecret(v, target)
	if target.problem == "" {
		showClaims(v, target.token())
	}
}

func (t tokenSubject) summarize(v *view) {
	spec, status := t.Spec, t.Status
	v.field("Works", v.works())
	v.field("Issued", moment(status.IssueTime, v.now))
	v.field("Expires", moment(status.ExpirationTime, v.now))
	v.field("Renewal", v.due(status.RenewalTime))
	if status.NextAttemptTime != nil {
		v.field("Next attempt", v.due(status.NextAttemptTime))
	}
	v.field("Scopes", cmp.Or(strings.Join(spec.Scopes, " "), "none asked for, so that Pipedream gives its default: * (full access)"))
	v.field("Project", strings.TrimSuffix(strings.TrimPrefix(orNone(spec.ProjectID)+", "+string(spec.Environment), ", "), ", "))
	v.field("Verification", verificationOf(t.PipedreamToken))
	v.credentials(spec.ClientSecretRef)
	v.note("neither renews nor verifies the token", "it gets no other token")
}

func verificationOf(token *v1alpha1.PipedreamToken) string {
	if every := token.Spec.Verification.IntervalSeconds; every > 0 {
		return "every " + strconv.Itoa(int(every)) + " s"
	}
	return "off: a revoked token stays until it is renewed"
}

func (t tokenSubject) describeSecret(v *view, target targetSecret) {
	if !v.secret(target) {
		return
	}
	annotations := target.secret.Annotations
	v.field("Keys", strings.Join(slices.Sorted(maps.Keys(target.secret.Data)), " "))
	v.field("Issued by", annotations[v1alpha1.APIAnnotation])
	v.field("Asked scopes", cmp.Or(annotations[v1alpha1.ScopesAnnotation], "none"))
	v.field("Granted", cmp.Or(annotations[v1alpha1.GrantedScopeAnnotation], "the answer did not say"))
	v.forRequest(target)
}

// showClaims shows what a token says of itself.
func showClaims(v *view, token pipedream.Sensitive) {
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
