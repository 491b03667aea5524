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
	// tokenLifetime is short, so that a run sees many renewals. The operator renews after
	// two thirds of it less up to a tenth: after 37 s in the mean.
	tokenLifetime = time.Minute
	meanInterval  = tokenLifetime*2/3 - tokenLifetime/20
	// leastVerification and mostVerification are the least and the most seconds between
	// two verifications of an object.
	leastVerification, mostVerification = 10, 15
)

// scopeChoices are what an object asks for; each lets it list accounts.
var scopeChoices = [][]string{nil, {"connect:accounts:read"}, {"connect:accounts:read", "connect:users:read"}}

// renewBeforeChoices are seconds before expiry; 0 leaves it to the operator.
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

// interval is how long a token of an object lives until it is renewed, in the mean.
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
		token.Spec.Verification.IntervalSeconds = leastVerification + int32(object%(mostVerification-leastVerification))
	}
	return token
}
