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

// consumer acts as a pod that uses the token. Once a second it reads the Secret, as a pod reads a mounted file,
// and calls Pipedream's API with the token.
type consumer struct {
	environment *environment
	mu          sync.Mutex
	calls       calls
}

// calls counts the outcomes of a consumer's calls.
type calls struct {
	// accepted, refused and failed count calls by Pipedream's answer. missing counts the times when the Secret
	// did not exist.
	accepted, refused, failed, missing int
}

// run calls until ctx ends.
func (c *consumer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.environment.clock.After(time.Second):
			c.call(ctx)
		}
	}
}

func (c *consumer) call(ctx context.Context) {
	secret := &corev1.Secret{}
	err := c.environment.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: secretName}, secret)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.count(func(counted *calls) { counted.missing++ })
		return
	}
	status := c.environment.listAccounts(ctx, string(secret.Data["access_token"]))
	switch {
	case ctx.Err() != nil:
	case status == http.StatusOK:
		c.count(func(counted *calls) { counted.accepted++ })
	case status == http.StatusUnauthorized:
		c.count(func(counted *calls) { counted.refused++ })
	default:
		c.count(func(counted *calls) { counted.failed++ })
	}
}

func (c *consumer) count(add func(*calls)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.calls)
}

// take returns the counts since its last call.
func (c *consumer) take() calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.calls
	c.calls = calls{}
	return taken
}
