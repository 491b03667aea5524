// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/secrettemplate"
)

// The names that templates can show, without the dot in front.
const (
	nameCredentials    = "Credentials"
	nameAccountID      = "AccountID"
	nameApp            = "App"
	nameExternalUserID = "ExternalUserID"
	nameProjectID      = "ProjectID"
	nameEnvironment    = "Environment"
	nameExpiresAt      = "ExpiresAt"
)

// keyExpiresAt is the key of the expiry when the spec has no templates.
const keyExpiresAt = "expires_at"

// Vocabulary is everything that the templates of a PipedreamAccount can show. The fields of the
// credentials are secret, and differ from account to account. A template that shows a field that the
// account does not have fails.
var Vocabulary = vocabulary(false)

// anyFields is the Vocabulary of an account that has every field. It tells whether templates are
// invalid whatever the account is.
var anyFields = vocabulary(true)

func vocabulary(hasEveryField bool) secrettemplate.Vocabulary {
	return secrettemplate.Vocabulary{
		Names: map[string]secrettemplate.Name{
			nameCredentials:    {Secret: "a field of the credentials", FieldsOf: "the account", AbsentIsEmpty: hasEveryField},
			nameAccountID:      {},
			nameApp:            {AbsentIsEmpty: true},
			nameExternalUserID: {Remedy: "set `spec.externalUserID`"},
			nameProjectID:      {Remedy: "with `spec.apiKeyRef`, an account is asked for without a project"},
			nameEnvironment:    {Remedy: "with `spec.apiKeyRef`, an account is asked for without an environment"},
			nameExpiresAt:      {AbsentIsEmpty: true},
		},
		Condition:        "eq .Environment \"production\"",
		InsteadOfDefault: "name the fields that the account has; use `if` with `eq` for the values of the spec",
	}
}

// valuesOf returns the values that the templates of a PipedreamAccount can show. The result holds
// credentials: never log it.
func valuesOf(owner *v1alpha1.PipedreamAccount, r record, credentials map[string]pipedream.Sensitive) secrettemplate.Values {
	values := secrettemplate.Values{
		nameAccountID:      r.account,
		nameApp:            r.app,
		nameExternalUserID: owner.Spec.ExternalUserID,
		nameProjectID:      owner.Spec.ProjectID,
		nameEnvironment:    string(owner.TargetEnvironment()),
		nameExpiresAt:      formatOptionalTime(r.ExpirationTime),
	}
	maps.DeleteFunc(values, func(_, value string) bool { return value == "" })
	for field, value := range credentials {
		values[nameCredentials+"."+field] = value.Reveal()
	}
	return values
}

// checkTemplates returns what is wrong with the templates of a PipedreamAccount whatever the account
// is; nil if nothing is.
func checkTemplates(owner *v1alpha1.PipedreamAccount) error {
	_, err := render(anyFields, owner, record{account: "apn_1"}, nil)
	return err
}

// render returns the data of the Secret. Without templates it is every field of the credentials.
func render(with secrettemplate.Vocabulary, owner *v1alpha1.PipedreamAccount, r record, credentials map[string]pipedream.Sensitive) (map[string][]byte, error) {
	if len(owner.Spec.Secret.Data) == 0 {
		return everyField(r, credentials), nil
	}
	var jsonKeys []string
	if owner.TargetType() == string(corev1.SecretTypeDockerConfigJson) {
		jsonKeys = []string{corev1.DockerConfigJsonKey}
	}
	data, err := with.Render(plain(owner.Spec.Secret.Data), valuesOf(owner, r, credentials), jsonKeys...)
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if len(jsonKeys) > 0 && (json.Unmarshal(data[corev1.DockerConfigJsonKey], &config) != nil || config == nil) {
		return nil, &secrettemplate.Error{
			Key: corev1.DockerConfigJsonKey, Detail: "the value must be a JSON object, because the type of the Secret asks for it",
		}
	}
	return data, nil
}

// everyField returns a key for each field of the credentials, and one for their expiry.
func everyField(r record, credentials map[string]pipedream.Sensitive) map[string][]byte {
	data := map[string][]byte{}
	if !r.ExpirationTime.IsZero() {
		data[keyExpiresAt] = []byte(formatOptionalTime(r.ExpirationTime))
	}
	for field, value := range credentials {
		if isSecretKey(field) {
			data[field] = []byte(value.Reveal())
		}
	}
	return data
}

// holdsNone returns the outcome if the Secret would hold no field of the credentials, so that it must not be called
// good; else nil.
func holdsNone(owner *v1alpha1.PipedreamAccount, seen look, why refresh.Why, credentials map[string]pipedream.Sensitive) outcome {
	switch hasTemplates := len(owner.Spec.Secret.Data) > 0; {
	case hasTemplates && !showAny(owner, seen.record, credentials):
		err := &secrettemplate.Error{Detail: "no template shows a field of the credentials, such as `{{ .Credentials.oauth_access_token }}`"}
		return unrenderable{err: err, why: why, at: seen.at}
	case !hasTemplates && seen.omitted == len(credentials):
		cause := &pipedream.Error{Kind: pipedream.Malformed, Detail: "no field of the credentials has a name that a key of a Secret can have"}
		return lookFailed{cause: cause, sentAt: seen.at, why: why, at: seen.at}
	}
	return nil
}

// showAny reports whether the templates show at least one field of the credentials, or fail. Templates that show none
// make the same of other credentials: one may name a field in a text, in a comment or in a branch that is not taken.
func showAny(owner *v1alpha1.PipedreamAccount, r record, credentials map[string]pipedream.Sensitive) bool {
	others := map[string]pipedream.Sensitive{}
	for field, value := range credentials {
		others[field] = pipedream.NewSensitive(value.Reveal() + "a")
	}
	data, err := render(Vocabulary, owner, r, credentials)
	ofOthers, errOfOthers := render(Vocabulary, owner, r, others)
	return err != nil || errOfOthers != nil || !maps.EqualFunc(data, ofOthers, bytes.Equal)
}

// omitted returns how many fields of the credentials the Secret does not hold because no key of a
// Secret can have their name. It is 0 if the spec has templates, which name the fields to write.
func omitted(owner *v1alpha1.PipedreamAccount, credentials map[string]pipedream.Sensitive) int {
	if len(owner.Spec.Secret.Data) > 0 {
		return 0
	}
	return len(slices.DeleteFunc(slices.Collect(maps.Keys(credentials)), isSecretKey))
}

var secretKey = regexp.MustCompile(`^[-._a-zA-Z0-9]{1,253}$`)

// isSecretKey reports whether a name can be a key of a Secret.
func isSecretKey(name string) bool {
	return secretKey.MatchString(name) && name != "." && !strings.HasPrefix(name, "..")
}

// buildSecret returns the Secret with the credentials of an account. The error is what is wrong with
// the templates; it is safe to show.
func buildSecret(s snapshot, r record, credentials map[string]pipedream.Sensitive) (*corev1.Secret, error) {
	owner := s.account
	data, err := render(Vocabulary, owner, r, credentials)
	if err != nil {
		return nil, err
	}
	return layout.Build(owner, s.target, ownedsecret.Desired{
		Type:        corev1.SecretType(owner.TargetType()),
		Data:        data,
		Record:      r.annotations(),
		Labels:      plain(owner.Spec.Secret.Labels),
		Annotations: plain(owner.Spec.Secret.Annotations),
	}), nil
}
