// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// consumer acts as a pod that uses a Secret. Once a second it reads the Secret, as a pod reads a mounted file, and
// makes a call with the access token in the Secret.
type consumer struct {
	environment *environment
	// secretName is the name of the Secret, and key the key of the access token in it.
	secretName, key string
	// call makes the call. It returns the HTTP status of the answer, or 0 without an answer.
	call func(ctx context.Context, accessToken string) (status int)

	mu    sync.Mutex
	calls calls
}

// calls counts the outcomes of a consumer's calls.
type calls struct {
	// accepted, refused and failed count calls by the answer. missing counts the times when the Secret did not
	// exist.
	accepted, refused, failed, missing int
}

// add adds the counts of other calls.
func (c *calls) add(other calls) {
	c.accepted += other.accepted
	c.refused += other.refused
	c.failed += other.failed
	c.missing += other.missing
}

// areAllAccepted reports whether there were calls, and each of them was accepted.
func (c *calls) areAllAccepted() bool {
	return c.accepted > 0 && c.refused+c.failed+c.missing == 0
}

// run calls until ctx ends.
func (c *consumer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.environment.clock.After(time.Second):
			c.callOnce(ctx)
		}
	}
}

func (c *consumer) callOnce(ctx context.Context) {
	secret := &corev1.Secret{}
	err := c.environment.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: c.secretName}, secret)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.count(calls{missing: 1})
		return
	}
	status := c.call(ctx, string(secret.Data[c.key]))
	switch {
	case ctx.Err() != nil:
	case status == http.StatusOK:
		c.count(calls{accepted: 1})
	case status == http.StatusUnauthorized:
		c.count(calls{refused: 1})
	default:
		c.count(calls{failed: 1})
	}
}

func (c *consumer) count(counted calls) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.add(counted)
}

// counted returns the counts since the last call of take.
func (c *consumer) counted() calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// take returns the counts since its last call.
func (c *consumer) take() calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.calls
	c.calls = calls{}
	return taken
}
