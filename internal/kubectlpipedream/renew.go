// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

// fieldManager is the field manager that the annotation gets in metadata.managedFields.
const fieldManager = "kubectl-pipedream"

const (
	// defaultRenewTimeout is longer than two waits together: the longest wait for the operator's rate limit
	// that the conditions do not show, and a slow answer from Pipedream.
	defaultRenewTimeout = time.Minute
	// stalledLooks is how many times the plugin reads a status that was Stalled before the request and has
	// not changed. After that, the plugin treats the status as the answer to the request.
	stalledLooks = 20
)

// renewOptions are the flags of renew.
type renewOptions struct {
	selector      string
	all           bool
	allNamespaces bool
	wait          bool
	timeout       time.Duration
}

func newRenewCommand(p *plugin) *cobra.Command {
	options := &renewOptions{}
	command := &cobra.Command{
		Use:   "renew (NAME... | --selector=... | --all)",
		Short: "Ask the operator for new tokens now",
		Long: "Ask the operator for new tokens now.\n\n" +
			"This sets the annotation " + v1alpha1.RenewRequestAnnotation + " to the time. The operator paces its requests:\n" +
			"the tokens of one PipedreamToken are at least ten seconds apart. The old token stays in the Secret until\n" +
			"there is a new one, and is not revoked.",
		Example: "  kubectl pipedream renew orders --wait\n" +
			"  kubectl pipedream renew --all",
		ValidArgsFunction: completion{plugin: p}.names,
		RunE: func(command *cobra.Command, arguments []string) error {
			return renew(command.Context(), p, options, arguments)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&options.selector, "selector", "l", "", "Renew those whose labels match.")
	flags.BoolVar(&options.all, "all", false, "Renew all in the namespace.")
	flags.BoolVarP(&options.allNamespaces, "all-namespaces", "A", false, "With --all or --selector: in all namespaces.")
	flags.BoolVar(&options.wait, "wait", false, "Wait until the Secrets hold the new tokens. Exit with 3 when one can't be had, and with 4 when it is not known in time.")
	flags.DurationVar(&options.timeout, "timeout", defaultRenewTimeout, "How long to wait with --wait.")
	return command
}

func (o *renewOptions) validate(names []string) error {
	ways := 0
	for _, used := range []bool{len(names) > 0, o.selector != "", o.all} {
		if used {
			ways++
		}
	}
	switch {
	case ways == 0:
		return usage("name the PipedreamTokens to renew, or select them by --selector, or renew all of the namespace with --all")
	case ways > 1:
		return usage("name PipedreamTokens, or use --selector, or --all, and not two of these")
	case len(names) > 0 && o.allNamespaces:
		return usage("a PipedreamToken can't be named across all namespaces: leave out its name, or --all-namespaces")
	case o.timeout <= 0:
		return usage("--timeout must be above 0, such as 2m")
	}
	return checkSelector(o.selector)
}

// request is a PipedreamToken as it was when the plugin requested a new token.
type request struct {
	entry
	// value is the value of the annotation.
	value string
	// now is the PipedreamToken as the plugin last read it. looks is how many times the plugin has read it.
	now   *v1alpha1.PipedreamToken
	looks int
	// problem is the error of the last read; nil if the read succeeded.
	problem error
}

// renewal is one call of renew.
type renewal struct {
	plugin  *plugin
	cluster *cluster
}

func renew(ctx context.Context, p *plugin, options *renewOptions, arguments []string) error {
	names, err := tokenKind.namesIn(arguments)
	if err != nil {
		return err
	}
	if err := options.validate(names); err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	picked := selection{kind: tokenKind, namespace: c.namespace, names: names, selector: options.selector}
	if options.allNamespaces {
		picked.namespace = ""
	}
	found, missing := c.pick(ctx, picked)
	if len(found) == 0 && missing == nil {
		p.printError("there are no PipedreamTokens " + picked.where())
		return nil
	}
	r := &renewal{plugin: p, cluster: c}
	requests, refused := r.request(ctx, found)
	var outcome error
	if options.wait {
		outcome = r.await(ctx, requests, options.timeout)
	}
	return firstOf(missing, refused, outcome)
}

// request requests new tokens. If one request fails, request still sends the others.
func (r *renewal) request(ctx context.Context, found []entry) (requests []*request, refused error) {
	value := r.plugin.Now().UTC().Format(time.RFC3339Nano)
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{v1alpha1.RenewRequestAnnotation: value},
	}})
	if err != nil {
		return nil, err
	}
	for _, one := range found {
		patched, err := r.cluster.patch(ctx, one, patch)
		switch {
		case ctx.Err() != nil:
			return requests, ctx.Err()
		case err != nil:
			r.plugin.printError(one.fullName() + " renewal not requested: " + r.plugin.explain(err))
			refused = &verdict{code: exitError}
			continue
		}
		requests = append(requests, &request{entry: patched, value: value, now: patched.token})
		r.plugin.print("%s renewal requested", patched.fullName())
	}
	return requests, refused
}

