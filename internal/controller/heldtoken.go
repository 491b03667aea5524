// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// The keys of the written Secret.
const (
	keyAccessToken = "access_token"
	keyTokenType   = "token_type"
	keyExpiresAt   = "expires_at"
	keyScope       = "scope"
	keyProjectID   = "project_id"
	keyEnvironment = "environment"
)

// heldToken is a token with all that its Secret records of it.
type heldToken struct {
	token pipedream.Token
	// scopes, api and renewRequest are what it was issued for.
	scopes, api, renewRequest string
	// inputs is the keyed digest of all that it was issued for.
	inputs string
	// credentialsVersion is the resourceVersion of the credentials used; it is not
	// recorded.
	credentialsVersion string
}

// inputsOf returns the digest that tells whether a token was issued for these
// credentials, scopes and API. Its key is the token: who can't read the token
// can't use the digest to test a guess of the client secret.
func inputsOf(token pipedream.Sensitive, credentials pipedream.Credentials, scopes, api string) string {
	return keyedDigest(token.Reveal(), credentials.ClientID, credentials.ClientSecret.Reveal(), scopes, api)
}

// heldBy returns the token that an intact Secret of ours holds.
func heldBy(secret *corev1.Secret, record renewal.Record) heldToken {
	return heldToken{
		token: pipedream.Token{
			AccessToken:    pipedream.NewSensitive(string(secret.Data[keyAccessToken])),
			Type:           string(secret.Data[keyTokenType]),
			GrantedScope:   string(secret.Data[keyScope]),
			IssueTime:      record.IssueTime,
			ExpirationTime: record.ExpirationTime,
		},
		scopes:       record.Scopes,
		api:          record.API,
		renewRequest: record.RenewRequest,
		inputs:       secret.Annotations[v1alpha1.InputsAnnotation],
	}
}

// data returns what the Secret of a PipedreamToken holds with this token.
func (h heldToken) data(spec v1alpha1.PipedreamTokenSpec) map[string][]byte {
	values := map[string]string{
		keyAccessToken: h.token.AccessToken.Reveal(),
		keyTokenType:   h.token.Type,
		keyExpiresAt:   h.token.ExpirationTime.Format(time.RFC3339),
		keyScope:       h.grantedScope(),
		keyProjectID:   spec.ProjectID,
		keyEnvironment: string(spec.Environment),
	}
	data := make(map[string][]byte, len(values))
	for key, value := range values {
		if value != "" {
			data[key] = []byte(value)
		}
	}
	return data
}

// grantedScope falls back to what was asked for; asking for nothing is asking
// for Pipedream's default, which is everything.
func (h heldToken) grantedScope() string {
	switch {
	case h.token.GrantedScope != "":
		return h.token.GrantedScope
	case h.scopes != "":
		return h.scopes
	}
	return "*"
}

// annotate returns the annotations with the record of this token, for the data
// that is stored with it. Foreign annotations stay as they are.
func (h heldToken) annotate(annotations map[string]string, owner string, data map[string][]byte) map[string]string {
	annotated := maps.Clone(annotations)
	if annotated == nil {
		annotated = map[string]string{}
	}
	// It holds a copy of the data in clear when somebody has applied the Secret.
	delete(annotated, corev1.LastAppliedConfigAnnotation)
	maps.Copy(annotated, map[string]string{
		v1alpha1.OwnerAnnotation:        owner,
		v1alpha1.IssuedAtAnnotation:     h.token.IssueTime.Format(time.RFC3339),
		v1alpha1.ExpiresAtAnnotation:    h.token.ExpirationTime.Format(time.RFC3339),
		v1alpha1.ScopesAnnotation:       h.scopes,
		v1alpha1.APIAnnotation:          h.api,
		v1alpha1.RenewRequestAnnotation: h.renewRequest,
		v1alpha1.InputsAnnotation:       h.inputs,
	})
	annotated[v1alpha1.ContentAnnotation] = contentDigest(annotated, data)
	return annotated
}
