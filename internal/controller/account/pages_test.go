// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestEachRequestCountsAtTheLimiter has Pipedream answer each listing with a cursor, and not say how many accounts
// there are. The pace of the operator must hold for requests, not for looks.
func TestEachRequestCountsAtTheLimiter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createCredentials()
	w.create(byUser)
	must(t, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointAccounts, Status: http.StatusOK, Headers: map[string]string{"Content-Type": "application/json"},
		Body: `{"data":[{"id":"apn_a","external_id":"acme-prod","credentials":{"a":"b"}}],"page_info":{"end_cursor":"more"}}`,
	}))
	counting := &countingTurns{Requests: w.reconciler.Requests}
	w.reconciler.Requests = counting
	w.reconcile()
	if got := w.fetches(); got != counting.turns+counting.charged || got != 2 {
		t.Errorf("%d requests were sent with %d turns, and %d were charged", got, counting.turns, counting.charged)
	}
}

// countingTurns counts the turns that were used, and the requests that were charged without a turn.
type countingTurns struct {
	Requests
	turns, charged int
}

func (c *countingTurns) Charge(project string) {
	c.charged++
	c.Requests.Charge(project)
}

func (c *countingTurns) Do(project string, requester throttle.Requester, options throttle.DoOptions, request func() error) error {
	c.turns++
	return c.Requests.Do(project, requester, options, request)
}
