// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// targetSecret is the Secret that the operator writes for an object, if the user may read it.
type targetSecret struct {
	// secret is nil if the Secret does not exist or the user may not read it.
	secret *corev1.Secret
	// problem says why secret is nil, or why the plugin must not use it. It is empty if the plugin can use
	// secret.
	problem string
}

// readNamed reads the one object that the arguments name, and its Secret. A name alone is of the first kind; an
// object must be of one of the kinds.
func (p *plugin) readNamed(ctx context.Context, arguments []string, kinds ...*kind) (found entry, target targetSecret, err error) {
	named, err := referencesIn(arguments, kinds[0])
	if err != nil {
		return entry{}, targetSecret{}, err
	}
	if one := named[0]; !slices.Contains(kinds, one.kind) {
		return entry{}, targetSecret{}, usage("%q is a %s, and this command is for %s", arguments[0], one.kind.name, pluralOf(kinds))
	}
	c, err := p.connect()
	if err != nil {
		return entry{}, targetSecret{}, err
	}
	all, err := c.pick(ctx, selection{kind: named[0].kind, namespace: c.namespace, names: []string{named[0].name}})
	if err != nil {
		return entry{}, targetSecret{}, err
	}
	target, err = c.readTarget(ctx, all[0])
	return all[0], target, err
}

// readTarget reads the Secret of an object. It returns no error if the Secret does not exist or the user may not
// read it; problem then says why.
func (c *cluster) readTarget(ctx context.Context, owner entry) (targetSecret, error) {
	secret, err := c.kube.CoreV1().Secrets(owner.GetNamespace()).Get(ctx, owner.TargetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return targetSecret{problem: "you may not read Secrets in namespace " + owner.GetNamespace()}, nil
	case apierrors.IsNotFound(err):
		return targetSecret{problem: "it does not exist"}, nil
	case err != nil:
		return targetSecret{}, fmt.Errorf("read Secret %s: %w", owner.TargetName(), err)
	}
	target := targetSecret{secret: secret}
	if !ownedsecret.BelongsTo(secret, owner) {
		target.problem = "it is not this " + owner.kind.name + "'s"
	}
	return target, nil
}

// token returns the token in the Secret, or an empty one if no key holds the token and nothing else.
func (t targetSecret) token() pipedream.Sensitive {
	key := t.secret.Annotations[v1alpha1.TokenKeyAnnotation]
	if key == "" {
		return pipedream.Sensitive{}
	}
	return pipedream.NewSensitive(string(t.secret.Data[key]))
}
