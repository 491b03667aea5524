// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// heldToken is a token with all that its Secret records of it.
type heldToken struct {
	// token has no AccessToken when no key of its Secret holds just that.
	token pipedream.Token
	// scopes, api and renewRequest are what it was issued for.
	scopes, api, renewRequest string
	// inputs is the keyed digest of all that it was issued for.
	inputs string
	// credentials tells where the credentials are that it was issued for, in the
	// version in which they were last seen to be so.
	credentials string
	// credentialsVersion is the resourceVersion of the credentials used; it is not
	// recorded.
	credentialsVersion string
	// data and rendering are those of the Secret that it was read from.
	data      map[string][]byte
	rendering string
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
			AccessToken:    pipedream.NewSensitive(string(secret.Data[secret.Annotations[v1alpha1.TokenKeyAnnotation]])),
			GrantedScope:   secret.Annotations[v1alpha1.GrantedScopeAnnotation],
			IssueTime:      record.IssueTime,
			ExpirationTime: record.ExpirationTime,
		},
		scopes:       record.Scopes,
		api:          record.API,
		renewRequest: record.RenewRequest,
		inputs:       secret.Annotations[v1alpha1.InputsAnnotation],
		credentials:  secret.Annotations[v1alpha1.CredentialsAnnotation],
		data:         secret.Data,
		rendering:    secret.Annotations[v1alpha1.RenderingAnnotation],
	}
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

// record returns the annotations with the record of this token.
func (h heldToken) record(owner string) map[string]string {
	return map[string]string{
		v1alpha1.OwnerAnnotation:        owner,
		v1alpha1.IssuedAtAnnotation:     h.token.IssueTime.Format(time.RFC3339),
		v1alpha1.ExpiresAtAnnotation:    h.token.ExpirationTime.Format(time.RFC3339),
		v1alpha1.ScopesAnnotation:       h.scopes,
		v1alpha1.GrantedScopeAnnotation: h.token.GrantedScope,
		v1alpha1.APIAnnotation:          h.api,
		v1alpha1.RenewRequestAnnotation: h.renewRequest,
		v1alpha1.InputsAnnotation:       h.inputs,
		v1alpha1.CredentialsAnnotation:  h.credentials,
	}
}
