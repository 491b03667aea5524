// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// retryTimeout bounds how long a user's change is tried again while the API server does not respond.
const retryTimeout = 2 * time.Minute

// disturbObjects makes the change of an action, as a user would, to each of its objects.
func (c *chaos) disturbObjects(ctx context.Context, a action) error {
	c.reporter.recordDisturbance(a)
	var failed error
	for _, i := range a.objects {
		failed = errors.Join(failed, c.disturbOne(ctx, a, i))
	}
	return failed
}

func (c *chaos) disturbOne(ctx context.Context, a action, i int) error {
	switch a.kind {
	case revoked:
		return c.revokeToken(ctx, i)
	case renewalChanged:
		return c.changeRenewal(ctx, a, i)
	case suspended:
		return c.suspend(ctx, a, i)
	}
	return c.trigger(ctx, i, func() error {
		switch a.kind {
		case secretEdited:
			return c.editSecret(ctx, a, i)
		case secretDeleted:
			c.budget.allowUnseen()
			return c.deleteSecret(ctx, i)
		case secretHeld:
			c.budget.allowUnseen()
			return c.holdSecret(ctx, a, i)
		case scopesChanged:
			return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) {
				t.Spec.Scopes = scopeChoices[(len(t.Spec.Scopes)+1+a.variant)%len(scopeChoices)]
			})
		case renewalRequested:
			return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) {
				metav1.SetMetaDataAnnotation(&t.ObjectMeta, v1alpha1.RenewRequestAnnotation, fmt.Sprintf("chaos-%d", a.number))
			})
		}
		c.budget.allowUnseen()
		return c.recreate(ctx, a, i)
	})
}

// trigger makes a change after which the operator must issue a new token for the object.
func (c *chaos) trigger(ctx context.Context, i int, do func() error) error {
	disturbed := c.promises.begin(ofObject, i, time.Now())
	err := c.retry(ctx, do)
	now := time.Now()
	until := c.evaluator.trigger(i, now)
	c.budget.trigger(clientOf(i), 1)
	c.promises.end(disturbed, until)
	return err
}

// retry repeats a request until the API server accepts it or retryTimeout has passed.
func (c *chaos) retry(ctx context.Context, do func() error) error {
	return harness.Wait{Patience: retryTimeout, Every: 500 * time.Millisecond}.Until(ctx, "the API server to accept the request", harness.NoError(do))
}

// editSecret changes the token in the object's Secret, or the annotation with its expiry. It does nothing
// when the Secret does not exist.
func (c *chaos) editSecret(ctx context.Context, a action, i int) error {
	secret := &corev1.Secret{}
	err := c.env.client.Get(ctx, secretOf(i), secret)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if a.variant == 0 {
		secret.Data[accessTokenKey] = []byte("edited-by-somebody")
	} else {
		secret.Annotations[v1alpha1.ExpiresAtAnnotation] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	}
	return client.IgnoreNotFound(c.env.client.Update(ctx, secret))
}

func (c *chaos) deleteSecret(ctx context.Context, i int) error {
	name := secretOf(i)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	return client.IgnoreNotFound(c.env.client.Delete(ctx, secret))
}

// finalizer holds a Secret that is being deleted.
const finalizer = "chaos.example.com/hold"

// holdSecret deletes the object's Secret while a finalizer holds it, and removes the finalizer after a.last.
func (c *chaos) holdSecret(ctx context.Context, a action, i int) error {
	secret := &corev1.Secret{}
	if err := c.env.client.Get(ctx, secretOf(i), secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	if secret.DeletionTimestamp.IsZero() {
		if controllerutil.AddFinalizer(secret, finalizer) {
			if err := c.env.client.Update(ctx, secret); err != nil {
				return err
			}
		}
		if err := c.env.client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID}); err != nil {
			return err
		}
		_ = harness.Pause(ctx, a.last)
		if err := c.env.client.Get(ctx, secretOf(i), secret); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	controllerutil.RemoveFinalizer(secret, finalizer)
	return client.IgnoreNotFound(c.env.client.Update(ctx, secret))
}

// suspend suspends the object for a.last.
func (c *chaos) suspend(ctx context.Context, a action, i int) error {
	disturbed := c.promises.begin(ofObject, i, time.Now())
	defer func() { c.promises.end(disturbed, time.Now()) }()
	set := func(isSuspended bool) error {
		return c.retry(ctx, func() error {
			return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) { t.Spec.Suspend = isSuspended })
		})
	}
	err := set(true)
	_ = harness.Pause(ctx, a.last)
	return errors.Join(err, set(false))
}

