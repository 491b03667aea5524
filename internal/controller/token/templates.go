// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/secrettemplate"
)

// The names that templates can show, without the dot in front.
const (
	nameAccessToken = "AccessToken"
	nameTokenType   = "TokenType"
	nameExpiresAt   = "ExpiresAt"
	nameScope       = "Scope"
	nameProjectID   = "ProjectID"
	nameEnvironment = "Environment"
)

// Vocabulary is everything that the templates of a PipedreamToken can show. The access token is
// secret. An empty field of the spec is absent, and a template that shows an absent value fails.
var Vocabulary = secrettemplate.Vocabulary{
	Names: map[string]secrettemplate.Name{
		nameAccessToken: {Secret: "the access token", IsVisibleASCII: true},
		nameTokenType:   {},
		nameExpiresAt:   {},
		nameScope:       {},
		nameProjectID:   {Remedy: "set `spec.projectID`"},
		nameEnvironment: {Remedy: "set `spec.environment`"},
	},
	Condition:        "eq .Environment \"production\"",
	InsteadOfDefault: "all values but those of absent fields of the spec are always there; use `if` with `eq`",
}

// Values returns the values that the templates of a PipedreamToken can show. scope is the granted
// scope. Empty values are left out, which makes them absent. The result holds the access token:
// never log it.
func Values(spec v1alpha1.PipedreamTokenSpec, issued pipedream.Token, scope string) secrettemplate.Values {
	values := secrettemplate.Values{
		nameAccessToken: issued.AccessToken.Reveal(),
		nameTokenType:   pipedream.TokenType,
		nameExpiresAt:   issued.ExpirationTime.Format(time.RFC3339),
		nameScope:       scope,
		nameProjectID:   spec.ProjectID,
		nameEnvironment: string(spec.Environment),
	}
	maps.DeleteFunc(values, func(_, value string) bool { return value == "" })
	return values
}

// keyAccessToken is the key of the access token when the spec has no templates.
const keyAccessToken = "access_token"

// defaultKeys are the keys of the written Secret, by the names of their values, when the spec has
// no templates.
var defaultKeys = map[string]string{
	nameAccessToken: keyAccessToken,
	nameTokenType:   "token_type",
	nameExpiresAt:   "expires_at",
	nameScope:       "scope",
	nameProjectID:   "project_id",
	nameEnvironment: "environment",
}

// templatesFailedError wraps the error of templates that have failed with an issued token.
type templatesFailedError struct{ error }

func (e templatesFailedError) Unwrap() error { return e.error }

// errRestoredTemplates is the error of templates that an earlier process could not render.
var errRestoredTemplates = errors.New("they failed before the operator was restarted")

// rendering is what the templates of a generation result in with made-up tokens.
type rendering struct {
	generation int64
	// digest differs if the templates result in something else.
	digest string
	err    error
}

// renderError says that the templates of a generation have failed with an issued token, though
// they do not fail with made-up ones. err is nil if only the status tells.
type renderError struct {
	generation int64
	err        error
}

// renderMadeUp renders the templates of a PipedreamToken with made-up tokens.
func renderMadeUp(token *v1alpha1.PipedreamToken, scopes string) rendering {
	made := rendering{generation: token.Generation}
	digests := map[string]bool{}
	// These tokens must stay as they are: Secrets record what they come to.
	for _, filling := range []string{"b", "a"} {
		data, err := render(token, madeUpToken(filling, scopes))
		made.digest, made.err = layout.Digest(nil, data), err
		digests[made.digest] = true
		if err != nil {
			break
		}
	}
	if made.err == nil && len(digests) == 1 {
		made.err = errors.New("no template shows the token: `{{ .AccessToken }}` must be in at least one of them")
	}
	return made
}

// madeUpToken returns a token of the form and the size of Pipedream's.
func madeUpToken(filling, scopes string) recordedToken {
	return recordedToken{
		token: pipedream.Token{
			AccessToken:    pipedream.NewSensitive("eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9." + strings.Repeat(filling, 900) + "." + strings.Repeat(filling, 86)),
			IssueTime:      time.Unix(0, 0).UTC(),
			ExpirationTime: time.Unix(0, 0).UTC().Add(time.Hour),
		},
		scopes: scopes,
	}
}

