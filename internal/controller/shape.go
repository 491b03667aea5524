// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/secrettemplate"
)

// The keys of the written Secret when the spec has no templates.
const (
	keyAccessToken = "access_token"
	keyTokenType   = "token_type"
	keyExpiresAt   = "expires_at"
	keyScope       = "scope"
	keyProjectID   = "project_id"
	keyEnvironment = "environment"
)

// rendering is what the templates of one generation come to with made-up tokens.
type rendering struct {
	generation int64
	// digest tells templates apart that come to something else.
	digest string
	err    error
}

// misfit is how the templates of a generation have failed with a token, though they
// have not with made-up ones.
type misfit struct {
	generation int64
	err        error
}

// unfitError wraps the error of templates that have failed with a token.
type unfitError struct{ error }

// content is what a Secret holds, and what is recorded of that.
type content struct {
	data map[string][]byte
	// tokenKey is a key that holds exactly the token; empty when none does.
	tokenKey string
	// rendering is then the digest that tells whether the templates would come to
	// something else.
	rendering string
}

// rendered renders the templates with made-up tokens, once for each generation.
func (o *observation) rendered() rendering {
	if last := o.memory.rendering; last.generation == o.token.Generation {
		return last
	}
	made := rendering{generation: o.token.Generation}
	digests := map[string]bool{}
	// These tokens must stay as they are: Secrets record what they come to.
	for _, filling := range []string{"b", "a"} {
		data, err := o.render(madeUpToken(filling, o.wanted.Scopes))
		made.digest, made.err = contentDigest(nil, data), err
		digests[made.digest] = true
		if err != nil {
			break
		}
	}
	if made.err == nil && len(digests) == 1 {
		made.err = errors.New("no template shows the token: `{{ .AccessToken }}` must be in at least one of them")
	}
	o.memory.rendering = made
	return made
}

// madeUpToken returns a token of the shape and size of Pipedream's.
func madeUpToken(filling, scopes string) heldToken {
	return heldToken{
		token: pipedream.Token{
			AccessToken:    pipedream.NewSensitive("eyJ0eXAiOiJKV1QiLCJhbGciOiJFZERTQSJ9." + strings.Repeat(filling, 900) + "." + strings.Repeat(filling, 86)),
			IssueTime:      time.Unix(0, 0).UTC(),
			ExpirationTime: time.Unix(0, 0).UTC().Add(time.Hour),
		},
		scopes: scopes,
	}
}

// templateError returns what is wrong with the templates; nil when nothing is known
// to be.
func (o *observation) templateError() error {
	if known := o.memory.misfit; known != nil && known.generation == o.token.Generation {
		return known.err
	}
	return o.rendered().err
}

