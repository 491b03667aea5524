// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	jwtHeader = `{"typ":"JWT","alg":"EdDSA"}`
	// notBeforeSlack is the number of seconds from nbf to iat.
	notBeforeSlack = 5
)

// DefaultWorkspaceID is the workspace of all tokens, and of all users and accounts that name no other one.
const DefaultWorkspaceID = "o_Simu1at"

// claims are the claims of Pipedream's tokens. They name no client, no project and no environment.
type claims struct {
	ID        string   `json:"jti"`
	Issuer    string   `json:"iss"`
	Expires   int64    `json:"exp"`
	Issued    int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	Kind      string   `json:"token_type"`
	Audience  []string `json:"aud"`
	Subject   string   `json:"sub"`
	Scopes    []string `json:"scopes"`
}

func newClaims(issuer string, issued time.Time, lifetime time.Duration, scopes []string) claims {
	return claims{
		ID:        newUUID(),
		Issuer:    issuer,
		Expires:   issued.Add(lifetime).Unix(),
		Issued:    issued.Unix(),
		NotBefore: issued.Unix() - notBeforeSlack,
		Kind:      "oauth_access_token",
		Audience:  []string{"api", "catcher"},
		Subject:   DefaultWorkspaceID,
		Scopes:    scopes,
	}
}

// sign returns the signed token with the claims c.
func (c claims) sign(key ed25519.PrivateKey) string {
	payload, err := json.Marshal(c)
	must(err)
	signed := encode([]byte(jwtHeader)) + "." + encode(payload)
	return signed + "." + encode(ed25519.Sign(key, []byte(signed)))
}

// parse returns the claims of a token, and false if the key has not signed the token. It does not check the
// times.
func parse(token string, key ed25519.PublicKey) (claims, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, false
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return claims{}, false
	}
	var c claims
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return claims{}, false
	}
	return c, true
}

func (t *tokens) publicKey() ed25519.PublicKey {
	public, _ := t.key.Public().(ed25519.PublicKey) // the key is always of this type
	return public
}

// keys answers GET /.well-known/jwks.json.
func (t *tokens) keys(w http.ResponseWriter, r *http.Request) {
	key := map[string]string{
		"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "x": encode(t.publicKey()),
	}
	jsonAnswer(http.StatusOK, map[string]any{"keys": []any{key}}).send(w, r, Fault{})
}

func encode(b []byte) string {
	return base64.RawURLEncoding.EncodeToString(b)
}

// newUUID returns a random UUID, version 4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
