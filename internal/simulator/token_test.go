// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func TestAnExchangeIsRefused(t *testing.T) {
	t.Parallel()
	const good = `{"grant_type":"client_credentials","client_id":"orders","client_secret":"hunter2-of-orders"}`
	tests := map[string]struct {
		method      string
		contentType string
		body        string
		wantStatus  int
		wantError   string
	}{
		"because it is a GET": {
			method: http.MethodGet, wantStatus: http.StatusMethodNotAllowed, wantError: "method not allowed, use POST",
		},
		"because it is a form": {
			contentType: "application/x-www-form-urlencoded", body: "grant_type=client_credentials",
			wantStatus: http.StatusUnsupportedMediaType, wantError: "invalid_request",
		},
		"because it does not say that it is JSON": {
			contentType: "-", body: good, wantStatus: http.StatusUnsupportedMediaType, wantError: "invalid_request",
		},
		"because it is broken JSON": {
			body: good[:20], wantStatus: http.StatusBadRequest, wantError: "invalid_request",
		},
		"because it is no object": {
			body: `["client_credentials"]`, wantStatus: http.StatusBadRequest, wantError: "invalid_request",
		},
		"because a field is no string": {
			body:       strings.Replace(good, `"orders"`, "7", 1),
			wantStatus: http.StatusBadRequest, wantError: "invalid_request",
		},
		"because it is larger than 64 KiB": {
			body:       strings.Replace(good, "{", "{"+strings.Repeat(" ", 64<<10), 1),
			wantStatus: http.StatusBadRequest, wantError: "invalid_request",
		},
		"because the grant type is missing": {
			body: `{"client_id":"orders"}`, wantStatus: http.StatusBadRequest, wantError: "invalid_request",
		},
		"because the grant type is another": {
			body:       strings.Replace(good, "client_credentials", "password", 1),
			wantStatus: http.StatusBadRequest, wantError: "unsupported_grant_type",
		},
		"because there are no credentials": {
			body:       `{"grant_type":"client_credentials"}`,
			wantStatus: http.StatusUnauthorized, wantError: "invalid_client",
		},
		"because the client is unknown": {
			body:       strings.Replace(good, `"orders"`, `"nobody"`, 1),
			wantStatus: http.StatusUnauthorized, wantError: "invalid_client",
		},
		"because the secret is wrong": {
			body:       strings.Replace(good, "hunter2-of", "hunter3-of", 1),
			wantStatus: http.StatusUnauthorized, wantError: "invalid_client",
		},
		"because a scope is unknown": {
			body:       strings.Replace(good, "{", `{"scope":"connect:accounts:read connect:everything",`, 1),
			wantStatus: http.StatusBadRequest, wantError: "invalid_scope",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			method, contentType := test.method, test.contentType
			if method == "" {
				method = http.MethodPost
			}
			if contentType == "" {
				contentType = "application/json"
			}
			got := w.call(t, method, "/v1/oauth/token", test.body, map[string]string{"Content-Type": contentType})
			got.wantStatus(t, test.wantStatus)
			if code := got.object(t)["error"]; code != test.wantError {
				t.Errorf("error = %v, want %s", code, test.wantError)
			}
			if count := w.Counters().Calls[simulator.EndpointToken]; count.Accepted != 0 || count.Refused != 1 {
				t.Errorf("counted as %+v, want one refused", count)
			}
		})
	}
}

func TestAWrongSecretGetsTheAnswerOfDoorkeeper(t *testing.T) {
	t.Parallel()
	got := newWorld(t).exchange(t, clientID, "wrong", "")
	want := `{"error":"invalid_client","error_description":"Client authentication failed due to unknown client, ` +
		`no client authentication included, or unsupported authentication method."}`
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	got.wantHeader(t, "Content-Type", "application/json; charset=utf-8")
	got.wantHeader(t, "Cache-Control", "no-store")
}

