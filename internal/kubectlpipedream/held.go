// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// heldSecret is the Secret of a PipedreamToken, as far as it may be read.
type heldSecret struct {
	// Secret is nil when there is none, or when it can't be read.
	*corev1.Secret
	// problem says why it is nil, or why it is not to be used.
	problem string
}

// readNamed reads the one PipedreamToken that the arguments name, and its Secret.
func (p *plugin) readNamed(ctx context.Context, arguments []string) (found entry, held heldSecret, err error) {
	names, err := namesIn(arguments)
	if err != nil {
		return entry{}, heldSecret{}, err
	}
	c, err := p.connect()
	if err != nil {
		return entry{}, heldSecret{}, err
	}
	if found, err = c.get(ctx, c.namespace, names[0]); err != nil {
		return entry{}, heldSecret{}, err
	}
	held, err = c.readHeld(ctx, found.token)
	return found, held, err
}

// readHeld reads the Secret of a PipedreamToken. That it can't be read is no error.
func (c *cluster) readHeld(ctx context.Context, token *v1alpha1.PipedreamToken) (heldSecret, error) {
	secret, err := c.kube.CoreV1().Secrets(token.Namespace).Get(ctx, token.TargetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return heldSecret{problem: "you may not read Secrets in namespace " + token.Namespace}, nil
	case apierrors.IsNotFound(err):
		return heldSecret{problem: "it does not exist"}, nil
	case err != nil:
		return heldSecret{}, fmt.Errorf("read Secret %s: %w", token.TargetName(), err)
	}
	held := heldSecret{Secret: secret}
	if !ownedsecret.BelongsTo(secret, token) {
		held.problem = "it is not this PipedreamToken's"
	}
	return held, nil
}

// token returns the token in the Secret; an empty one if no key holds just that.
func (s heldSecret) token() pipedream.Sensitive {
	key := s.Annotations[v1alpha1.TokenKeyAnnotation]
	if key == "" {
		return pipedream.Sensitive{}
	}
	return pipedream.NewSensitive(string(s.Data[key]))
}