// render returns the data of the Secret with a token.
func (o *observation) render(held heldToken) (map[string][]byte, error) {
	spec := o.token.Spec
	values := secrettemplate.Values{
		AccessToken: held.token.AccessToken.Reveal(),
		TokenType:   pipedream.TokenType,
		ExpiresAt:   held.token.ExpirationTime.Format(time.RFC3339),
		Scope:       held.grantedScope(),
		ProjectID:   spec.ProjectID,
		Environment: string(spec.Environment),
	}
	if len(spec.Secret.Data) == 0 {
		return dataByDefault(values), nil
	}
	templates := o.templates()
	var jsonKeys []string
	if o.token.TargetType() == string(corev1.SecretTypeDockerConfigJson) {
		jsonKeys = []string{corev1.DockerConfigJsonKey}
	}
	data, err := secrettemplate.Render(templates, values, jsonKeys...)
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

// templates returns the templates of the spec.
func (o *observation) templates() map[string]string {
	templates := make(map[string]string, len(o.token.Spec.Secret.Data))
	for key, template := range o.token.Spec.Secret.Data {
		templates[key] = string(template)
	}
	return templates
}

// tokenKey returns a key that holds exactly the token, whatever that is; empty when
// the spec has none. Values are not compared: the status tells whether there is one.
func (o *observation) tokenKey() string {
	if len(o.token.Spec.Secret.Data) == 0 {
		return keyAccessToken
	}
	return secrettemplate.TokenKey(o.templates())
}

func dataByDefault(values secrettemplate.Values) map[string][]byte {
	data := map[string][]byte{}
	for key, value := range map[string]string{
		keyAccessToken: values.AccessToken,
		keyTokenType:   values.TokenType,
		keyExpiresAt:   values.ExpiresAt,
		keyScope:       values.Scope,
		keyProjectID:   values.ProjectID,
		keyEnvironment: values.Environment,
	} {
		if value != "" {
			data[key] = []byte(value)
		}
	}
	return data
}

// contentWith returns what the Secret is to hold with a token. One that can't be
// told from its Secret leaves the data as they are.
func (o *observation) contentWith(held heldToken) (content, error) {
	if held.token.AccessToken.IsEmpty() {
		return content{data: held.data, rendering: held.rendering}, nil
	}
	made := content{}
	var err error
	if made.data, err = o.render(held); err != nil {
		return content{}, unfitError{err}
	}
	if made.tokenKey = o.tokenKey(); made.tokenKey == "" {
		made.rendering = o.rendered().digest
	}
	return made, nil
}

// secretWith returns the target with a token. Labels, annotations, finalizers and
// owner references of others stay.
func (o *observation) secretWith(held heldToken) (*corev1.Secret, error) {
	var existing metav1.ObjectMeta
	if o.target != nil {
		existing = o.target.ObjectMeta
	}
	made, err := o.contentWith(held)
	if err != nil {
		return nil, err
	}
	wanted := o.token.Spec.Secret
	annotations := merge(existing.Annotations, existing.Annotations[v1alpha1.AnnotationsAnnotation], wanted.Annotations)
	maps.Copy(annotations, held.record(o.token.Name))
	annotations[v1alpha1.LabelsAnnotation] = listOf(wanted.Labels)
	annotations[v1alpha1.AnnotationsAnnotation] = listOf(wanted.Annotations)
	annotations[v1alpha1.TokenKeyAnnotation] = made.tokenKey
	annotations[v1alpha1.RenderingAnnotation] = made.rendering
	annotations[v1alpha1.ContentAnnotation] = contentDigest(annotations, made.data)
	// It holds a copy of the data in clear when somebody has applied the Secret.
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       o.token.Namespace,
			Name:            o.token.TargetName(),
			UID:             existing.UID,
			ResourceVersion: existing.ResourceVersion,
			Labels:          merge(existing.Labels, existing.Annotations[v1alpha1.LabelsAnnotation], wanted.Labels),
			Annotations:     annotations,
			Finalizers:      existing.Finalizers,
			OwnerReferences: ownerReferences(&existing, o.token, tokenKind),
		},
		Type: corev1.SecretType(o.token.TargetType()),
		Data: made.data,
	}, nil
}

// merge returns labels or annotations as they are, with the wanted ones, and without
// those that were wanted before.
func merge[V ~string](existing map[string]string, wantedBefore string, wanted map[string]V) map[string]string {
	merged := maps.Clone(existing)
	if merged == nil {
		merged = map[string]string{}
	}
	for key := range strings.SplitSeq(wantedBefore, ",") {
		delete(merged, key)
	}
	for key, value := range wanted {
		merged[key] = string(value)
	}
	return merged
}

// listOf lists the keys of labels or annotations, which have no commas.
func listOf[V any](wanted map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(wanted)), ",")
}

// compareShape compares an intact Secret, whose token is as it should be, with what
// is to go with the token.
func (o *observation) compareShape(held heldToken, target *corev1.Secret) renewal.Check {
	switch {
	case o.templateError() != nil:
		return renewal.Misshapen
	case held.token.AccessToken.IsEmpty() && held.rendering != o.rendered().digest:
		return renewal.TemplatesChanged
	}
	wanted, err := o.secretWith(held)
	if err != nil || wanted.Type != target.Type || !metav1.IsControlledBy(target, o.token) ||
		!maps.EqualFunc(wanted.Data, target.Data, equalBytes) || !maps.Equal(wanted.Labels, target.Labels) ||
		!maps.Equal(compared(wanted.Annotations), compared(target.Annotations)) {
		return renewal.Misshapen
	}
	return renewal.Good
}

// compared returns annotations without those for which alone no Secret is written.
func compared(annotations map[string]string) map[string]string {
	rest := maps.Clone(annotations)
	for _, key := range []string{v1alpha1.CredentialsAnnotation, v1alpha1.ContentAnnotation, corev1.LastAppliedConfigAnnotation} {
		delete(rest, key)
	}
	return rest
}

// hasNoTokenKey tells whether the Secret holds a token that can't be told from it.
func (o *observation) hasNoTokenKey() bool {
	return o.record() != nil && o.target.Annotations[v1alpha1.TokenKeyAnnotation] == ""
}
