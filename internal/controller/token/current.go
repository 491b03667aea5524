// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// layout lists what is recorded on the Secret of a PipedreamToken.
var layout = ownedsecret.Layout{
	v1alpha1.OwnerAnnotation,
	v1alpha1.IssuedAtAnnotation,
	v1alpha1.ExpiresAtAnnotation,
	v1alpha1.ScopesAnnotation,
	v1alpha1.APIAnnotation,
	v1alpha1.RenewRequestAnnotation,
	v1alpha1.InputsAnnotation,
	v1alpha1.GrantedScopeAnnotation,
	v1alpha1.CredentialsAnnotation,
	v1alpha1.TokenKeyAnnotation,
	v1alpha1.RenderingAnnotation,
	v1alpha1.LabelsAnnotation,
	v1alpha1.AnnotationsAnnotation,
}

// parseRecord reads the record of a Secret from its annotations. It returns nil if they are not as
// the operator writes them. The operator writes no life above pipedream.MaxLifetime, whatever
// Pipedream answers.
func parseRecord(annotations map[string]string) *renewal.Record {
	issued, isIssued := ownedsecret.ParseTime(annotations[v1alpha1.IssuedAtAnnotation])
	expires, isExpiring := ownedsecret.ParseTime(annotations[v1alpha1.ExpiresAtAnnotation])
	if !isIssued || !isExpiring || !expires.After(issued) || expires.Sub(issued) > pipedream.MaxLifetime {
		return nil
	}
	return &renewal.Record{
		IssueTime:      issued,
		ExpirationTime: expires,
		Scopes:         annotations[v1alpha1.ScopesAnnotation],
		API:            annotations[v1alpha1.APIAnnotation],
		RenewRequest:   ownedsecret.BoundRequest(annotations[v1alpha1.RenewRequestAnnotation]),
	}
}

// recordedToken is a token with everything that its Secret records of it, or is to record.
type recordedToken struct {
	// token has no AccessToken if no key of its Secret holds the token and nothing else.
	token pipedream.Token
	// scopes, api and renewRequest are what it was issued for.
	scopes, api, renewRequest string
	// inputs is the keyed digest of everything that it was issued for.
	inputs string
	// credentialsRecord tells where the credentials are that it was issued for, in the version in which
	// they were last seen to be so.
	credentialsRecord string
	// credentialsVersion is the resourceVersion of the credentials; it is not recorded.
	credentialsVersion string
	// data and rendering are the ones of the Secret that it was read from.
	data      map[string][]byte
	rendering string
}

// inputsOf returns a digest of the credentials, scopes and API that a token was issued for. The
// operator compares it to find out whether one of them has changed. The key of the digest is the
// token: whoever can't read the token can't use the digest to test a guess of the client secret.
func inputsOf(token pipedream.Sensitive, credentials pipedream.Credentials, scopes, api string) string {
	return ownedsecret.KeyedDigest(token.Reveal(), credentials.ClientID, credentials.ClientSecret.Reveal(), scopes, api)
}

// currentIn returns the token in an intact Secret that belongs to the PipedreamToken.
func currentIn(secret *corev1.Secret, record renewal.Record) recordedToken {
	return recordedToken{
		token: pipedream.Token{
			AccessToken:    pipedream.NewSensitive(string(secret.Data[secret.Annotations[v1alpha1.TokenKeyAnnotation]])),
			GrantedScope:   secret.Annotations[v1alpha1.GrantedScopeAnnotation],
			IssueTime:      record.IssueTime,
			ExpirationTime: record.ExpirationTime,
		},
		scopes:            record.Scopes,
		api:               record.API,
		renewRequest:      record.RenewRequest,
		inputs:            secret.Annotations[v1alpha1.InputsAnnotation],
		credentialsRecord: secret.Annotations[v1alpha1.CredentialsAnnotation],
		data:              secret.Data,
		rendering:         secret.Annotations[v1alpha1.RenderingAnnotation],
	}
}

// isFor reports whether the token was issued for these credentials.
func (c recordedToken) isFor(credentials pipedream.Credentials) bool {
	return c.inputs == inputsOf(c.token.AccessToken, credentials, c.scopes, c.api)
}

// grantedScope falls back to the scopes that were asked for. To ask for none is to ask for
// Pipedream's default, which is every scope.
func (c recordedToken) grantedScope() string {
	switch {
	case c.token.GrantedScope != "":
		return c.token.GrantedScope
	case c.scopes != "":
		return c.scopes
	}
	return "*"
}

// record returns the annotations with the record of the token.
func (c recordedToken) record() map[string]string {
	return map[string]string{
		v1alpha1.IssuedAtAnnotation:     c.token.IssueTime.Format(time.RFC3339),
		v1alpha1.ExpiresAtAnnotation:    c.token.ExpirationTime.Format(time.RFC3339),
		v1alpha1.ScopesAnnotation:       c.scopes,
		v1alpha1.GrantedScopeAnnotation: c.token.GrantedScope,
		v1alpha1.APIAnnotation:          c.api,
		v1alpha1.RenewRequestAnnotation: c.renewRequest,
		v1alpha1.InputsAnnotation:       c.inputs,
		v1alpha1.CredentialsAnnotation:  c.credentialsRecord,
	}
}

// renewalRecord returns the times and the inputs of the token as package renewal sees them.
func (c recordedToken) renewalRecord() renewal.Record {
	return renewal.Record{
		IssueTime: c.token.IssueTime, ExpirationTime: c.token.ExpirationTime,
		Scopes: c.scopes, API: c.api, RenewRequest: c.renewRequest,
	}
}