func (c *chaos) changeToken(ctx context.Context, i int, change func(*v1alpha1.PipedreamToken)) error {
	token := &v1alpha1.PipedreamToken{}
	if err := c.env.client.Get(ctx, nameOf(i), token); err != nil {
		return client.IgnoreNotFound(err)
	}
	change(token)
	return c.env.client.Update(ctx, token)
}

// recreate deletes a PipedreamToken and creates it again after a.variant seconds.
func (c *chaos) recreate(ctx context.Context, a action, i int) error {
	old := &v1alpha1.PipedreamToken{}
	err := c.env.client.Get(ctx, nameOf(i), old)
	if err == nil {
		err = c.env.client.Delete(ctx, old, client.Preconditions{UID: &old.UID})
	}
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	_ = harness.Pause(ctx, time.Duration(a.variant)*time.Second)
	c.evaluator.renewBefore(i, 0)
	err = c.env.client.Create(ctx, newToken(i))
	if apierrors.IsAlreadyExists(err) {
		return nil // An earlier attempt succeeded although it returned an error.
	}
	return err
}

// changeRenewal changes renewBeforeSeconds of an object. Its token may be due for renewal afterwards.
func (c *chaos) changeRenewal(ctx context.Context, a action, i int) error {
	seconds := renewBeforeChoices[(i+a.number)%len(renewBeforeChoices)]
	c.budget.trigger(clientOf(i), 1)
	c.evaluator.renewBefore(i, seconds)
	defer func() { c.evaluator.renewBefore(i, seconds) }()
	return c.retry(ctx, func() error {
		return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) { t.Spec.RenewBeforeSeconds = seconds })
	})
}

// changeVerification changes the interval of verification, which requests no new token.
func (c *chaos) changeVerification(ctx context.Context, i int) error {
	return c.retry(ctx, func() error {
		return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) {
			v := &t.Spec.Verification.IntervalSeconds
			*v = minVerification + (*v-minVerification+1)%(maxVerification-minVerification)
		})
	})
}

// revokeToken revokes the token in the object's Secret.
func (c *chaos) revokeToken(ctx context.Context, i int) error {
	token := c.evaluator.currentToken(i)
	if token == "" {
		return nil
	}
	disturbed := c.promises.begin(ofObject, i, time.Now())
	if isVerified(i) {
		c.budget.trigger(clientOf(i), 1)
	}
	err := c.env.pipedream.revoke(ctx, token)
	c.evaluator.revoke(i, token, disturbed, time.Now())
	return err
}

// rotate replaces the secret of an OAuth client in Pipedream and in Kubernetes, with a gap of a.last between
// the two.
func (c *chaos) rotate(ctx context.Context, a action) error {
	c.reporter.recordDisturbance(a)
	disturbed := c.promises.begin(ofClient, a.client, time.Now())
	c.budget.allowRefusal(a.client)
	if a.kind == kubernetesRotated {
		// Every object fails once when it reads the new secret. Objects that are due may fail once more.
		c.budget.allowRefusal(a.client)
	}
	secret := c.env.newSecret(clientID(a.client))
	inPipedream := func() error { return c.env.pipedream.setSecret(context.WithoutCancel(ctx), a.client, secret) }
	inKubernetes := func() error { return c.deliver(ctx, a.client, secret) }
	steps, wait := []func() error{inPipedream, inKubernetes}, time.Duration(0)
	if a.kind == kubernetesRotated {
		steps, wait = []func() error{inKubernetes, inPipedream}, refusalWait
	}
	err := steps[0]()
	_ = harness.Pause(ctx, a.last)
	err = errors.Join(err, steps[1]())
	c.promises.end(disturbed, time.Now().Add(wait))
	return err
}

// deliver writes a client secret into the credentials Secret of each namespace.
func (c *chaos) deliver(ctx context.Context, number int, secret string) error {
	for n := range namespaceCount {
		err := c.retry(ctx, func() error {
			found := &corev1.Secret{}
			name := types.NamespacedName{Namespace: namespaceOf(n), Name: clientID(number)}
			if err := c.env.client.Get(ctx, name, found); err != nil {
				return err
			}
			found.Data["client_secret"] = []byte(secret)
			return c.env.client.Update(ctx, found)
		})
		if err != nil {
			return err
		}
		for i := range objectCount {
			if clientOf(i) == number && namespaceOf(i) == namespaceOf(n) {
				_ = c.evaluator.trigger(i, time.Now()) // The current token stays valid until then.
				c.budget.trigger(number, 1)
			}
		}
	}
	return nil
}
