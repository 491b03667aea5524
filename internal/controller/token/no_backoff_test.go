// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A request that fails at each attempt is made less and less often, also if another request of the same
// attempt works.
func TestFailingDryRunIsMadeLessAndLessOften(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issued()
	deleteTarget(w)
	dryRuns := 0
	w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/status") && r.URL.Query().Get("dryRun") != "" {
			dryRuns++
			return says(503, metav1.StatusReasonServiceUnavailable)()
		}
		return nil, nil
	})
	for end := w.clock.Now().Add(10 * time.Minute); w.clock.Now().Before(end); {
		result, err := w.tryReconcile()
		if err != nil || result.RequeueAfter <= 0 {
			result.RequeueAfter = time.Second
		}
		w.pass(result.RequeueAfter)
	}
	// 1, 2, 4, 8, 16 and then each 30 seconds, up to a fifth earlier.
	if dryRuns > 35 {
		t.Errorf("in ten minutes, a dry run that always fails was made %d times", dryRuns)
	}
	w.wantExchanges(1)
}
