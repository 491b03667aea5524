// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"maps"
	"net/http"
	"time"
)

// shown is an account in an answer.
type shown map[string]any

// show returns the account as it is answered. With credentials, it counts as fetched, and may be refreshed.
func (c *account) show(answers accountAnswers, now time.Time, withCredentials bool) shown {
	c.advance(now)
	if withCredentials {
		c.count.Fetches++
		c.askedFor(now)
	}
	out := shown{
		"id": c.id, "name": nil, "external_id": c.ExternalUserID, "healthy": c.Healthy, "dead": c.Dead,
		"app": map[string]any{
			"id": "app_" + c.App, "name_slug": c.App, "name": c.App, "auth_type": c.AuthType, "description": "An app.",
			"img_src": "https://assets.example/" + c.App, "custom_fields_json": "[]", "categories": []string{}, "featured_weight": 1,
		},
		"created_at": timeText(c.created), "updated_at": timeText(c.refreshed), "authorized_scopes": []string{},
		"error": nil, "last_refreshed_at": timeText(c.refreshed), "expires_at": timeText(c.expires()), "next_refresh_at": c.nextRefreshText(now),
	}
	if !c.isRefreshable() && c.AuthType == AuthOAuth {
		out["error"] = "the app has refused the refresh token " + c.secret("refresh") // No client may show this.
	}
	if c.ExternalUserID == "" {
		out["external_id"] = nil
	}
	answers.omit(c, out)
	if withCredentials {
		c.addCredentials(out)
	}
	return out
}

// addCredentials adds the credentials to an answer, in the way that is chosen for the account.
func (c *account) addCredentials(out shown) {
	switch {
	case c.Credentials == CredentialsAbsent:
	case c.Credentials == CredentialsNull, c.AuthType == AuthNone:
		out["credentials"] = nil
	case c.Credentials == CredentialsEmpty:
		out["credentials"] = map[string]any{}
	default:
		out["credentials"] = c.credentials()
	}
}

// credentials returns the credentials of the account with all of their fields.
func (c *account) credentials() map[string]any {
	fields := map[string]any{}
	switch c.AuthType {
	case AuthOAuth:
		fields["oauth_client_id"], fields["oauth_uid"] = "client-of-"+c.App, "uid-"+c.id
		fields["oauth_access_token"], fields["oauth_refresh_token"] = c.secret("token"), c.secret("refresh")
	case AuthKeys:
		fields["api_key"] = c.secret("token")
	}
	maps.Copy(fields, c.Fields)
	return fields
}

// showForREST returns the account as the REST API answers it.
func (c *account) showForREST(r *http.Request, answers accountAnswers, now time.Time) shown {
	s := c.show(answers, now, wantsCredentials(r))
	if answers[AnswerRESTFields] == "all" {
		return s
	}
	out := shown{}
	for _, name := range []string{"id", "created_at", "updated_at", "expires_at", "name", "healthy", "credentials"} {
		if value, ok := s[name]; ok {
			out[name] = value
		}
	}
	app, _ := s["app"].(map[string]any)
	out["app"] = map[string]any{"id": app["id"], "name": app["name"]}
	return out
}

// timeText returns a time as Pipedream writes it; nil for the zero time.
func timeText(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC().Format("2006-01-02T15:04:05.000Z")
}