// patch changes a PipedreamToken with a merge patch. Server-side apply would create the PipedreamToken again
// if somebody had deleted it meanwhile.
func (c *cluster) patch(ctx context.Context, one entry, patch []byte) (entry, error) {
	object, err := c.dynamic.Resource(tokenKind.resource).Namespace(one.token.Namespace).
		Patch(ctx, one.token.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return entry{}, err
	}
	return newEntry(tokenKind, object)
}

// await waits until each request has an outcome.
func (r *renewal) await(ctx context.Context, pending []*request, timeout time.Duration) error {
	outcome := error(nil)
	err := wait.PollUntilContextTimeout(ctx, r.plugin.PollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		var still []*request
		for _, one := range pending {
			isDone, err := r.lookAgain(ctx, one)
			if no, ok := errors.AsType[*verdict](err); ok {
				outcome = no
			} else if err != nil {
				return false, err
			}
			if !isDone {
				still = append(still, one)
			}
		}
		pending = still
		return len(pending) == 0, nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case wait.Interrupted(err):
		for _, one := range pending {
			r.plugin.printError(fmt.Sprintf("%s not renewed within %v: %s", one.fullName(), timeout, one.situation()))
		}
		return firstOf(outcome, &verdict{code: exitUnknown})
	case err != nil:
		return err
	}
	return outcome
}

// lookAgain reads the PipedreamToken of a request. It keeps a temporary error in problem and does not return
// it, because the next read may succeed.
func (r *renewal) lookAgain(ctx context.Context, one *request) (isDone bool, err error) {
	isDone, err = r.look(ctx, one)
	if _, isVerdict := errors.AsType[*verdict](err); isVerdict {
		return isDone, err
	}
	switch {
	case isWithoutCRD(err), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return false, err
	case apierrors.IsNotFound(err):
		r.plugin.printError(one.fullName() + " not renewed: it was deleted")
		return true, &verdict{code: exitNo}
	case !isOutOfTime(err) || one.looks == 0 && one.problem == nil:
		one.problem = err // A timeout does not replace the result of an earlier read.
	}
	return isDone, nil
}

// isOutOfTime reports whether a request was canceled or not sent because the deadline has passed. client-go's
// rate limiter has no error type for that, so isOutOfTime compares the text.
func isOutOfTime(err error) bool {
	return err != nil && strings.Contains(err.Error(), "context deadline")
}

// look reports whether a request has an outcome, and prints the outcome. The error is a verdict if the
// operator can't get a new token.
func (r *renewal) look(ctx context.Context, one *request) (isDone bool, err error) {
	now, err := r.cluster.get(ctx, tokenKind, one.token.Namespace, one.token.Name)
	if err != nil {
		return false, err
	}
	one.now = now.token
	if !now.token.Status.IssueTime.Equal(one.token.Status.IssueTime) {
		if isDone, err = r.cluster.holdsTokenFor(ctx, one); err != nil {
			return false, err
		}
	}
	if isDone {
		r.plugin.print("%s renewed, expires %s", one.fullName(), moment(now.token.Status.ExpirationTime, r.plugin.Now()))
		return true, nil
	}
	one.looks++
	if !one.isHopeless() {
		return false, nil
	}
	r.plugin.printError(one.fullName() + " not renewed: " + reasonAndMessage(one.now))
	return true, &verdict{code: exitNo}
}

// isHopeless reports whether the renewal needs a person: the PipedreamToken is suspended or Stalled. A status
// that was Stalled before the request counts only after more than stalledLooks reads.
func (r *request) isHopeless() bool {
	if r.now.Spec.Suspend && condition(r.now, v1alpha1.ConditionRenewed).Reason == v1alpha1.ReasonSuspended {
		return true
	}
	isNews := !equality.Semantic.DeepEqual(r.token.Status, r.now.Status)
	return condition(r.now, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue && (isNews || r.looks > stalledLooks)
}

// holdsTokenFor reports whether the token in the Secret was issued for a request, or for a later request that
// has replaced it. If the user may not read the Secret, holdsTokenFor uses the status.
func (c *cluster) holdsTokenFor(ctx context.Context, r *request) (bool, error) {
	secret, err := c.metadata.Resource(secretResource).Namespace(r.token.Namespace).Get(ctx, r.now.TargetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return r.now.Status.IssueTime != nil, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	}
	issuedFor := ownedsecret.BoundRequest(secret.Annotations[v1alpha1.RenewRequestAnnotation])
	return issuedFor == r.value || issuedFor != "" && issuedFor == ownedsecret.BoundRequest(r.now.Annotations[v1alpha1.RenewRequestAnnotation]), nil
}

// situation returns the state of a request, and the error of the last read.
func (r *request) situation() string {
	if r.now.Annotations[v1alpha1.RenewRequestAnnotation] == "" {
		return "somebody has removed the annotation " + v1alpha1.RenewRequestAnnotation + " before the operator issued a token for it; " +
			"look for a tool that replaces the object by the version in Git"
	}
	if r.problem != nil {
		return reasonAndMessage(r.now) + " (the last look has failed: " + r.problem.Error() + ")"
	}
	return reasonAndMessage(r.now)
}

func reasonAndMessage(token *v1alpha1.PipedreamToken) string {
	renewed := condition(token, v1alpha1.ConditionRenewed)
	return strings.TrimSuffix(renewed.Reason+": "+oneLine(renewed.Message), ": ")
}