func TestAnExchangeIsAccepted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		scope      string
		wantScopes string
	}{
		"for everything when it names no scope": {wantScopes: `["*"]`},
		"for the scopes that it names, in their order": {
			scope:      "connect:tokens:create connect:accounts:read",
			wantScopes: `["connect:tokens:create","connect:accounts:read"]`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			got := w.exchange(t, clientID, goodKey, test.scope)
			token := tokenIn(t, got)
			got.wantHeader(t, "Cache-Control", "no-store")
			at := w.clock.Now().Unix()
			want := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":3600,"created_at":%d}`, token, at)
			if diff := cmp.Diff(want, got.body); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			header, claims := verified(t, w, token)
			if header != `{"typ":"JWT","alg":"EdDSA"}` {
				t.Errorf("header = %s", header)
			}
			id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`).FindString(claims)
			wantClaims := fmt.Sprintf(`{"jti":%q,"iss":"https://api.pipedream.com","exp":%d,"iat":%d,"nbf":%d,`+
				`"token_type":"oauth_access_token","aud":["api","catcher"],"sub":"o_Simu1at","scopes":%s}`,
				id, at+3600, at, at-5, test.wantScopes)
			if diff := cmp.Diff(wantClaims, claims); id == "" || diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

// verified returns a token's header and claims, once its signature was checked with the published key.
func verified(t *testing.T, w *world, token string) (header, claims string) {
	t.Helper()
	var keys struct {
		Keys []struct{ Kty, Crv, X string }
	}
	published := w.call(t, http.MethodGet, "/.well-known/jwks.json", "", nil)
	if err := json.Unmarshal([]byte(published.body), &keys); err != nil || len(keys.Keys) != 1 {
		t.Fatalf("keys = %s: %v", published.body, err)
	}
	key := keys.Keys[0]
	parts := strings.Split(token, ".")
	if len(parts) != 3 || key.Kty != "OKP" || key.Crv != "Ed25519" {
		t.Fatalf("token of %d parts, key %+v", len(parts), key)
	}
	if !ed25519.Verify(unbase64(t, key.X), []byte(parts[0]+"."+parts[1]), unbase64(t, parts[2])) {
		t.Fatal("the published key did not sign the token")
	}
	return string(unbase64(t, parts[0])), string(unbase64(t, parts[1]))
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	out, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestATokenDiesAtItsExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.token(t, "")
	if err := w.SetTokenLifetime(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	token := w.token(t, "")
	w.clock.Step(29 * time.Second)
	if !w.alive(t, token) {
		t.Error("refused before its expiry")
	}
	w.clock.Step(time.Second)
	if w.alive(t, token) {
		t.Error("accepted after its expiry")
	}
	if !w.alive(t, old) {
		t.Error("the new lifetime ended a token issued before")
	}
}

func TestATokenSurvivesLaterOnesAndAChangedSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t, "")
	w.token(t, "")
	if err := w.SetClient(clientID, "other"); err != nil {
		t.Fatal(err)
	}
	if !w.alive(t, token) {
		t.Error("refused")
	}
	w.exchange(t, clientID, goodKey, "").wantStatus(t, http.StatusUnauthorized)
	w.exchange(t, clientID, "other", "").wantStatus(t, http.StatusOK)
}

func TestRevocationByItsClient(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		id, secret string
		token      string // empty: the live one; "-": none
		wantStatus int
		wantBody   string
		wantAlive  bool
	}{
		"ends the token": {
			id: clientID, secret: goodKey, wantStatus: http.StatusOK, wantBody: `{}`,
		},
		"of what is no token is accepted": {
			id: clientID, secret: goodKey, token: "nonsense",
			wantStatus: http.StatusOK, wantBody: `{}`, wantAlive: true,
		},
		"without a token is refused": {
			id: clientID, secret: goodKey, token: "-", wantStatus: http.StatusBadRequest, wantAlive: true,
			wantBody: `{"error":"invalid_request","error_description":"Missing required parameter: token."}`,
		},
		"with a wrong secret is refused": {
			id: clientID, secret: "wrong", wantStatus: http.StatusUnauthorized, wantAlive: true,
			wantBody: `{"error":"invalid_client","error_description":"Client authentication failed due to unknown client, ` +
				`no client authentication included, or unsupported authentication method."}`,
		},
		"by another client is refused": {
			id: "other", secret: "other's", wantStatus: http.StatusForbidden, wantAlive: true,
			wantBody: `{"error":"unauthorized_client","error_description":"The token was issued to another client."}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if err := w.SetClient("other", "other's"); err != nil {
				t.Fatal(err)
			}
			token := w.token(t, "")
			in := map[string]string{"client_id": test.id, "client_secret": test.secret, "token": token}
			switch test.token {
			case "":
			case "-":
				delete(in, "token")
			default:
				in["token"] = test.token
			}
			got := w.call(t, http.MethodPost, "/v1/oauth/revoke", jsonOf(t, in),
				map[string]string{"Content-Type": "application/json"})
			got.wantStatus(t, test.wantStatus)
			if diff := cmp.Diff(test.wantBody, got.body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if alive := w.alive(t, token); alive != test.wantAlive {
				t.Errorf("alive = %t, want %t", alive, test.wantAlive)
			}
		})
	}
}
