// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// answer has Pipedream answer each request for the account with the given fields beside the ID.
func (w *world) answer(fields string) {
	w.Helper()
	must(w.T, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointAccount, Status: 200, Headers: map[string]string{"Content-Type": "application/json"},
		Body: `{"id":"` + accountID + `",` + fields + `}`,
	}))
}

// TestATimeThatNoRecordCanHold has Pipedream answer with a time whose year in UTC has five digits, or is before the year
// 0. It must not make the operator take its own Secret for edited, nor fail to write the status.
func TestATimeThatNoRecordCanHold(t *testing.T) {
	t.Parallel()
	const late, early = "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"
	for name, test := range map[string]struct{ field, value string }{
		"the expiry is too late":        {"expires_at", late},
		"the next refresh is too late":  {"next_refresh_at", late},
		"the next refresh is too early": {"next_refresh_at", early},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			w.answer(`"` + test.field + `":"` + test.value + `","credentials":{"oauth_access_token":"a-token"}`)
			for range 20 {
				result, err := w.tryReconcile()
				if err != nil {
					t.Fatalf("the reconcile fails: %v", err)
				}
				w.pass(min(max(result.RequeueAfter, time.Second), time.Minute))
			}
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			if got := w.fetches(); got > 2 {
				t.Errorf("Pipedream was asked %d times", got)
			}
			w.restart()
			w.wire.Reset()
			w.reconcile()
			w.wantRequests(map[string]int{})
		})
	}
}
