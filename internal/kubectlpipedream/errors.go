// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// explain says what an error means, and what to do.
func (p *plugin) explain(err error) string {
	if advice := adviceOnAnswer(err); advice != "" {
		return err.Error() + ": " + advice
	}
	_, isUnreachable := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case isUnreachable && p.isGuess, clientcmd.IsEmptyConfig(err):
		return "there is no kubeconfig: name yours with --kubeconfig or the environment variable KUBECONFIG"
	case p.hasNoContext():
		return err.Error() + ": `kubectl config get-contexts` lists those there are"
	case isUnreachable:
		return err.Error() + ": the API server can't be reached; check --context (`kubectl config current-context`), and that `kubectl version` gets an answer"
	}
	return err.Error()
}

// adviceOnAnswer says what to do about an answer of the API server; nothing when err
// is none.
func adviceOnAnswer(err error) string {
	switch {
	case isWithoutCRD(err):
		return "the cluster knows no PipedreamTokens; install the operator, or name another cluster with --context"
	case apierrors.IsNotFound(err):
		return "name its namespace with --namespace, or look for it with `kubectl pipedream status --all-namespaces`"
	case apierrors.IsForbidden(err):
		return "ask an administrator of the cluster for the role view (to look), or edit (to renew, and to read Secrets) in this namespace"
	case apierrors.IsUnauthorized(err):
		return "the API server does not know you; log in again, or name another user with --user or --context"
	}
	return ""
}

// isWithoutCRD tells whether an API server does not know the kind at all. It then
// answers with 404, without saying what is not found.
func isWithoutCRD(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// hasNoContext tells whether the kubeconfig does not have the context that is named.
func (p *plugin) hasNoContext() bool {
	raw, err := p.config.ToRawKubeConfigLoader().RawConfig()
	return err == nil && *p.config.Context != "" && raw.Contexts[*p.config.Context] == nil
}

// hasNoKubeconfig tells whether neither a kubeconfig nor a flag says where the cluster
// is. In a pod, the pod does.
func (p *plugin) hasNoKubeconfig() bool {
	raw, err := p.config.ToRawKubeConfigLoader().RawConfig()
	return err == nil && len(raw.Clusters) == 0 && *p.config.APIServer == ""
}
