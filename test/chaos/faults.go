// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"maps"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// tokenFaults is the name of the faults that are not fetchFaults.
const tokenFaults = "tokens"

// cutCalls is how many answers a fault cuts in the middle. Each of them loses an issued token.
const cutCalls = 5

// faults holds the faults that the run adds to the simulator.
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
	forgotten:      {"endpoint": "token", "delay": "1500ms"}, // So that the simulator has open connections to forget.
}

// faultsOf returns the faults that an action adds to the simulator. A use of a token fails only for the OAuth clients of
// PipedreamTokens: PipedreamAccounts are fetched at the same endpoint, and have faults of their own.
func faultsOf(a action) []map[string]any {
	clients := []string{""}
	switch {
	case a.kind == refusedClient:
		clients = []string{clientID(a.client)}
	case a.breaksTokenUse():
		clients = nil
		for _, i := range everyClient() {
			clients = append(clients, clientID(i))
		}
	}
	var all []map[string]any
	for _, client := range clients {
		fault := maps.Clone(faults[a.kind])
		fault["name"], fault["client_id"] = tokenFaults, client
		if a.retryAfter > 0 {
			fault["headers"] = retryAfterHeader(a.retryAfter)
		}
		all = append(all, fault)
	}
	return all
}

func retryAfterHeader(seconds int) map[string]string {
	return map[string]string{"Retry-After": strconv.Itoa(seconds)}
}

// breaksTokenUse reports whether the fault changes the simulator's answers to consumers.
func (a action) breaksTokenUse() bool {
	return a.kind == tokensRefused || a.kind == listingsBroken
}

// refuses returns the OAuth clients whose credentials the simulator refuses during the action.
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

// failPipedream makes the simulator fail for a while, and tells promises and budget what the failure allows.
func (c *chaos) failPipedream(ctx context.Context, a action) error {
	if a.breaksTokenUse() {
		c.observer.ignoreAnswers(true)
		defer c.observer.ignoreAnswers(false)
	}
	began := time.Now()
	disturbed := c.promises.begin(ofPipedream, 0, began)
	// What fails here is a failure for PipedreamAccounts, too, beside the faults that affect them only.
	disturbedAccounts := c.promises.begin(ofAccounts, 0, began)
	var clients []*disturbance
	if a.kind == refusedAll {
		for i := range readerCount {
			clients = append(clients, c.promises.begin(ofReader, i, began))
		}
	}
	for _, i := range a.refuses() {
		clients = append(clients, c.promises.begin(ofClient, i, began))
		c.budget.allowRefusal(i)
	}
	if a.kind == tokensRefused {
		c.evaluator.expectVerifiedRenewals(began) // The operator replaces each refused token once.
	}
	err := c.fail(ctx, a)
	now := time.Now()
	c.promises.endFault(disturbed, now)
	c.promises.endFault(disturbedAccounts, now)
	c.allowAccountFailures(a, now.Sub(began))
	for _, d := range clients {
		c.promises.end(d, now.Add(refusalWait))
	}
	c.allowFailures(a, now.Sub(began))
	if a.kind == tokensRefused {
		c.evaluator.expectVerifiedRenewals(now)
		return c.resumeVerification(ctx)
	}
	return err
}

// fail makes the simulator fail, and ends the failure after a.last.
func (c *chaos) fail(ctx context.Context, a action) error {
	if a.kind == caRotated {
		c.reporter.recordDisturbance(a)
		return c.rotateCA(ctx, a)
	}
	for _, fault := range faultsOf(a) {
		if err := c.env.pipedream.fail(ctx, fault); err != nil {
			return err
		}
	}
	c.reporter.recordDisturbance(a)
	_ = harness.Pause(ctx, a.last)
	var err error
	if a.kind == forgotten {
		err = c.forgetConnections(ctx)
	}
	return errors.Join(err, c.env.pipedream.heal(ctx, tokenFaults))
}

// forgetConnections makes the simulator forget its open connections. Tokens that it issues on them never
// arrive at the operator.
func (c *chaos) forgetConnections(ctx context.Context) error {
	lost, err := c.env.pipedream.forgetConnections(ctx)
	c.budget.allowCrash(0, lost)
	return err
}

// rotateCA makes the simulator rotate its CA. The managers' CA file holds only half of the new CA until a.last
// has passed.
func (c *chaos) rotateCA(ctx context.Context, a action) error {
	ca, err := c.env.pipedream.rotateCA(ctx)
	if err != nil {
		return err
	}
	err = os.WriteFile(c.env.caFile(), ca[:len(ca)/2], 0o600)
	_ = harness.Pause(ctx, a.last)
	return errors.Join(err, os.WriteFile(c.env.caFile(), ca, 0o600))
}

// allowFailures adds the exchanges that a fault may cost to the budget.
func (c *chaos) allowFailures(a action, lasted time.Duration) {
	switch {
	case a.breaksTokenUse(), len(a.refuses()) > 0:
		return
	case a.kind == cut:
		c.budget.allowCrash(0, cutCalls)
		return
	}
	for i := range clientCount {
		c.budget.allowFault(i, lasted)
	}
}

// allowAccountFailures adds what a fault that is not about accounts may cost PipedreamAccounts: tokens of the operator's
// own that are refused or never arrive, and one more look at each account when Pipedream answers again.
func (c *chaos) allowAccountFailures(a action, lasted time.Duration) {
	if a.breaksTokenUse() {
		return
	}
	c.fetches.allowAll(1, time.Now())
	fresh := 0
	if a.kind == cut || a.kind == tooSlow || a.kind == forgotten {
		fresh = 1 // A token that was issued and did not arrive.
	}
	c.fetches.allowBearers(fresh, 2*(2+math.Log2(1+lasted.Seconds())))
}

// resumeVerification changes the spec of each verified object, as a user would after Pipedream had refused
// every token. The operator may have suspended verification for an hour. It verifies the token of a changed
// spec at once.
func (c *chaos) resumeVerification(ctx context.Context) error {
	for i := range objectCount {
		if !isVerified(i) {
			continue
		}
		c.budget.trigger(clientOf(i), 1)
		if err := c.changeVerification(ctx, i); err != nil {
			return err
		}
	}
	return nil
}
