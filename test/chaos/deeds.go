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

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// persistence is for how long a deed is tried while the API server is away.
const persistence = 2 * time.Minute

// disturbObjects does to each object of an action what people do.
func (c *chaos) disturbObjects(ctx context.Context, a action) error {
	c.diary.did(a)
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
	}
	return c.askAnew(ctx, i, func() error {
		switch a.kind {
		case secretEdited:
			return c.editSecret(ctx, a, i)
		case secretDeleted:
			c.ledger.hide()
			return c.deleteSecret(ctx, i)
		case scopesChanged:
			return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) {
				t.Spec.Scopes = scopeChoices[(len(t.Spec.Scopes)+1+a.variant)%len(scopeChoices)]
			})
		case renewalAsked:
			return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) {
				metav1.SetMetaDataAnnotation(&t.ObjectMeta, v1alpha1.RenewRequestAnnotation, fmt.Sprintf("chaos-%d", a.number))
			})
		}
		c.ledger.hide()
		return c.recreate(ctx, a, i)
	})
}

// askAnew does what asks for a new token of an object.
func (c *chaos) askAnew(ctx context.Context, i int, do func() error) error {
	disturbed := c.promises.begin(ofObject, i, time.Now())
	err := c.persist(ctx, do)
	now := time.Now()
	until := c.judge.deed(i, now)
	c.ledger.deed(clientOf(i), 1)
	c.promises.end(disturbed, until)
	return err
}

// persist tries something until the API server does it.
func (c *chaos) persist(ctx context.Context, do func() error) error {
	return harness.Wait{Patience: persistence, Every: 500 * time.Millisecond}.Until(ctx, "the API server to do it", harness.NoError(do))
}

// editSecret changes the token in a Secret, or what is written beside it. There is
// nothing to edit when there is no Secret.
func (c *chaos) editSecret(ctx context.Context, a action, i int) error {
	secret := &corev1.Secret{}
	err := c.stage.client.Get(ctx, secretOf(i), secret)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if a.variant == 0 {
		secret.Data[accessTokenKey] = []byte("edited-by-somebody")
	} else {
		secret.Annotations[v1alpha1.ExpiresAtAnnotation] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	}
	return client.IgnoreNotFound(c.stage.client.Update(ctx, secret))
}

func (c *chaos) deleteSecret(ctx context.Context, i int) error {
	name := secretOf(i)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
	return client.IgnoreNotFound(c.stage.client.Delete(ctx, secret))
}

func (c *chaos) changeToken(ctx context.Context, i int, change func(*v1alpha1.PipedreamToken)) error {
	token := &v1alpha1.PipedreamToken{}
	if err := c.stage.client.Get(ctx, nameOf(i), token); err != nil {
		return client.IgnoreNotFound(err)
	}
	change(token)
	return c.stage.client.Update(ctx, token)
}

// recreate deletes a PipedreamToken, and creates it again, at once or later.
func (c *chaos) recreate(ctx context.Context, a action, i int) error {
	old := &v1alpha1.PipedreamToken{}
	err := c.stage.client.Get(ctx, nameOf(i), old)
	if err == nil {
		err = c.stage.client.Delete(ctx, old, client.Preconditions{UID: &old.UID})
	}
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	_ = harness.Pause(ctx, time.Duration(a.variant)*time.Second)
	c.judge.renewBefore(i, 0)
	err = c.stage.client.Create(ctx, newToken(i))
	if apierrors.IsAlreadyExists(err) {
		return nil // Created by an attempt that seemed to fail.
	}
	return err
}

// changeRenewal changes when an object is renewed, which may make it due.
func (c *chaos) changeRenewal(ctx context.Context, a action, i int) error {
	seconds := renewBeforeChoices[(i+a.number)%len(renewBeforeChoices)]
	c.ledger.deed(clientOf(i), 1)
	c.judge.renewBefore(i, seconds)
	defer func() { c.judge.renewBefore(i, seconds) }()
	return c.persist(ctx, func() error {
		return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) { t.Spec.RenewBeforeSeconds = seconds })
	})
}

// nudge changes a spec in a way that asks for no token.
func (c *chaos) nudge(ctx context.Context, i int) error {
	return c.persist(ctx, func() error {
		return c.changeToken(ctx, i, func(t *v1alpha1.PipedreamToken) {
			v := &t.Spec.Verification.IntervalSeconds
			*v = leastVerification + (*v-leastVerification+1)%(mostVerification-leastVerification)
		})
	})
}

// revokeToken revokes the token that an object holds.
func (c *chaos) revokeToken(ctx context.Context, i int) error {
	token := c.judge.holds(i)
	if token == "" {
		return nil
	}
	disturbed := c.promises.begin(ofObject, i, time.Now())
	if isVerified(i) {
		c.ledger.deed(clientOf(i), 1)
	}
	err := c.stage.pipedream.revoke(ctx, token)
	c.judge.revoke(i, token, disturbed, time.Now())
	return err
}

// rotate replaces the secret of an OAuth client on both sides, one after the other.
func (c *chaos) rotate(ctx context.Context, a action) error {
	c.diary.did(a)
	disturbed := c.promises.begin(ofClient, a.client, time.Now())
	c.ledger.refusal(a.client)
	if a.kind == rotatedHere {
		c.ledger.refusal(a.client) // Those that are due, and all when they see the new secret.
	}
	secret := c.stage.newSecret(a.client)
	there := func() error { return c.stage.pipedream.setSecret(context.WithoutCancel(ctx), a.client, secret) }
	here := func() error { return c.deliver(ctx, a.client, secret) }
	steps, wait := []func() error{there, here}, time.Duration(0)
	if a.kind == rotatedHere {
		steps, wait = []func() error{here, there}, refusalWait
	}
	err := steps[0]()
	_ = harness.Pause(ctx, a.last)
	err = errors.Join(err, steps[1]())
	c.promises.end(disturbed, time.Now().Add(wait))
	return err
}

// deliver puts a client secret into the Secrets with the client's credentials.
func (c *chaos) deliver(ctx context.Context, number int, secret string) error {
	for n := range namespaceCount {
		err := c.persist(ctx, func() error {
			found := &corev1.Secret{}
			name := types.NamespacedName{Namespace: namespaceOf(n), Name: clientID(number)}
			if err := c.stage.client.Get(ctx, name, found); err != nil {
				return err
			}
			found.Data["client_secret"] = []byte(secret)
			return c.stage.client.Update(ctx, found)
		})
		if err != nil {
			return err
		}
		for i := range objectCount {
			if clientOf(i) == number && namespaceOf(i) == namespaceOf(n) {
				_ = c.judge.deed(i, time.Now()) // The current token stays good meanwhile.
				c.ledger.deed(number, 1)
			}
		}
	}
	return nil
}
