// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const connectedProject = "proj_abc123"

// connect connects an account at Pipedream for the PipedreamAccount with a name.
func (s *site) connect(name string) {
	s.Helper()
	harness.Must(s.T, s.pipedream.Accounts.Set("apn_"+name, simulator.NewAccount(connectedProject, "user-"+name, "slack")))
}

// createAccount creates a PipedreamAccount that asks with the OAuth client of the same name.
func (s *site) createAccount(name string) {
	s.Helper()
	s.createAccountInto(name, name+"-credentials")
}

// createAccountInto is createAccount with the name of the Secret that the operator writes.
func (s *site) createAccountInto(name, secretName string) {
	s.Helper()
	harness.Must(s.T, s.admin.Create(s.Context(), &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.PipedreamAccountSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: name + "-client"},
			ProjectID:       connectedProject,
			AccountID:       "apn_" + name,
			Secret:          v1alpha1.AccountSecretTemplate{Name: secretName},
		},
	}))
}

// createAccountWithKey connects an account at Pipedream, and creates a PipedreamAccount that asks with the API key of
// its user. The credentials of the account have these fields, too. The key is to be in the Secret that setKey writes.
func (s *site) createAccountWithKey(name, key string, fields map[string]any) {
	s.Helper()
	harness.Must(s.T, s.pipedream.Users.Set(userOf(name), simulator.NewUser(key)))
	connected := simulator.NewAccount(connectedProject, "user-"+name, "slack")
	connected.UserID, connected.Fields = userOf(name), fields
	harness.Must(s.T, s.pipedream.Accounts.Set("apn_"+name, connected))
	harness.Must(s.T, s.admin.Create(s.Context(), &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.PipedreamAccountSpec{
			APIKeyRef: v1alpha1.APIKeyReference{Name: name + "-key"}, AccountID: "apn_" + name,
			Secret: v1alpha1.AccountSecretTemplate{Name: name + "-credentials"},
		},
	}))
}

// userOf returns the ID of the Pipedream user who has the API key of a PipedreamAccount.
func userOf(name string) string { return "u_" + strings.ReplaceAll(name, "-", "") }

// setKey writes the Secret with the API key of a PipedreamAccount.
func (s *site) setKey(name, key string) {
	s.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name + "-key"}}
	_, err := controllerutil.CreateOrUpdate(s.Context(), s.admin, secret, func() error {
		secret.Data = map[string][]byte{"api_key": []byte(key)}
		return nil
	})
	harness.Must(s.T, err)
}

// awaitFetchedReason waits until condition Fetched of a PipedreamAccount has a reason.
func (s *site) awaitFetchedReason(name, reason string) {
	s.Helper()
	s.eventually(name+" to be "+reason, func() bool {
		fetched := meta.FindStatusCondition(s.account(name).Status.Conditions, v1alpha1.ConditionFetched)
		return fetched != nil && fetched.Reason == reason
	})
}

func (s *site) account(name string) *v1alpha1.PipedreamAccount {
	s.Helper()
	account := &v1alpha1.PipedreamAccount{}
	harness.Must(s.T, s.admin.Get(s.Context(), s.key(name), account))
	return account
}

// accountCredentials returns the credentials in the Secret of a PipedreamAccount; nil if there is no Secret.
func (s *site) accountCredentials(name string) map[string][]byte {
	s.Helper()
	secret := &corev1.Secret{}
	if err := s.admin.Get(s.Context(), s.key(name+"-credentials"), secret); err != nil {
		harness.Must(s.T, client.IgnoreNotFound(err))
		return nil
	}
	return secret.Data
}

// awaitFetched waits until the Secret of a PipedreamAccount holds an access token that is not the given one.
func (s *site) awaitFetched(name, other string) (accessToken string) {
	s.Helper()
	s.eventually("the credentials of "+name, func() bool {
		accessToken = string(s.accountCredentials(name)["oauth_access_token"])
		return accessToken != "" && accessToken != other && meta.IsStatusConditionTrue(s.account(name).Status.Conditions, v1alpha1.ConditionReady)
	})
	return accessToken
}

// wholeJobForAccounts has the manager do all that it does for PipedreamAccounts.
func (a *account) wholeJobForAccounts() {
	a.Helper()
	const name = "connected"
	a.register(name, goodSecret)
	a.connect(name)
	a.createAccount(name)
	first := a.awaitFetched(name, "")
	harness.Must(a.T, a.pipedream.Accounts.Refresh("apn_"+name))
	connected := a.account(name)
	change(a.site, connected, func(p *v1alpha1.PipedreamAccount) {
		p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "please"}
	})
	a.awaitFetched(name, first)
	a.jobWithAPIKey()
}

// jobWithAPIKey has the manager use an API key that is delivered late, is revoked, and is replaced.
func (a *account) jobWithAPIKey() {
	a.Helper()
	const name, oldKey, newKey = "keyed", "the-old-api-key", "the-new-api-key"
	a.createAccountWithKey(name, oldKey, nil)
	a.awaitFetchedReason(name, v1alpha1.ReasonCredentialsMissing)
	a.setKey(name, oldKey)
	first := a.awaitFetched(name, "")
	harness.Must(a.T, a.pipedream.Users.RevokeKey(userOf(name), newKey))
	harness.Must(a.T, a.pipedream.Accounts.Refresh("apn_"+name))
	change(a.site, a.account(name), func(p *v1alpha1.PipedreamAccount) {
		p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "please"}
	})
	a.awaitFetchedReason(name, v1alpha1.ReasonCredentialsRejected)
	a.setKey(name, newKey)
	a.awaitFetched(name, first)
}

// forbiddenToAccounts are what the manager may not do to PipedreamAccounts.
func (a *account) forbiddenToAccounts(manager client.Client, patch client.Patch) map[string]func(context.Context) error {
	connected := &v1alpha1.PipedreamAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "connected"}}
	return map[string]func(context.Context) error{
		"get a PipedreamAccount": func(ctx context.Context) error {
			return manager.Get(ctx, client.ObjectKeyFromObject(connected), &v1alpha1.PipedreamAccount{})
		},
		"change a PipedreamAccount": func(ctx context.Context) error { return manager.Patch(ctx, connected, patch) },
		"delete a PipedreamAccount": func(ctx context.Context) error { return manager.Delete(ctx, connected) },
		"create a PipedreamAccount": func(ctx context.Context) error {
			return manager.Create(ctx, &v1alpha1.PipedreamAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "other"}})
		},
	}
}
