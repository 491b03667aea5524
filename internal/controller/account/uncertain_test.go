// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// lost lets the API server do a call, and loses its answer.
func lost(call string) harness.Responder {
	return func(got string, _ *http.Request, forward func() (*http.Response, error)) (*http.Response, error) {
		response, err := forward()
		if got != call || err != nil {
			return response, err
		}
		_ = response.Body.Close()
		return &http.Response{StatusCode: http.StatusGatewayTimeout, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewBufferString("{}"))}, nil
	}
}

// TestALostAnswerOfTheAPIServer has the API server do each call of a fetch without an answer.
func TestALostAnswerOfTheAPIServer(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"POST secrets", "PUT secrets", "PATCH pipedreamaccounts/status", "GET secrets"} {
		t.Run(strings.ReplaceAll(call, "/", " "), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create(eachTenMinutes)
			if call == "PUT secrets" {
				w.reconcile()
				must(t, w.pipedream.Accounts.Refresh(accountID))
				w.pass(11 * time.Minute)
			}
			fetches := w.fetches()
			w.wire.Respond(lost(call))
			_, _ = w.tryReconcile()
			w.wire.Respond(nil)
			w.pass(2 * time.Second)
			w.live(3 * time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			if got := w.fetches() - fetches; got > 2 {
				t.Errorf("Pipedream was asked %d times, want one more than once at most", got)
			}
			if !w.accepted() {
				t.Error("the app refuses the access token in the Secret")
			}
		})
	}
}
