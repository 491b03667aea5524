// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

func newInspectCommand(p *plugin) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect (NAME | pda/NAME)",
		Short: "Explain a token or an account: conditions in plain words, the Secret, times",
		Long: "Explain a token or the credentials of an account: what the conditions mean and who must act, what the Secret\n" +
			"holds, and times. Of a token that is a JWT, the claims are shown; of the credentials of an account, the names of\n" +
			"the keys and how long the values are. A token, its signature, the credentials of an account and the client secret\n" +
			"are never shown. Who may not read the Secret is shown the rest.",
		Example: "  kubectl pipedream inspect orders\n" +
			"  kubectl pipedream inspect pda/acme-slack",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completion{plugin: p}.name,
		RunE: func(command *cobra.Command, arguments []string) error {
			return inspect(command.Context(), p, arguments)
		},
	}
}

func inspect(ctx context.Context, p *plugin, arguments []string) error {
	found, target, err := p.readNamed(ctx, arguments, allKinds...)
	if err != nil {
		return err
	}
	v := &view{entry: found, out: p.Out, now: p.Now()}
	v.heading("%s %s in namespace %s", found.kind.name, found.GetName(), found.GetNamespace())
	found.describe(v, target)
	v.conditions()
	return v.err
}

// view writes the output of inspect. After the first error in writing it writes nothing.
type view struct {
	entry
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

// due returns the text for the time of a planned action, which may be overdue.
func (v *view) due(at *metav1.Time) string {
	if at != nil && at.Time.Before(v.now) {
		return "due since " + at.UTC().Format(time.RFC3339)
	}
	return moment(at, v.now)
}

// works says whether the content of the Secret is good.
func (v *view) works() string {
	switch v.readiness(v.now) {
	case metav1.ConditionTrue:
		if expires := v.facts().expirationTime; expires != nil {
			return "yes, until " + expires.UTC().Format(time.RFC3339)
		}
		return "yes"
	case metav1.ConditionFalse:
		return "no: " + v.condition(v1alpha1.ConditionReady).Reason
	case metav1.ConditionUnknown:
	}
	return "not known. " + v.explanation(v.now)
}

// note says what keeps the status from being about the spec as it is now, if anything does. rest says what the operator
// does not do while the object is suspended, and lost what the object does not get while it is being deleted.
func (v *view) note(rest, lost string) {
	facts := v.facts()
	switch {
	case ownedsecret.IsTerminating(v): // It counts as a change of the spec, too.
		v.field("Note", ownedsecret.DescribeDeletion(v.kind.name, v)+": "+lost)
	case facts.observedGeneration == 0:
		v.field("Note", "the operator has not seen this "+v.kind.name+" yet")
	case facts.observedGeneration != v.GetGeneration():
		v.field("Note", fmt.Sprintf("the operator has not seen the last change of the spec yet (generation %d, the status is of %d)",
			v.GetGeneration(), facts.observedGeneration))
	case facts.isSuspended:
		v.field("Note", "suspended by spec.suspend: the operator "+rest)
	}
}

// credentials says in which Secret the client credentials are.
func (v *view) credentials(reference v1alpha1.ClientSecretReference) {
	v.field("Credentials", fmt.Sprintf("Secret %s, keys %s and %s (not looked at)", reference.Name,
		cmp.Or(reference.ClientIDKey, v1alpha1.DefaultClientIDKey), cmp.Or(reference.ClientSecretKey, v1alpha1.DefaultClientSecretKey)))
}

// secret begins the part about the Secret. It returns false if the Secret can't be shown, and says why.
func (v *view) secret(target targetSecret) bool {
	v.section("Secret %s", v.TargetName())
	if target.problem != "" {
		v.field("Not shown", target.problem)
		return false
	}
	v.field("Type", string(target.secret.Type))
	return true
}

// forRequest says which request of renew the Secret was last written for.
func (v *view) forRequest(target targetSecret) {
	v.field("For request", cmp.Or(target.secret.Annotations[v1alpha1.RenewRequestAnnotation], "none of `kubectl pipedream renew`"))
}

// conditions shows the conditions. Stalled comes first, because it needs a person.
func (v *view) conditions() {
	v.section("Conditions")
	for _, name := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionReady, v.kind.attempt, v.kind.health} {
		one := v.condition(name)
		if one.Reason == "" {
			continue
		}
		since := ""
		if one.LastTransitionTime.Unix() > 0 {
			since = ", since " + duration.HumanDuration(v.now.Sub(one.LastTransitionTime.Time))
		}
		v.heading("  %s is %s%s: %s", name, one.Status, since, one.Reason)
		meaning, actor := v.wordsOn(one)
		if name != v1alpha1.ConditionStalled { // Stalled has the same message as the condition of the last attempt.
			v.heading("    Says:     %s", oneLine(one.Message))
		}
		v.heading("    Means:    %s", orNone(meaning))
		v.heading("    Must act: %s", orNone(actor))
	}
}

// wordsOn returns the meaning of a condition in plain words, and the person who must act.
func (v *view) wordsOn(one metav1.Condition) (meaning, actor string) {
	switch {
	case one.Type == v1alpha1.ConditionStalled:
		return "Attempts keep failing until a person helps.", "see " + v.kind.attempt
	case one.Type == v1alpha1.ConditionReady && v.readiness(v.now) == metav1.ConditionUnknown:
		return "This was so until the " + v.kind.words.content + " expired; nobody has corrected the status since.", outdatedActor
	}
	row := v.row(one.Reason)
	return row.Meaning, row.Actor
}
