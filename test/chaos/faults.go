// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// cutCalls is how many answers are cut in the middle: each loses a token that was
// issued.
const cutCalls = 5

// faults is what the simulator is told to do.
var faults = map[kind]map[string]any{
	throttled:      {"endpoint": "token", "status": http.StatusTooManyRequests, "body": `{"error":"try later"}`},
	busy:           {"endpoint": "token", "status": http.StatusServiceUnavailable, "body": `{"error":"try later"}`},
	broken:         {"endpoint": "token", "status": http.StatusInternalServerError, "body": `{"error":"broken"}`},
	html:           {"endpoint": "token", "status": http.StatusOK, "body": "<html>Sign in</html>", "headers": map[string]string{"Content-Type": "text/html"}},
	dropped:        {"endpoint": "token", "drop": "before-answer"},
	cut:            {"endpoint": "token", "drop": "mid-body", "calls": cutCalls},
	slow:           {"endpoint": "token", "delay": "1500ms"},
	tooSlow:        {"endpoint": "token", "delay": "15s"},
	refusedClient:  {"endpoint": "token", "status": http.StatusUnauthorized, "body": `{"error":"invalid_client"}`},
	refusedAll:     {"endpoint": "token", "status": http.StatusUnauthorized, "body": `{"error":"invalid_client"}`},
	tokensRefused:  {"endpoint": "accounts", "status": http.StatusUnauthorized, "body": `{"error":"Unauthorized"}`},
	listingsBroken: {"endpoint": "accounts", "status": http.StatusServiceUnavailable},
	forgotten:      {"endpoint": "token", "delay": "1500ms"}, // so that there are connections to forget
}

// fault returns what the simulator is told to do for an action.
func (a action) fault() map[string]any {
	fault := maps.Clone(faults[a.kind])
	if a.retryAfter > 0 {
		fault["headers"] = map[string]string{"Retry-After": strconv.Itoa(a.retryAfter)}
	}
	if a.kind == refusedClient {
		fault["client_id"] = clientID(a.client)
	}
	return fault
}

// regardsTokens tells whether the fault is in the way of consumers.
func (a action) regardsTokens() bool {
	return a.kind == tokensRefused || a.kind == listingsBroken
}

// refuses returns the clients whose credentials the fault refuses.
func (a action) refuses() []int {
	switch a.kind {
	case refusedClient:
		return []int{a.client}
	case refusedAll:
		return everyClient()
	}
	return nil
}

func everyClient() []int {
	clients := make([]int, clientCount)
	for i := range clients {
		clients[i] = i
	}
	return clients
}

// failPipedream has the simulator fail for a while.
func (c *chaos) failPipedream(ctx context.Context, a action) error {
	if a.regardsTokens() {
		c.observer.mute(true)
		defer c.observer.mute(false)
	}
	began := time.Now()
	disturbed := c.promises.begin(ofPipedream, 0, began)
	var clients []*disturbance
	for _, i := range a.refuses() {
		clients = append(clients, c.promises.begin(ofClient, i, began))
		c.ledger.refusal(i)
	}
	if a.kind == tokensRefused {
		c.judge.explainVerified(began) // Each refused token is replaced, once.
	}
	err := c.fail(ctx, a)
	now := time.Now()
	c.promises.endFault(disturbed, now)
	for _, d := range clients {
		c.promises.end(d, now.Add(refusalWait))
	}
	c.payFor(a, now.Sub(began))
	if a.kind == tokensRefused {
		c.judge.explainVerified(now)
		return c.resumeVerification(ctx)
	}
	return err
}

// fail has the simulator fail, and mends it after a while.
func (c *chaos) fail(ctx context.Context, a action) error {
	if a.kind == caRotated {
		c.diary.did(a)
		return c.rotateCA(ctx, a)
	}
	if err := c.stage.pipedream.fail(ctx, a.fault()); err != nil {
		return err
	}
	c.diary.did(a)
	_ = harness.Pause(ctx, a.last)
	var err error
	if a.kind == forgotten {
		err = c.forgetConnections(ctx)
	}
	return errors.Join(err, c.stage.pipedream.heal(ctx))
}

// forgetConnections has the simulator forget the connections that are open now. Tokens
// that are issued on them reach nobody.
func (c *chaos) forgetConnections(ctx context.Context) error {
	lost, err := c.stage.pipedream.forgetConnections(ctx)
	c.ledger.crash(0, lost)
	return err
}

// rotateCA has the simulator rotate its CA, and lets the managers have the new one only
// after a while, in which half of it is in their file.
func (c *chaos) rotateCA(ctx context.Context, a action) error {
	ca, err := c.stage.pipedream.rotateCA(ctx)
	if err != nil {
		return err
	}
	err = os.WriteFile(c.stage.caFile(), ca[:len(ca)/2], 0o600)
	_ = harness.Pause(ctx, a.last)
	return errors.Join(err, os.WriteFile(c.stage.caFile(), ca, 0o600))
}

// payFor says what exchanges a fault may cost.
func (c *chaos) payFor(a action, lasted time.Duration) {
	switch {
	case a.regardsTokens(), len(a.refuses()) > 0:
		return
	case a.kind == cut:
		c.ledger.crash(0, cutCalls)
		return
	}
	for i := range clientCount {
		c.ledger.fault(i, lasted)
	}
}

// resumeVerification does what a person would do after Pipedream had refused every
// token. Verification may be suspended for an hour; a changed spec is verified at once.
func (c *chaos) resumeVerification(ctx context.Context) error {
	for i := range objectCount {
		if !isVerified(i) {
			continue
		}
		c.ledger.deed(clientOf(i), 1)
		if err := c.nudge(ctx, i); err != nil {
			return err
		}
	}
	return nil
}
