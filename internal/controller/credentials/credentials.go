// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package credentials reads what the spec of an object refers to: the client credentials of an
// OAuth client or the API key of a user, in a Secret of the object's namespace. It reads live and
// keeps nothing.
package credentials

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// Found is the outcome of reading client credentials or an API key.
type Found struct {
	// Secret is the metadata of the Secret that was read; nil if there is none.
	Secret *metav1.PartialObjectMetadata
	// Credentials are nil if there is no Secret, or if it holds no usable client credentials, or if an
	// API key was read.
	Credentials *pipedream.Credentials
	// APIKey is empty if there is no Secret, or if it holds no usable API key, or if client credentials
	// were read.
	APIKey pipedream.Sensitive
	// Reason and Detail say why the Secret holds nothing usable: Reason is a reason of condition Renewed
	// or Fetched, and Detail is a sentence without its full stop that is safe to show. Both are empty
	// otherwise.
	Reason, Detail string
}

// IsUsable reports whether client credentials or an API key were found that can be sent.
func (f Found) IsUsable() bool { return f.Credentials != nil || !f.APIKey.IsEmpty() }

// Read reads the client credentials that a reference names. The error is the API server's; an
// absent Secret is none.
func Read(ctx context.Context, live client.Reader, namespace string, reference v1alpha1.ClientSecretReference) (Found, error) {
	return read(ctx, live, namespace, reference.Name, func(secret *corev1.Secret) Found { return parse(secret, reference) })
}

// ReadAPIKey reads the API key that a reference names. The error is the API server's; an absent Secret is
// none.
func ReadAPIKey(ctx context.Context, live client.Reader, namespace string, reference v1alpha1.APIKeyReference) (Found, error) {
	return read(ctx, live, namespace, reference.Name, func(secret *corev1.Secret) Found { return parseAPIKey(secret, reference) })
}

func read(ctx context.Context, live client.Reader, namespace, name string, parse func(*corev1.Secret) Found) (Found, error) {
	secret := &corev1.Secret{}
	err := live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, secret)
	if apierrors.IsNotFound(err) {
		return Found{}, nil
	}
	if err != nil {
		return Found{}, err
	}
	found := parse(secret)
	found.Secret = &metav1.PartialObjectMetadata{ObjectMeta: secret.ObjectMeta}
	return found, nil
}

// Keys returns the keys of the client ID and of the client secret.
func Keys(reference v1alpha1.ClientSecretReference) (clientID, clientSecret string) {
	return orDefault(reference.ClientIDKey, v1alpha1.DefaultClientIDKey), orDefault(reference.ClientSecretKey, v1alpha1.DefaultClientSecretKey)
}

// Reference tells one version of the client credentials that a reference names, and where they are, from
// any other.
func Reference(namespace string, reference v1alpha1.ClientSecretReference, version string) string {
	clientID, clientSecret := Keys(reference)
	return strings.Join([]string{namespace, reference.Name, clientID, clientSecret, version}, "/")
}

func parse(secret *corev1.Secret, reference v1alpha1.ClientSecretReference) Found {
	clientID, clientSecret := Keys(reference)
	var values, problems []string
	for i, key := range []string{clientID, clientSecret} {
		value, err := pipedream.ParseCredential(secret.Data[key])
		switch {
		case err != nil:
			problems = append(problems, "the value of key `"+key+"` "+err.Error())
		case value == "":
			return Found{
				Reason: v1alpha1.ReasonCredentialsMissing,
				Detail: "Secret `" + secret.Name + "` has no value under key `" + key + "` (`spec.clientSecretRef." + []string{"clientIDKey", "clientSecretKey"}[i] + "`)",
			}
		}
		values = append(values, value)
	}
	if len(problems) > 0 {
		return Found{
			Reason: v1alpha1.ReasonCredentialsInvalid,
			Detail: "The Secret `" + secret.Name + "` holds no usable client credentials: " + strings.Join(problems, ", and "),
		}
	}
	return Found{Credentials: &pipedream.Credentials{ClientID: values[0], ClientSecret: pipedream.NewSensitive(values[1])}}
}

func parseAPIKey(secret *corev1.Secret, reference v1alpha1.APIKeyReference) Found {
	key := orDefault(reference.Key, v1alpha1.DefaultAPIKeyKey)
	value, err := pipedream.ParseCredential(secret.Data[key])
	switch {
	case err != nil:
		return Found{
			Reason: v1alpha1.ReasonCredentialsInvalid,
			Detail: "The Secret `" + secret.Name + "` holds no usable API key: the value of key `" + key + "` " + err.Error(),
		}
	case value == "":
		return Found{
			Reason: v1alpha1.ReasonCredentialsMissing,
			Detail: "Secret `" + secret.Name + "` has no value under key `" + key + "` (`spec.apiKeyRef.key`)",
		}
	}
	return Found{APIKey: pipedream.NewSensitive(value)}
}

func orDefault(value, byDefault string) string {
	if value == "" {
		return byDefault
	}
	return value
}
