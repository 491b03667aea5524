// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// unclear is the error for an account of which the Client can't tell whose it is.
var unclear = pipedream.Error{
	Kind: pipedream.Malformed, StatusCode: http.StatusOK, Detail: "the answer's external_id or app is not a readable name",
}

// TestAnAccountWithoutAReadableName has the API ignore the filter, and name users and apps in a form that can't be compared
// with a text. Another user's account must not be taken for the one that is asked for.
func TestAnAccountWithoutAReadableName(t *testing.T) {
	t.Parallel()
	byNumber := pipedream.AccountQuery{ProjectID: "p", Environment: "production", ExternalUserID: "42", App: "slack"}
	byReplacement := pipedream.AccountQuery{ProjectID: "p", Environment: "production", ExternalUserID: "a\ufffd", App: "slack"}
	withApp := pipedream.AccountQuery{ProjectID: "p", AccountID: "apn_1", App: "slack"}
	for name, test := range map[string]struct {
		query        pipedream.AccountQuery
		field, value string
	}{
		"a user that is a number":      {byNumber, "external_id", "41"},
		"a user that is that number":   {byNumber, "external_id", "42"},
		"a user that is an object":     {byNumber, "external_id", `{"id":"41"}`},
		"a user that is a boolean":     {byNumber, "external_id", "true"},
		"a user that is a list":        {byNumber, "external_id", `["42"]`},
		"a user that is an empty text": {byNumber, "external_id", `""`},
		"a user that is not UTF-8":     {byReplacement, "external_id", "\"a\xff\""},
		"a user with half a character": {byReplacement, "external_id", `"a\ud800"`},
		"an app that is a text":        {byUser, "app", `"github"`},
		"a slug that is a number":      {byUser, "app", `{"name_slug":7}`},
		"a slug in capitals":           {byUser, "app", `{"name_slug":"GITHUB"}`},
		"by ID, an app that is a text": {withApp, "app", `"github"`},
		"by ID, a slug in capitals":    {withApp, "app", `{"id":"oa_2","name_slug":"GITHUB"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(http.StatusOK, sameTime, `{"data":[`+account(test.field, test.value)+`]}`))
			got, err := fetch(t, newClient(t, server.URL), test.query)
			if err == nil {
				t.Fatalf("the account %s is taken, and its %s is %s", got.ID, test.field, test.value)
			}
			if diff := cmp.Diff(unclear, wantError(t, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnUnreadableNameOfAnotherAccount checks that an account without a readable name does not hide another account, and
// that a name is not needed where nothing is compared with it.
func TestAnUnreadableNameOfAnotherAccount(t *testing.T) {
	t.Parallel()
	odd := account("id", `"apn_2"`, "external_id", "7")
	oddOfOtherApp := account("id", `"apn_2"`, "external_id", "7", "app", `{"name_slug":"github"}`)
	dead := account("id", `"apn_3"`, "dead", "true")
	for name, test := range map[string]struct {
		query pipedream.AccountQuery
		body  string
		want  string
		err   pipedream.Kind
	}{
		"beside the right one":           {byUser, "[" + odd + "," + account() + "]", "apn_1", ""},
		"of another app":                 {byUser, "[" + oddOfOtherApp + "]", "", pipedream.AccountNotFound},
		"beside a dead one":              {byUser, "[" + odd + "," + dead + "]", "", pipedream.Malformed},
		"the user of an ID":              {byID, account("external_id", "7"), "apn_1", ""},
		"the app of an ID":               {byID, account("app", `"github"`), "apn_1", ""},
		"the slug of an app with its ID": {pipedream.AccountQuery{ProjectID: "p", AccountID: "apn_1", App: "oa_1"}, account("app", `{"id":"oa_1","name_slug":7}`), "apn_1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(http.StatusOK, sameTime, test.body))
			got, err := fetch(t, newClient(t, server.URL), test.query)
			if test.err != "" {
				if cause := wantError(t, err); cause.Kind != test.err {
					t.Errorf("the error is %s: %v, want %s", cause.Kind, err, test.err)
				}
			} else if err != nil || got.ID != test.want {
				t.Errorf("the account is %q, %v, want %q", got.ID, err, test.want)
			}
		})
	}
}
