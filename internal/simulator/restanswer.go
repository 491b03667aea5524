// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"net/http"
	"slices"
)

// The answers of the REST API that can be chosen, in addition to the answers of the Connect API.
const (
	// AnswerRESTSingle is what a single account of the REST API is wrapped in.
	AnswerRESTSingle = "rest-single"
	// AnswerRESTListing is what a list of accounts of the REST API is wrapped in.
	AnswerRESTListing = "rest-listing"
	// AnswerRESTFields is which fields an account of the REST API has.
	AnswerRESTFields = "rest-fields"
	// AnswerRESTOAuth is how the REST API answers a call for accounts with an access token of an OAuth client.
	AnswerRESTOAuth = "rest-oauth"
	// AnswerRefusedKey is the body of the 401 to an API key that is not accepted.
	AnswerRefusedKey = "refused-key"
	// AnswerOrgID is what org_id does in a call with an API key.
	AnswerOrgID = "org-id"
	// AnswerForeignWorkspace is how a call is answered whose org_id is a workspace that the user is not in.
	AnswerForeignWorkspace = "foreign-workspace"
	// AnswerForeignAccount is how a call is answered for an account that the caller may not see.
	AnswerForeignAccount = "foreign-account"
	// AnswerUser is which fields GET /v1/users/me has.
	AnswerUser = "users-me"
	// AnswerUserOAuth is how GET /v1/users/me answers an access token of an OAuth client.
	AnswerUserOAuth = "users-me-oauth"
)

// refusedKey answers a call with an API key that is not accepted.
func (a accountAnswers) refusedKey(key string) answer {
	const status = http.StatusUnauthorized
	page := func(contentType, body string) answer {
		return answer{status: status, headers: map[string]string{"Content-Type": contentType}, body: []byte(body)}
	}
	switch a[AnswerRefusedKey] {
	case "empty":
		return answer{status: status}
	case "text":
		return page("text/plain; charset=utf-8", "Unauthorized")
	case "html":
		return page("text/html; charset=utf-8", "<html><head><title>401 Authorization Required</title></head><body></body></html>")
	case "oauth":
		refused := oauthError(status, "invalid_token", "The access token was revoked")
		refused.headers["WWW-Authenticate"] = `Bearer error="invalid_token"`
		return refused
	case "details":
		return jsonAnswer(status, map[string]any{
			"error": "The API key is not valid", "code": "unauthorized", "details": map[string]string{"api_key": key}, // No client may show this.
		})
	}
	return apiError(status, "Unauthorized")
}

// workspacesFor returns the workspaces whose accounts a call of a user may see, or refuses the call because of its
// org_id.
func (a accountAnswers) workspacesFor(r *http.Request, caller *user) (workspaces []string, refused *answer) {
	asked, reading := r.URL.Query().Get("org_id"), a[AnswerOrgID]
	switch {
	case reading == valueIgnored, reading == "optional" && asked == "":
		return caller.workspaces, nil
	case reading == "first" && asked == "":
		return caller.workspaces[:1], nil
	case asked == "":
		return nil, new(apiError(http.StatusBadRequest, "org_id is required"))
	case !slices.Contains(caller.workspaces, asked):
		return nil, new(refusalFor(a[AnswerForeignWorkspace]))
	}
	return []string{asked}, nil
}

// user returns the answer that says who a user is.
func (a accountAnswers) user(caller *user) answer {
	name := caller.id[len("u_"):]
	fields := map[string]any{"id": caller.id, "username": name, "email": name + "@users.example"}
	if a[AnswerUser] == "billing" {
		fields["billing_period_start_ts"], fields["billing_period_end_ts"], fields["billing_period_credits"] = 1772323200, 1775001600, 0
		return jsonAnswer(http.StatusOK, map[string]any{"data": fields})
	}
	fields["daily_compute_time_quota"], fields["daily_compute_time_used"] = 95400000, 0
	fields["daily_invocations_quota"], fields["daily_invocations_used"] = 27344, 0
	workspaces := []any{}
	for _, id := range caller.workspaces {
		workspaces = append(workspaces, map[string]any{
			"name": "Workspace " + id, "id": id, "orgname": "workspace-" + id, "email": id + "@workspaces.example",
			"daily_credits_quota": 100, "daily_credits_used": 0,
		})
	}
	fields["orgs"] = workspaces
	return jsonAnswer(http.StatusOK, map[string]any{"data": fields})
}
