// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"
	"fmt"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// explain returns the text of an error with advice for the user.
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

// adviceOnAnswer returns the advice about an error that the API server has returned; empty for all other
// errors.
func adviceOnAnswer(err error) string {
	switch {
	case isWithoutCRD(err):
		return "the cluster knows no " + unknownKinds(err) + "; install the operator, or its CRD, in the version of this plugin, or name another cluster with --context"
	case isElsewhere(err):
		return "" // The error itself says where it is.
	case apierrors.IsNotFound(err):
		return "name its namespace with --namespace, or look for it with `kubectl pipedream status --all-namespaces`"
	case apierrors.IsForbidden(err):
		return "ask an administrator of the cluster for the role view (to look), or edit (to renew, and to read Secrets) in this namespace"
	case apierrors.IsUnauthorized(err):
		return "the API server does not know you; log in again, or name another user with --user or --context"
	}
	return ""
}

// kindError is an error of the API server about a kind of objects that it does not know.
type kindError struct {
	kind  *kind
	cause error
}

func (e *kindError) Error() string { return e.cause.Error() }
func (e *kindError) Unwrap() error { return e.cause }

// aboutKind adds the kind to an error that means that the API server does not know it. The API server does not
// name it.
func aboutKind(k *kind, err error) error {
	if isWithoutCRD(err) {
		return &kindError{kind: k, cause: err}
	}
	return err
}

// unknownKinds names the objects that the API server does not know.
func unknownKinds(err error) string {
	if about, ok := errors.AsType[*kindError](err); ok {
		return about.kind.plural()
	}
	return "such objects"
}

// isOfKind reports whether an error is about one kind, so that objects of another kind may be readable: the API
// server does not know the kind, or the user may not read its objects.
func isOfKind(err error) bool { return isWithoutCRD(err) || apierrors.IsForbidden(err) }

// isMissing reports whether an error says that the one object that was asked for does not exist.
func isMissing(err error) bool { return apierrors.IsNotFound(err) && !isWithoutCRD(err) }

// elsewhereError says that there is no object of a name, but one of another kind.
type elsewhereError struct {
	other entry
	cause error
}

func (e *elsewhereError) Error() string {
	return fmt.Sprintf("%v; there is a %s of this name: write %s", e.cause, e.other.kind.name, e.other.shortName())
}

func (e *elsewhereError) Unwrap() error { return e.cause }

func isElsewhere(err error) bool {
	_, is := errors.AsType[*elsewhereError](err)
	return is
}

// isWithoutCRD reports whether an error means that the API server does not know the kind. The API server then
// answers with 404 and does not name a missing object.
func isWithoutCRD(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// hasNoContext reports whether the user has named a context that the kubeconfig does not have.
func (p *plugin) hasNoContext() bool {
	raw, err := p.config.ToRawKubeConfigLoader().RawConfig()
	return err == nil && *p.config.Context != "" && raw.Contexts[*p.config.Context] == nil
}

// hasNoKubeconfig reports whether neither a kubeconfig nor a flag names the cluster. In a pod, client-go then
// uses the cluster of the pod.
func (p *plugin) hasNoKubeconfig() bool {
	raw, err := p.config.ToRawKubeConfigLoader().RawConfig()
	return err == nil && len(raw.Clusters) == 0 && *p.config.APIServer == ""
}
