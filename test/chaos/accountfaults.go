// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// deniedWait is how long the operator does not ask a project that refuses each of its tokens.
	deniedWait = 65 * time.Second
	// doubtWait is how long the operator waits after it was told for the first time that there is no such account, and
	// longDoubtWait after it was told so again.
	doubtWait, longDoubtWait = 30 * time.Second, time.Minute
	// bearerAge is how old a token of the operator's own must be so that the operator replaces it when it is refused.
	bearerAge = time.Minute
	// fetchFaults is the name of the faults that affect PipedreamAccounts only.
	fetchFaults = "fetches"
)

// accountFaults holds the faults of calls for accounts that the run adds to the simulator.
var accountFaults = map[kind]map[string]any{
	fetchesThrottled: {"status": http.StatusTooManyRequests, "body": `{"error":"Throttled"}`},
	fetchesBroken:    {"status": http.StatusInternalServerError, "body": `{"error":"broken"}`},
	fetchesHTML:      {"status": http.StatusOK, "body": "<html>Sign in</html>", "headers": map[string]string{"Content-Type": "text/html"}},
	fetchesDropped:   {"drop": "before-answer"},
	fetchesTooSlow:   {"delay": "15s"},
	fetchesNotFound:  {"status": http.StatusNotFound, "body": `{"error":"Not Found"}`},
	bearersRefused:   {"status": http.StatusUnauthorized, "body": `{"error":"Unauthorized"}`},
}

// accountShapes are shapes in which Pipedream may answer for accounts.
var accountShapes = [shapeCount]map[string]string{
	{"single": "bare", "listing": "data", "cursor": "total", "no-expiry": "null", "rest-single": "data"},
	{"single": "data", "listing": "accounts", "cursor": "always", "no-expiry": "absent", "rest-single": "bare"},
	{"single": "list", "listing": "bare", "cursor": "none", "no-expiry": "null"},
	{"single": "data", "listing": "data", "cursor": "null", "no-expiry": "absent"},
}

// readers returns the OAuth clients whose PipedreamAccounts the action affects.
func (a action) readers() []int {
	if a.kind == bearersRefused || a.kind == bearersRevoked {
		return []int{a.client}
	}
	all := make([]int, readerCount)
	for i := range all {
		all[i] = i
	}
	return all
}

// accountFaultsOf returns the faults that an action adds to the simulator: at both endpoints, but only for the clients
// that read accounts, because the PipedreamTokens of the run must not notice; and for the API keys, unless the action is
// about OAuth clients only.
func accountFaultsOf(a action) []map[string]any {
	var all []map[string]any
	add := func(endpoint simulator.Endpoint, caller string) {
		fault := maps.Clone(accountFaults[a.kind])
		fault["name"], fault["endpoint"], fault["client_id"] = fetchFaults, endpoint, caller
		if a.retryAfter > 0 {
			fault["headers"] = retryAfterHeader(a.retryAfter)
		}
		all = append(all, fault)
	}
	for _, reader := range a.readers() {
		add(simulator.EndpointAccount, readerID(reader))
		add(simulator.EndpointAccounts, readerID(reader))
	}
	for key := 0; key < keyCount && a.kind != bearersRefused; key++ {
		add(simulator.EndpointRESTAccount, keyHolderID(key))
	}
	return all
}

// failFetches makes the simulator's calls for accounts fail for a while, and tells promises and budget what the failure
// allows.
func (c *chaos) failFetches(ctx context.Context, a action) error {
	switch a.kind {
	case answersReshaped:
		c.reporter.recordDisturbance(a)
		return c.env.pipedream.reshape(ctx, accountShapes[a.variant]) // It disturbs no promise.
	case bearersRevoked:
		return c.revokeBearers(ctx, a)
	}
	began := time.Now()
	disturbed := c.promises.begin(ofAccounts, 0, began)
	if a.kind == fetchesNotFound {
		c.accounts.doubt(began.Add(a.last))
	}
	var failed error
	for _, fault := range accountFaultsOf(a) {
		failed = errors.Join(failed, c.env.pipedream.fail(ctx, fault))
	}
	c.reporter.recordDisturbance(a)
	_ = harness.Pause(ctx, a.last)
	failed = errors.Join(failed, c.env.pipedream.heal(ctx, fetchFaults))
	now := time.Now()
	c.promises.endFault(disturbed, now)
	c.fetches.allowAll(1, now) // Each account may be looked at once more when the failure is over.
	calls := 1
	switch a.kind {
	case fetchesNotFound:
		c.promises.prolong(disturbed, now.Add(doubtWait))
		calls = 2 // With another token of the operator's own.
		c.fetches.allowBearers(1, 0)
	case bearersRefused:
		c.promises.end(c.promises.begin(ofReader, a.client, began), now.Add(deniedWait))
		calls = 2
		c.fetches.allowBearers(1, 0)
	case fetchesDropped:
		calls = 2 // The HTTP client repeats a call whose connection was dropped.
	}
	c.fetches.allowFault(now.Sub(began), calls)
	return failed
}

// revokeBearers revokes the operator's own tokens of an OAuth client. The operator replaces a refused token at once,
// unless the token is not a minute old: then it asks no project again for a while that has refused the token.
func (c *chaos) revokeBearers(ctx context.Context, a action) error {
	now := time.Now()
	disturbed := c.promises.begin(ofReader, a.client, now)
	counters, err := c.env.pipedream.counters(ctx)
	until := now
	for _, exchange := range counters.Log {
		if exchange.ClientID == readerID(a.client) && now.Sub(exchange.Time) < bearerAge {
			until = exchange.Time.Add(bearerAge + deniedWait)
		}
	}
	c.fetches.allowBearers(1, 0)
	err = errors.Join(err, c.env.pipedream.revokeReader(ctx, a.client))
	c.reporter.recordDisturbance(a)
	c.promises.end(disturbed, until)
	return err
}
