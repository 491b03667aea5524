// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"strings"
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

// TestCredentialsAreWrittenAsTheyAre has Pipedream answer with texts that are not UTF-8, or that no text in UTF-8 can
// hold. A Secret with other bytes is of no use.
func TestCredentialsAreWrittenAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"bytes that are not UTF-8":  "pass\xffword",
		"half of a surrogate pair":  `pass\ud800word`,
		"signs beyond ASCII":        "pass\u00dfword",
		"the replacement character": "pass\ufffdword",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			w.answer(`"credentials":{"password":"` + value + `"}`)
			w.reconcile()
			if ready := w.condition(v1alpha1.ConditionReady); ready.Reason == v1alpha1.ReasonCredentialsValid {
				if got := string(w.target().Data["password"]); got != value {
					t.Errorf("Ready is True, and the Secret holds %q in place of %q", got, value)
				}
				return
			}
			w.wantReasons(v1alpha1.ReasonMalformedResponse, v1alpha1.ReasonNotFetched)
			if message := w.condition(v1alpha1.ConditionFetched).Message; !strings.Contains(message, "a text that UTF-8 can't hold") {
				t.Errorf("Fetched says %q", message)
			}
			if w.hasTarget() {
				t.Error("there is a Secret")
			}
		})
	}
}
