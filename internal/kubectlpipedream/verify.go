// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	api       apiOptions
	projectID string
}

func newVerifyCommand(p *plugin) *cobra.Command {
	options := &verifyOptions{}
	command := &cobra.Command{
		Use:   "verify NAME",
		Short: "Try the current token against Pipedream's API, from this machine",
		Long: "Try the current token against Pipedream's API, from this machine: one listing of the project's accounts, or of\n" +
			"the projects, of which nothing is shown. The token is sent to --api-url and nowhere else; when the Secret\n" +
			"records another address, nothing is sent unless you name that one yourself.\n\n" +
			"Exit codes: 0 accepted; 3 refused; 4 the answer, or the lack of one, says nothing about the token.",
		Example:           "  kubectl pipedream verify orders",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completion{plugin: p}.token,
		RunE: func(command *cobra.Command, arguments []string) error {
			return (&verification{plugin: p, options: options}).run(command.Context(), arguments)
		},
	}
	options.api.register(command)
	command.Flags().StringVar(&options.projectID, "project-id", "", "The project to list accounts of, when the spec names none.")
	return command
}

// verification is one call of verify.
type verification struct {
	plugin  *plugin
	options *verifyOptions
}

func (v *verification) run(ctx context.Context, arguments []string) error {
	api, err := v.options.api.client(v.plugin)
	if err != nil {
		return err
	}
	found, target, err := v.plugin.readNamed(ctx, arguments, tokenKind)
	if err != nil {
		return err
	}
	token, ok := found.subject.(tokenSubject)
	if !ok {
		return fmt.Errorf("%s is no PipedreamToken", found.fullName())
	}
	if err := v.options.check(token.PipedreamToken, target, api.Address()); err != nil {
		return err
	}
	trial := v.options.trial(token.PipedreamToken, target)
	outcome, err := api.Verify(ctx, target.token(), trial)
	if outcome == pipedream.Refused && !trial.CanList() {
		v.plugin.print("%s not known: %s answers 401, which says nothing about the current token: its scopes may list neither the project's accounts (connect:accounts:read) "+
			"nor the projects (connect:projects:read)", found.fullName(), api.Address())
		return &verdict{code: exitUnknown}
	}
	return v.report(found, api.Address(), outcome, err)
}

// check returns an error if the plugin can't or must not send the token to the API.
func (o *verifyOptions) check(token *v1alpha1.PipedreamToken, target targetSecret, address string) error {
	if target.problem != "" {
		return fmt.Errorf("the token can't be tried: Secret %s: %s", token.TargetName(), target.problem)
	}
	recorded := target.secret.Annotations[v1alpha1.APIAnnotation]
	switch {
	case recorded != address && !o.api.isChosen():
		return fmt.Errorf("the token was not sent anywhere: the Secret says that it is from %q, and not from %s; to try it there, if you trust that address, add --api-url=ADDRESS",
			oneLine(recorded), address)
	case target.token().IsEmpty():
		return fmt.Errorf("the token can't be tried: no key of Secret %s holds it and nothing else; give one of the templates in spec.secret.data nothing but {{ .AccessToken }}", token.TargetName())
	case cmp.Or(token.Spec.ProjectID, o.projectID) == "" && o.trial(token, target).NeedsProject():
		return fmt.Errorf("the token can't be tried: the spec of %s has no projectID; name a project with --project-id", token.Name)
	}
	return nil
}

func (o *verifyOptions) trial(token *v1alpha1.PipedreamToken, target targetSecret) pipedream.Trial {
	return pipedream.Trial{
		ProjectID:   cmp.Or(o.projectID, token.Spec.ProjectID),
		Environment: string(cmp.Or(token.Spec.Environment, v1alpha1.EnvironmentProduction)),
		Scopes:      strings.Fields(target.secret.Annotations[v1alpha1.ScopesAnnotation]),
	}
}

// report prints the outcome, and returns it as an error that has an exit code, unless the token was accepted.
func (v *verification) report(found entry, address string, outcome pipedream.Verdict, why error) error {
	name := found.fullName()
	switch outcome {
	case pipedream.Accepted:
		v.plugin.print("%s accepted: %s serves requests with the current token, which expires %s", name, address, moment(found.facts().expirationTime, v.plugin.Now()))
		return nil
	case pipedream.Refused:
		v.plugin.print("%s refused: %s answers 401 to the current token: it was revoked, has expired, or may not list the project's accounts. "+
			"`kubectl pipedream renew %s --namespace %s --wait` gets a new one", name, address, found.GetName(), found.GetNamespace())
		return &verdict{code: exitNo}
	case pipedream.Inconclusive:
	}
	v.plugin.print("%s not known: the answer of %s says nothing about the current token (%v)", name, address, why)
	return &verdict{code: exitUnknown}
}
