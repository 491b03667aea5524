// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/reason"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
)

func (p *plugin) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect NAME",
		Short: "Explain a token: conditions in plain words, claims, scopes, times",
		Long: "Explain a token: what the conditions mean and who must act, the claims of the token if it is a JWT, scopes\n" +
			"and times. The token itself, its signature and the client secret are never shown. Who may not read the\n" +
			"Secret is shown the rest.",
		Example:           "  kubectl pipedream inspect orders",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeName,
		RunE: func(command *cobra.Command, arguments []string) error {
			return p.inspect(command.Context(), arguments)
		},
	}
}

func (p *plugin) inspect(ctx context.Context, arguments []string) error {
	found, held, err := p.readNamed(ctx, arguments)
	if err != nil {
		return err
	}
	v := &view{out: p.Out, now: p.Now()}
	v.heading("PipedreamToken %s in namespace %s", found.token.Name, found.token.Namespace)
	v.summary(found.token)
	v.secret(found.token, held)
	v.claims(held)
	v.conditions(found.token)
	return v.err
}

// view writes what inspect shows. After the first error it writes nothing.
type view struct {
	out io.Writer
	now time.Time
	err error
}

func (v *view) print(text string) {
	if v.err == nil {
		_, v.err = io.WriteString(v.out, text)
	}
}

func (v *view) heading(format string, arguments ...any) {
	v.print(clean(fmt.Sprintf(format, arguments...)) + "\n")
}

// section writes a heading after an empty line.
func (v *view) section(format string, arguments ...any) {
	v.print("\n")
	v.heading(format, arguments...)
}

// field writes a name and a value.
func (v *view) field(name, value string) {
	v.print(fmt.Sprintf("  %-14s%s\n", name+":", orNone(oneLine(value))))
}

func (v *view) summary(token *v1alpha1.PipedreamToken) {
	spec, status := token.Spec, token.Status
	v.field("Works", v.works(token))
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
	case status.ObservedGeneration == 0:
		v.field("Note", "the operator has not seen this PipedreamToken yet")
	case status.ObservedGeneration != token.Generation:
		v.field("Note", fmt.Sprintf("the operator has not seen the last change of the spec yet (generation %d, the status is of %d)",
			token.Generation, status.ObservedGeneration))
	}
}

func (v *view) works(token *v1alpha1.PipedreamToken) string {
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

// due shows when something is to be done, which may be overdue.
func (v *view) due(at *metav1.Time) string {
	if at != nil && at.Time.Before(v.now) {
		return "due since " + at.UTC().Format(time.RFC3339)
	}
	return moment(at, v.now)
}

func verificationOf(token *v1alpha1.PipedreamToken) string {
	if every := token.Spec.Verification.IntervalSeconds; every > 0 {
		return "every " + strconv.Itoa(int(every)) + " s"
	}
	return "off: a revoked token stays until it is renewed"
}

func (v *view) secret(token *v1alpha1.PipedreamToken, held heldSecret) {
	v.section("Secret %s", token.TargetName())
	if held.problem != "" {
		v.field("Not shown", held.problem)
		return
	}
	annotations := held.Annotations
	v.field("Type", string(held.Type))
	v.field("Keys", strings.Join(slices.Sorted(maps.Keys(held.Data)), " "))
	v.field("Issued by", annotations[v1alpha1.APIAnnotation])
	v.field("Asked scopes", cmp.Or(annotations[v1alpha1.ScopesAnnotation], "none"))
	v.field("Granted", cmp.Or(annotations[v1alpha1.GrantedScopeAnnotation], "the answer did not say"))
	v.field("For request", cmp.Or(annotations[v1alpha1.RenewRequestAnnotation], "none of `kubectl pipedream renew`"))
}

func (v *view) claims(held heldSecret) {
	if held.problem != "" {
		return
	}
	token := held.token()
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

// conditions shows what needs somebody first.
func (v *view) conditions(token *v1alpha1.PipedreamToken) {
	v.section("Conditions")
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionReady, v1alpha1.ConditionRenewed, v1alpha1.ConditionVerified} {
		one := condition(token, kind)
		if one.Reason == "" {
			continue
		}
		since := ""
		if one.LastTransitionTime.Unix() > 0 {
			since = ", since " + duration.HumanDuration(v.now.Sub(one.LastTransitionTime.Time))
		}
		v.heading("  %s is %s%s: %s", kind, one.Status, since, one.Reason)
		meaning, actor := v.wordsOn(token, one)
		if kind != v1alpha1.ConditionStalled { // Its message is the one of Renewed.
			v.heading("    Says:     %s", oneLine(one.Message))
		}
		v.heading("    Means:    %s", orNone(meaning))
		v.heading("    Must act: %s", orNone(actor))
	}
}

// wordsOn returns what a condition means in plain words, and who must act.
func (v *view) wordsOn(token *v1alpha1.PipedreamToken, one metav1.Condition) (meaning, actor string) {
	switch {
	case one.Type == v1alpha1.ConditionStalled:
		return "Attempts keep failing until a person helps.", "see Renewed"
	case one.Type == v1alpha1.ConditionReady && readiness(token, v.now) == metav1.ConditionUnknown:
		return "This was so until the token expired; nobody has corrected the status since.", reason.Administrator + ": does the operator run?"
	}
	row := reasons.Rows.Of(one.Reason)
	return row.Meaning, row.Actor
}