// render returns the data of the Secret with a token.
func render(owner *v1alpha1.PipedreamToken, current recordedToken) (map[string][]byte, error) {
	values := Values(owner.Spec, current.token, current.grantedScope())
	if len(owner.Spec.Secret.Data) == 0 {
		return defaultData(values), nil
	}
	var jsonKeys []string
	if owner.TargetType() == string(corev1.SecretTypeDockerConfigJson) {
		jsonKeys = []string{corev1.DockerConfigJsonKey}
	}
	data, err := Vocabulary.Render(templatesOf(owner), values, jsonKeys...)
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if len(jsonKeys) > 0 && (json.Unmarshal(data[corev1.DockerConfigJsonKey], &config) != nil || config == nil) {
		return nil, &secrettemplate.Error{
			Key: corev1.DockerConfigJsonKey, Detail: "the value must be a JSON object, for that is what the Secret's type asks for",
		}
	}
	return data, nil
}

func defaultData(values secrettemplate.Values) map[string][]byte {
	data := make(map[string][]byte, len(values))
	for name, value := range values {
		data[defaultKeys[name]] = []byte(value)
	}
	return data
}

func templatesOf(owner *v1alpha1.PipedreamToken) map[string]string {
	return plain(owner.Spec.Secret.Data)
}

// plain returns a map of named strings as one of strings.
func plain[V ~string](named map[string]V) map[string]string {
	texts := make(map[string]string, len(named))
	for key, value := range named {
		texts[key] = string(value)
	}
	return texts
}

// tokenKeyOf returns a key that holds exactly the token, whatever the token is; empty if the spec
// has none. Values are not compared: the status tells whether there is one.
func tokenKeyOf(owner *v1alpha1.PipedreamToken) string {
	if len(owner.Spec.Secret.Data) == 0 {
		return keyAccessToken
	}
	return secrettemplate.KeyShowing(nameAccessToken, templatesOf(owner))
}

// buildSecret returns the Secret with a token. If the token can't be read from its Secret, the data
// stay as they are. The error is a templatesFailedError.
func buildSecret(s snapshot, made rendering, current recordedToken) (*corev1.Secret, error) {
	owner := s.token
	desired := ownedsecret.Desired{
		Type:        corev1.SecretType(owner.TargetType()),
		Record:      current.record(),
		Labels:      plain(owner.Spec.Secret.Labels),
		Annotations: plain(owner.Spec.Secret.Annotations),
	}
	var tokenKey, digest string
	if current.token.AccessToken.IsEmpty() {
		desired.Data, digest = current.data, current.rendering
	} else {
		data, err := render(owner, current)
		if err != nil {
			return nil, templatesFailedError{err}
		}
		desired.Data = data
		if tokenKey = tokenKeyOf(owner); tokenKey == "" {
			digest = made.digest
		}
	}
	desired.Record[v1alpha1.TokenKeyAnnotation] = tokenKey
	desired.Record[v1alpha1.RenderingAnnotation] = digest
	secret := layout.Build(owner, s.target, desired)
	ownedsecret.SetOperator(secret, s.operator)
	return secret, nil
}

// compareWithDesired compares an intact Secret, whose token is as it should be, with what is
// desired beside the token. templateError is what is wrong with the templates; nil if nothing is.
func compareWithDesired(s snapshot, made rendering, templateError error, current recordedToken, target *corev1.Secret) renewal.Check {
	switch {
	case templateError != nil:
		return renewal.Drifted
	case current.token.AccessToken.IsEmpty() && current.rendering != made.digest:
		return renewal.TemplatesChanged
	}
	desired, err := buildSecret(s, made, current)
	if err != nil || !ownedsecret.IsApplied(desired, target, s.token, v1alpha1.CredentialsAnnotation, v1alpha1.OperatorAnnotation) {
		return renewal.Drifted
	}
	return renewal.Good
}
