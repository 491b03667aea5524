// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"net/http"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// TestTheUserIsInNoError has requests with the user in their address fail in each way.
func TestTheUserIsInNoError(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]simulator.Fault{
		"cut":       {Drop: simulator.DropBeforeAnswer},
		"cut body":  {Drop: simulator.DropMidBody},
		"302":       {Status: http.StatusFound, Headers: map[string]string{"Location": "http://127.0.0.1:1/?external_user_id=acme-prod"}},
		"400":       {Status: http.StatusBadRequest, Body: `{"error":"acme-prod","error_description":"acme-prod"}`},
		"header":    {Status: http.StatusOK, Headers: map[string]string{"X-Request-Id": "acme-prod"}, Body: "acme-prod"},
		"other app": {Status: http.StatusOK, Body: `{"data":[{"id":"apn_x","app":{"name_slug":"acme-prod"},"external_id":"acme-prod","credentials":{"acme-prod":"acme-prod"}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create(byUser)
			fault.Endpoint = simulator.EndpointAccounts
			must(t, w.pipedream.AddFault(fault))
			w.reconcile()
			w.live(time.Minute)
			if w.fetches() == 0 {
				t.Error("nothing was asked")
			}
			w.wantNoSecretSeen()
		})
	}
}
