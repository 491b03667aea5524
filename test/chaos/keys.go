// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// keyCount is the number of users of Pipedream with whose API keys the operator reads accounts.
	keyCount = 3
	// keyDelay is how long after a new API key is in the Secret the status may still say that the old one was rejected: the
	// operator asks at once, with one request a second for each key.
	keyDelay = 10 * time.Second
	// none is the number of the API key or the OAuth client of an account that is read without one.
	none = -1
)

// isKeyed reports whether the spec asks with the API key of a user, and not with an OAuth client. Each way of refreshing
// and each namespace has such accounts.
func isKeyed(account int) bool { return account%9 == 4 }

// keyOf returns the number of the API key with which an account is read, or none.
func keyOf(account int) int {
	if !isKeyed(account) {
		return none
	}
	return account / 9 % keyCount
}

// keyedBy returns the accounts that are read with an API key.
func keyedBy(key int) (accounts []int) {
	for i := range accountCount {
		if keyOf(i) == key {
			accounts = append(accounts, i)
		}
	}
	return accounts
}

// keyHolderID returns the ID of the user of Pipedream who has an API key.
func keyHolderID(key int) string { return fmt.Sprintf("u_chaos%d", key) }

// keySecretName returns the name of the Secret that holds an API key, in each namespace.
func keySecretName(key int) string { return fmt.Sprintf("chaos-key-%d", key) }

// newKey returns a random API key, and adds it to the secrets that leaks searches for.
func (e *environment) newKey(key int) string {
	value := "chaos-key-" + rand.Text()
	e.leaks.learn(userKeys, "an API key of "+keyHolderID(key), value)
	return value
}

// registerKeys makes the users of Pipedream who have API keys.
func (e *environment) registerKeys(ctx context.Context) error {
	for key, value := range e.keys {
		if err := e.pipedream.Control(ctx, http.MethodPut, "users/"+keyHolderID(key), map[string]string{"api_key": value}, nil); err != nil {
			return err
		}
	}
	// Without all fields, an answer to an API key says neither that an account is dead nor when it is refreshed.
	return e.pipedream.reshape(ctx, map[string]string{"rest-fields": "all"})
}

// createKeys creates a Secret with each API key in a namespace.
func (e *environment) createKeys(ctx context.Context, namespace string) error {
	for key, value := range e.keys {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: keySecretName(key)},
			StringData: map[string]string{v1alpha1.DefaultAPIKeyKey: value},
		}
		if err := e.client.Create(ctx, secret); err != nil {
			return fmt.Errorf("create an API key: %w", err)
		}
	}
	return nil
}

// replaceKey revokes the API key of a user, who gets a new one at once, and writes the new one into the Secrets after
// a.last. In one variant somebody asks the operator to look at the accounts in between.
func (c *chaos) replaceKey(ctx context.Context, a action) error {
	c.reporter.recordDisturbance(a)
	disturbed := map[int]*disturbance{}
	for _, i := range a.objects {
		disturbed[i] = c.promises.begin(ofAccount, i, time.Now())
	}
	value := c.env.newKey(a.client)
	err := c.env.pipedream.revokeKey(ctx, a.client, value)
	for _, i := range a.objects {
		asked := time.Time{}
		if a.variant == 1 {
			err = errors.Join(err, c.retry(ctx, func() error { return c.requestFetch(ctx, a, i) }))
			asked = c.accounts.trigger(i, time.Now())
		}
		c.accounts.sicken(i, locked, asked, time.Now())
	}
	_ = harness.Pause(ctx, a.last)
	err = errors.Join(err, c.deliverKey(context.WithoutCancel(ctx), a.client, value))
	for _, i := range a.objects {
		until := c.accounts.trigger(i, time.Now())
		c.accounts.keyReplaced(i, until)
		c.promises.end(disturbed[i], until)
	}
	return err
}

// deliverKey writes an API key into the Secret of each namespace.
func (c *chaos) deliverKey(ctx context.Context, key int, value string) error {
	var failed error
	for n := range namespaceCount {
		failed = errors.Join(failed, c.retry(ctx, func() error {
			found := &corev1.Secret{}
			name := types.NamespacedName{Namespace: namespaceOf(n), Name: keySecretName(key)}
			if err := c.env.client.Get(ctx, name, found); err != nil {
				return err
			}
			found.Data[v1alpha1.DefaultAPIKeyKey] = []byte(value)
			return c.env.client.Update(ctx, found)
		}))
	}
	return failed
}
