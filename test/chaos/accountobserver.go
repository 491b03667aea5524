// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// accountSnapshot is the observed state of one PipedreamAccount at one time.
type accountSnapshot struct {
	account *v1alpha1.PipedreamAccount // nil when there is none
	held
}

// credentials returns the access token or the API key in the Secret, or "".
func (s accountSnapshot) credentials() string {
	if s.secret == nil {
		return ""
	}
	if token := s.secret.Data[oauthTokenKey]; len(token) > 0 {
		return string(token)
	}
	return string(s.secret.Data[apiKeyKey])
}

// isInherited reports whether a deleted PipedreamAccount of the same name still controls the Secret.
func (s accountSnapshot) isInherited() bool {
	return s.account != nil && accountFleet.isInherited(s.account, s.secret)
}

// assembleAccounts sorts the PipedreamAccounts and Secrets by object. orphans are Secrets of the operator whose
// PipedreamAccount does not exist.
func assembleAccounts(accounts []v1alpha1.PipedreamAccount, secrets []corev1.Secret) (snapshots []accountSnapshot, orphans []string) {
	snapshots = make([]accountSnapshot, accountCount)
	owners, numbers := make([]metav1.Object, accountCount), accountFleet.numbers()
	for k := range accounts {
		if i, ok := numbers[types.NamespacedName{Namespace: accounts[k].Namespace, Name: accounts[k].Name}]; ok {
			snapshots[i].account, owners[i] = &accounts[k], &accounts[k]
		}
	}
	places, orphans := accountFleet.place(owners, secrets)
	for i := range places {
		snapshots[i].held = places[i]
	}
	return snapshots, orphans
}

// observeAccounts evaluates the PipedreamAccounts that were read at a time. slow is how long that took.
func (o *observer) observeAccounts(ctx context.Context, accounts []v1alpha1.PipedreamAccount, secrets []corev1.Secret, slow time.Duration, read time.Time) {
	snapshots, orphans := assembleAccounts(accounts, secrets)
	o.learnAccounts(accounts, snapshots)
	consume(len(snapshots), func(i int) {
		if snapshots[i].credentials() != "" {
			o.useApp(ctx, i, &snapshots[i])
		}
	})
	counters, err := o.env.pipedream.accountCounters(ctx)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		o.accounts.fetches.observe(counters, read)
	}
	for i := range snapshots {
		snapshots[i].slow = slow
		o.accounts.evaluate(i, snapshots[i], read)
	}
	o.accounts.evaluateOwners(snapshots, orphans, read)
}

// useApp uses the credentials of an account. After a refusal it reads the Secret again, for the operator may have
// replaced the credentials.
func (o *observer) useApp(ctx context.Context, i int, s *accountSnapshot) {
	s.answer = o.env.pipedream.useApp(ctx, s.credentials())
	if s.answer != refused {
		return
	}
	again := &corev1.Secret{}
	if o.env.client.Get(ctx, accountSecretOf(i), again) != nil {
		return
	}
	if s.secret = again; s.credentials() != "" {
		s.answer = o.env.pipedream.useApp(ctx, s.credentials())
	}
}

// credentialKeys are the keys of a Secret that hold the credentials of an account. No other key may hold any.
var credentialKeys = []string{oauthTokenKey, apiKeyKey, webhookSecretKey, clientIDKey, uidKey}

// learnAccounts adds the credentials that it reads to the secrets to search for, and the rest of the objects to the
// texts to search.
func (o *observer) learnAccounts(accounts []v1alpha1.PipedreamAccount, snapshots []accountSnapshot) {
	now := time.Now()
	for k := range accounts {
		if o.isNew(&accounts[k]) {
			o.read(accountFleet.kind, &accounts[k], now)
		}
	}
	for i, s := range snapshots {
		if s.secret == nil || !o.isNew(s.secret) {
			continue
		}
		shown := s.secret.DeepCopy()
		for _, key := range credentialKeys {
			o.env.leaks.learn(accountFields, "credentials of "+accountNameOf(i).String(), string(shown.Data[key]))
			delete(shown.Data, key)
		}
		o.read("Secret", shown.ObjectMeta, now)
		for _, value := range shown.Data {
			o.env.leaks.add("Secret", string(value), now)
		}
	}
}
