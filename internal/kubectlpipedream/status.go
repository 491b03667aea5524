// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
)

// statusOptions are the flags of status.
type statusOptions struct {
	choiceOptions
	print     *genericclioptions.PrintFlags
	noHeaders bool
	watch     bool
	exitCode  bool
}

func newStatusCommand(p *plugin) *cobra.Command {
	options := &statusOptions{print: genericclioptions.NewPrintFlags("")}
	options.kinds = tokenKind.short + "," + accountKind.short
	command := &cobra.Command{
		Use:   "status [NAME... | pda/NAME...]",
		Short: "Show whether tokens and credentials work, and who must act, the nearest expiry first",
		Long: "Show whether the tokens of PipedreamTokens and the credentials of PipedreamAccounts work, and who must act, the\n" +
			"nearest expiry first. A kind that you may not read, or that the cluster does not know, is left out, and stderr\n" +
			"says so.\n\n" +
			"READY is Unknown when the status can't be true any more: by this machine's clock the token or the credentials have\n" +
			"expired.\n" +
			"LAST ATTEMPT is the outcome of the last renewal or fetch, and NEXT ATTEMPT when the next one is made.\n" +
			"MUST ACT is short: `kubectl pipedream inspect` says more.",
		Example: "  kubectl pipedream status --all-namespaces\n" +
			"  kubectl pipedream status pda/acme-slack --watch\n" +
			"  kubectl pipedream status --kind pda\n" +
			"  kubectl pipedream status orders --exit-code >/dev/null || echo 'no good token'",
		ValidArgsFunction: completion{plugin: p}.names,
		RunE: func(command *cobra.Command, arguments []string) error {
			return status(command.Context(), p, options, arguments)
		},
	}
	options.register(command, completion{plugin: p}, "Show these kinds only, separated by commas: pdt, pda. A name without a kind is of the first one.")
	flags := command.Flags()
	options.print.AddFlags(command)
	flags.Lookup("output").Usage = "Output format. One of: (" + strings.Join(options.formats(), ", ") + ")."
	flags.StringVarP(&options.selector, "selector", "l", "", "Show those whose labels match.")
	flags.BoolVarP(&options.allNamespaces, "all-namespaces", "A", false, "Show those of all namespaces.")
	flags.BoolVar(&options.noHeaders, "no-headers", false, "Show no headers.")
	flags.BoolVarP(&options.watch, "watch", "w", false, "Then show each change, until interrupted.")
	flags.BoolVar(&options.exitCode, "exit-code", false, "Exit with 3 when one of those shown is not Ready, and with 4 when there are none.")
	if err := command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(options.formats(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // The flag does not exist.
	}
	return command
}

func (o *statusOptions) formats() []string {
	return append(o.print.AllowedFormats(), "wide")
}

func (o *statusOptions) validate(chosen choice) error {
	switch {
	case len(chosen.named) > 0 && o.selector != "":
		return usage("name objects, such as %s, or select them by --selector, not both", prefixedNames())
	case o.watch && o.exitCode:
		return usage("--exit-code is of no use with --watch, which ends when it is interrupted; `kubectl wait` waits for a condition")
	}
	return nil
}

// printer returns the printer for the output format, and whether the format is a table.
func (o *statusOptions) printer() (shows printers.ResourcePrinter, isTable bool, err error) {
	format := *o.print.OutputFormat
	if format == "" && *o.print.TemplatePrinterFlags.TemplateArgument == "" || format == "wide" {
		return printers.NewTablePrinter(printers.PrintOptions{
			NoHeaders: o.noHeaders, Wide: format == "wide", WithNamespace: o.allNamespaces,
		}), true, nil
	}
	shows, err = o.print.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return nil, false, usage("--output=%s: there are %s", format, strings.Join(o.formats(), ", "))
	}
	if err != nil {
		return nil, false, usage("--output=%s: %w", format, err)
	}
	return shows, false, nil
}

// listing is one call of status.
type listing struct {
	plugin  *plugin
	cluster *cluster
	options *statusOptions
	picked  []selection
	show    *show
}

