// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"net/http"
	"testing"
	"time"
)

// TestAnAnswerFromACache has a proxy answer with what it has kept for ten minutes. The Date is then no time of the
// answer, and the credentials do not live longer for it.
func TestAnAnswerFromACache(t *testing.T) {
	t.Parallel()
	header := http.Header{"Date": {second.Add(-10 * time.Minute).Format(http.TimeFormat)}, "Age": {"600"}}
	server := serve(t, answerWith(http.StatusOK, header, account()))
	got, err := fetch(t, newClient(t, server.URL), byID)
	if err != nil {
		t.Fatal(err)
	}
	if want := good().Expires; got.ExpirationTime.After(want) {
		t.Errorf("the credentials expire at %s, and are called good until %s", want, got.ExpirationTime)
	}
}
