// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// kind says what differs between a fleet of PipedreamTokens and a fleet of PipedreamAccounts.
type kind struct {
	// name is the name of the kind, and prefix begins the names of its objects.
	name, prefix string
	// content is what the operator writes to the Secret of an object, in the singular or the plural, and key is
	// a key that each of these Secrets has.
	content, key string
	// owner begins the annotation on a Secret that names its owner.
	owner string
	// version is the annotation on a Secret that changes with each content.
	version string
	// attempt is the type of the condition about the last attempt.
	attempt string
	// list returns an empty list of the objects, and object the object with a number in a fleet.
	list   func() client.ObjectList
	object func(f *fleet, number int) client.Object
	// status returns what the status of an object says.
	status func(client.Object) status
	// addCreation adds the figures with a budget for the creation of all members, of whom so many were told that
	// they are queued.
	addCreation func(r *report, of string, f *fleet, used usage, queued int)
}

// status is what the status of an object says.
type status struct {
	conditions []metav1.Condition
	generation int64
}

// tokenKind is the kind PipedreamToken.
var tokenKind = kind{
	name: "PipedreamToken", prefix: "token", content: "token", key: "access_token",
	version: v1alpha1.InputsAnnotation, attempt: v1alpha1.ConditionRenewed,
	list: func() client.ObjectList { return &v1alpha1.PipedreamTokenList{} },
	object: func(f *fleet, number int) client.Object {
		return &v1alpha1.PipedreamToken{
			ObjectMeta: f.metadata(number),
			Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: f.clientOf(number), Scopes: f.scopes},
		}
	},
	status: func(object client.Object) status {
		said := object.(*v1alpha1.PipedreamToken).Status
		return status{said.Conditions, said.ObservedGeneration}
	},
	addCreation: func(r *report, of string, f *fleet, used usage, queued int) {
		count := float64(f.size)
		r.add(of, "exchanges per object", float64(used.exchanges)/count, "", atMost(1))
		r.add(of, "requests per object, without statuses that say Queued", float64(used.requests.aboutObjects()-queued)/count, "", atMost(3))
	},
}

// accountKind is the kind PipedreamAccount.
var accountKind = kind{
	name: "PipedreamAccount", prefix: "account", content: "credentials", key: "oauth_access_token",
	owner: "PipedreamAccount/", version: v1alpha1.ContentAnnotation, attempt: v1alpha1.ConditionFetched,
	list: func() client.ObjectList { return &v1alpha1.PipedreamAccountList{} },
	object: func(f *fleet, number int) client.Object {
		return &v1alpha1.PipedreamAccount{
			ObjectMeta: f.metadata(number),
			Spec: v1alpha1.PipedreamAccountSpec{
				ClientSecretRef: f.clientOf(number), ProjectID: connectedProject, AccountID: connectedAccount(number),
			},
		}
	},
	status: func(object client.Object) status {
		said := object.(*v1alpha1.PipedreamAccount).Status
		return status{said.Conditions, said.ObservedGeneration}
	},
	addCreation: func(r *report, of string, f *fleet, used usage, queued int) {
		count, clients, reads := float64(f.size), float64(len(f.clients)), used.requests.byCall[getSecrets]
		r.add(of, "requests for accounts at Pipedream, per object", float64(used.fetches)/count, "", atMost(1))
		r.add(of, "exchanges per OAuth client", float64(used.exchanges)/clients, "", atMost(1))
		// The limiter may take a turn back when it turns out that the client is one that Pipedream has never accepted:
		// only some of these may ask at the same time. Then the credentials are read again at the next turn.
		r.add(of, "reads of Secrets, per OAuth client", float64(reads)/clients, "", atMost(2))
		r.add(of, "other requests per object, without statuses that say Queued", float64(used.requests.aboutObjects()-reads-queued)/count, "", atMost(2))
	},
}

// memberName returns the name of the member with a number. Its Secret has the same name.
func (k kind) memberName(number int) string { return fmt.Sprintf("%s-%05d", k.prefix, number) }

// caseName names a case in which so many objects of the kind are there. PipedreamTokens are not named.
func (k kind) caseName(what string, count int) string {
	if k.name == tokenKind.name {
		return fmt.Sprintf("%s %d", what, count)
	}
	return fmt.Sprintf("%s %d %ss", what, count, k.prefix)
}