func status(ctx context.Context, p *plugin, options *statusOptions, arguments []string) error {
	chosen, err := options.parse(arguments)
	if err != nil {
		return err
	}
	if err := options.validate(chosen); err != nil {
		return err
	}
	show, err := newShow(p, options, len(chosen.named) == 1)
	if err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	l := &listing{plugin: p, cluster: c, options: options, picked: options.selections(chosen, c.namespace), show: show}
	if options.watch {
		return l.watch(ctx)
	}
	return l.once(ctx)
}

// once shows the selected objects once.
func (l *listing) once(ctx context.Context) error {
	found, missing := l.plugin.pickAll(ctx, l.cluster, l.picked)
	sortByExpiry(found)
	if len(found) == 0 && missing == nil && l.show.isTable {
		l.plugin.printError(nothingIn(l.picked))
		return l.options.evaluate(found, l.plugin.Now())
	}
	if err := l.show.all(found); err != nil || missing != nil {
		return firstOf(err, missing)
	}
	return l.options.evaluate(found, l.plugin.Now())
}

// nothingIn says that there are no objects of any of the selections.
func nothingIn(picked []selection) string {
	kinds := make([]*kind, 0, len(picked))
	for _, one := range picked {
		kinds = append(kinds, one.kind)
	}
	return "there are no " + pluralOf(kinds) + " " + picked[0].where()
}

// watch shows the selected objects, and then each change.
func (l *listing) watch(ctx context.Context) error {
	for _, one := range l.picked {
		if len(one.names) == 0 {
			continue
		}
		if _, missing := l.cluster.pick(ctx, one); missing != nil {
			return missing
		}
	}
	err := newFollower(l.plugin, l.cluster, l.picked, l.show).follow(ctx)
	if ctx.Err() == nil {
		return err
	}
	return nil // The user has interrupted the watch, which is the usual way to end it.
}

// evaluate returns the verdict if --exit-code is set: exitNo if an object is not Ready, exitUnknown if there
// is none.
func (o *statusOptions) evaluate(found []entry, now time.Time) error {
	if !o.exitCode {
		return nil
	}
	for _, one := range found {
		if one.readiness(now) != metav1.ConditionTrue {
			return &verdict{code: exitNo}
		}
	}
	if len(found) == 0 {
		return &verdict{code: exitUnknown}
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// show writes objects in the output format that the user has chosen.
type show struct {
	printer printers.ResourcePrinter
	isTable bool
	// isOne is set when the user has named exactly one object. It is then printed without a list around it.
	isOne bool
	out   flusher
	now   func() time.Time
}

// flusher is a writer that can be flushed. For tables it keeps the column widths from one table to the next.
type flusher interface {
	Write(content []byte) (int, error)
	Flush() error
}

func newShow(p *plugin, options *statusOptions, isOne bool) (*show, error) {
	printer, isTable, err := options.printer()
	if err != nil {
		return nil, err
	}
	s := &show{printer: printer, isTable: isTable, isOne: isOne, now: p.Now, out: unbuffered{p.Out}}
	if isTable {
		s.out = printers.GetNewTabWriter(p.Out)
	}
	return s, nil
}

// all shows all objects together.
func (s *show) all(found []entry) error {
	if s.isTable {
		return s.table(table(found, s.now()))
	}
	if s.isOne && len(found) == 1 {
		return s.printer.PrintObj(found[0].object, s.out)
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{
		"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""},
	}}
	for _, one := range found {
		list.Items = append(list.Items, *one.object)
	}
	return s.printer.PrintObj(list, s.out)
}

// changes shows changed or deleted objects, one after the other.
func (s *show) changes(changed []entry, deleted bool) error {
	if s.isTable {
		shown := table(changed, s.now())
		for i := range shown.Rows {
			if deleted {
				shown.Rows[i].Cells[1] = gone
			}
		}
		return s.table(shown)
	}
	for _, one := range changed {
		if err := s.printer.PrintObj(one.object, s.out); err != nil {
			return err
		}
	}
	return nil
}

func (s *show) table(shown *metav1.Table) error {
	if err := s.printer.PrintObj(shown, s.out); err != nil {
		return fmt.Errorf("show the table: %w", err)
	}
	return s.out.Flush()
}
