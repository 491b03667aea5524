// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newInspectCommand(p *plugin) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect NAME",
		Short: "Explain a token: conditions in plain words, claims, scopes, times",
		Long: "Explain a token: what the conditions mean and who must act, the claims of the token if it is a JWT, scopes\n" +
			"and times. The token itself, its signature and the client secret are never shown. Who may not read the\n" +
			"Secret is shown the rest.",
		Example:           "  kubectl pipedream inspect orders",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completion{plugin: p}.name,
		RunE: func(command *cobra.Command, arguments []string) error {
			return inspect(command.Context(), p, arguments)
		},
	}
}

func inspect(ctx context.Context, p *plugin, arguments []string) error {
	found, target, err := p.readNamed(ctx, arguments)
	if err != nil {
		return err
	}
	v := &view{out: p.Out, now: p.Now()}
	(&tokenView{view: v, token: found.token, target: target}).show()
	return v.err
}

// view writes the output of inspect. After the first error in writing it writes nothing.
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

// due returns the text for the time of a planned action, which may be overdue.
func (v *view) due(at *metav1.Time) string {
	if at != nil && at.Time.Before(v.now) {
		return "due since " + at.UTC().Format(time.RFC3339)
	}
	return moment(at, v.now)
}
