// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	objectCount    = 200
	namespaceCount = 5
	clientCount    = 5
	// tokenLifetime is short, so that a run has many renewals. The operator renews a token after two thirds of
	// its lifetime, less up to a tenth: on average after 37 s.
	tokenLifetime = time.Minute
	meanInterval  = tokenLifetime*2/3 - tokenLifetime/20
	// minVerification and maxVerification bound the interval of verification, in seconds.
	minVerification, maxVerification = 10, 15
)

// scopeChoices are the scopes that an object may request. With each of them a token can list accounts.
var scopeChoices = [][]string{nil, {"connect:accounts:read"}, {"connect:accounts:read", "connect:users:read"}}

// renewBeforeChoices are values of renewBeforeSeconds. With 0 the operator chooses.
var renewBeforeChoices = []int32{0, 20, 25, 30}

func namespaceOf(object int) string { return fmt.Sprintf("team-%d", object%namespaceCount) }
func clientOf(object int) int       { return object / namespaceCount % clientCount }
func clientID(client int) string    { return fmt.Sprintf("chaos-client-%d", client) }
func isVerified(object int) bool    { return object%4 == 0 }

func nameOf(object int) types.NamespacedName {
	return types.NamespacedName{Namespace: namespaceOf(object), Name: fmt.Sprintf("token-%03d", object)}
}

func secretOf(object int) types.NamespacedName {
	name := nameOf(object)
	if object%3 == 0 {
		name.Name += "-secret"
	}
	return name
}

// interval returns the average age at which the operator renews a token of an object.
func interval(renewBefore int32) time.Duration {
	if renewBefore == 0 {
		return meanInterval
	}
	return max(tokenLifetime-time.Duration(renewBefore)*time.Second, tokenLifetime/2) - tokenLifetime/20
}

func newToken(object int) *v1alpha1.PipedreamToken {
	name := nameOf(object)
	token := &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: clientID(clientOf(object))},
			Scopes:          scopeChoices[object%len(scopeChoices)],
			ProjectID:       "proj_chaos",
			Environment:     "production",
		},
	}
	if secret := secretOf(object); secret.Name != name.Name {
		token.Spec.Secret.Name = secret.Name
	}
	if isVerified(object) {
		token.Spec.Verification.IntervalSeconds = minVerification + int32(object%(maxVerification-minVerification))
	}
	return token
}
