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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// disturbAccounts makes the change of an action, as users would, to each of its accounts at once.
func (c *chaos) disturbAccounts(ctx context.Context, a action) error {
	if a.kind == keyReplaced {
		return c.replaceKey(ctx, a)
	}
	c.reporter.recordDisturbance(a)
	failures := make(chan error, len(a.objects))
	for _, i := range a.objects {
		go func() { failures <- c.disturbAccount(ctx, a, i) }()
	}
	var failed error
	for range a.objects {
		failed = errors.Join(failed, <-failures)
	}
	return failed
}

func (c *chaos) disturbAccount(ctx context.Context, a action, i int) error {
	switch a.kind {
	case accountSuspended:
		return c.suspendAccount(ctx, a, i)
	case accountDied, accountDeleted:
		return c.sickenAccount(ctx, a, i)
	}
	return c.triggerFetch(ctx, i, func() error {
		switch a.kind {
		case accountSecretEdited:
			return c.editAccountSecret(ctx, a, i)
		case accountSecretDeleted:
			name := accountSecretOf(i)
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
			return client.IgnoreNotFound(c.env.client.Delete(ctx, secret))
		case fetchRequested:
			return c.requestFetch(ctx, a, i)
		}
		return c.recreateAccount(ctx, a, i)
	})
}

// triggerFetch makes a change after which the operator must look at the account.
func (c *chaos) triggerFetch(ctx context.Context, i int, do func() error) error {
	disturbed := c.promises.begin(ofAccount, i, time.Now())
	err := c.retry(ctx, do)
	c.promises.end(disturbed, c.accounts.trigger(i, time.Now()))
	return err
}

// sickenAccount makes an account dead, or deletes it at Pipedream. After a.last its user connects it again, and asks the
// operator to look. In one variant somebody asks the operator to look at the sick account, too.
func (c *chaos) sickenAccount(ctx context.Context, a action, i int) error {
	sick, begin, mend := dead, c.env.connections.kill, c.env.connections.reconnect
	if a.kind == accountDeleted {
		sick, begin, mend = deleted, c.env.connections.disconnect, c.env.connections.connect
	}
	disturbed := c.promises.begin(ofAccount, i, time.Now())
	err := begin(ctx, i)
	asked := time.Time{}
	if a.variant == 1 {
		err = errors.Join(err, c.retry(ctx, func() error { return c.requestFetch(ctx, a, i) }))
		asked = c.accounts.trigger(i, time.Now())
	}
	c.accounts.sicken(i, sick, asked, time.Now())
	_ = harness.Pause(ctx, a.last)
	end := context.WithoutCancel(ctx)
	c.accounts.reconnected(i)
	err = errors.Join(err, mend(end, i))
	a.number = -a.number // So that the request is another one.
	err = errors.Join(err, c.retry(end, func() error { return c.requestFetch(end, a, i) }))
	c.promises.end(disturbed, c.accounts.trigger(i, time.Now()))
	return err
}

// editAccountSecret changes the credentials in the object's Secret, or the annotation with their expiry. It does
// nothing when the Secret does not exist.
func (c *chaos) editAccountSecret(ctx context.Context, a action, i int) error {
	secret := &corev1.Secret{}
	if err := c.env.client.Get(ctx, accountSecretOf(i), secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	if a.variant == 0 {
		secret.Data[webhookSecretKey] = []byte("edited")
	} else {
		secret.Annotations[v1alpha1.ExpiresAtAnnotation] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	}
	return client.IgnoreNotFound(c.env.client.Update(ctx, secret))
}

func (c *chaos) requestFetch(ctx context.Context, a action, i int) error {
	return c.changeAccount(ctx, i, func(object *v1alpha1.PipedreamAccount) {
		metav1.SetMetaDataAnnotation(&object.ObjectMeta, v1alpha1.RenewRequestAnnotation, fmt.Sprintf("chaos-%d", a.number))
	})
}

func (c *chaos) changeAccount(ctx context.Context, i int, change func(*v1alpha1.PipedreamAccount)) error {
	object := &v1alpha1.PipedreamAccount{}
	if err := c.env.client.Get(ctx, accountNameOf(i), object); err != nil {
		return client.IgnoreNotFound(err)
	}
	change(object)
	return c.env.client.Update(ctx, object)
}

// suspendAccount suspends the object for a.last.
func (c *chaos) suspendAccount(ctx context.Context, a action, i int) error {
	disturbed := c.promises.begin(ofAccount, i, time.Now())
	defer func() { c.promises.end(disturbed, time.Now()) }()
	set := func(ctx context.Context, isSuspended bool) error {
		return c.retry(ctx, func() error {
			return c.changeAccount(ctx, i, func(object *v1alpha1.PipedreamAccount) { object.Spec.Suspend = isSuspended })
		})
	}
	err := set(ctx, true)
	_ = harness.Pause(ctx, a.last)
	return errors.Join(err, set(context.WithoutCancel(ctx), false))
}

// recreateAccount deletes a PipedreamAccount and creates it again after a.variant seconds.
func (c *chaos) recreateAccount(ctx context.Context, a action, i int) error {
	old := &v1alpha1.PipedreamAccount{}
	err := c.env.client.Get(ctx, accountNameOf(i), old)
	if err == nil {
		err = c.env.client.Delete(ctx, old, client.Preconditions{UID: &old.UID})
	}
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	_ = harness.Pause(ctx, time.Duration(a.variant)*time.Second)
	err = c.env.client.Create(ctx, newAccount(i))
	if apierrors.IsAlreadyExists(err) {
		return nil // An earlier attempt succeeded although it returned an error.
	}
	return err
}
