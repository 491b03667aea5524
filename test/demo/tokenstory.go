// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	tokenName       = "storefront"
	tokenSecretName = "storefront-pipedream"
)

// tokenStory is what happens to the PipedreamToken storefront. It counts the consumer's calls and the renewals.
type tokenStory struct {
	*environment
	consumer *consumer
	total    calls
	renewals int
}

func newTokenStory(e *environment) *tokenStory {
	return &tokenStory{environment: e, consumer: &consumer{
		environment: e, secretName: tokenSecretName, key: "access_token", call: e.listAccounts,
	}}
}

// play plays the story, while the consumer makes its calls.
func (s *tokenStory) play(ctx context.Context) error {
	return inTurn(ctx, s.consumer, s.renew, s.reject, s.repair, s.revoke, s.restore)
}

// say prints a line of this story.
func (s *tokenStory) say(format string, arguments ...any) {
	s.printf("token: "+format, arguments...)
}

func (s *tokenStory) renew(ctx context.Context) error {
	const renewals = 2
	s.beginPart("token (b): a consumer of storefront's Secret calls Pipedream once a second with what the Secret holds, through %d renewals", renewals)
	for i := 1; i <= renewals; i++ {
		before, err := s.secret(ctx)
		if err != nil {
			return err
		}
		expiry, err := time.Parse(time.RFC3339, string(before.Data["expires_at"]))
		if err != nil {
			return fmt.Errorf("the Secret's expires_at: %w", err)
		}
		if err := s.awaitNewToken(ctx, tokenLifetime); err != nil {
			return err
		}
		left := expiry.Sub(s.clock.Now())
		if left <= 0 {
			return fmt.Errorf("renewal %d came %v after the token had expired", i, -left)
		}
		s.renewals++
		counted := s.count()
		s.say("renewal %d, %.0f s before the old token expires; calls: %d accepted, %d refused", i, left.Seconds(), counted.accepted, counted.refused)
	}
	if !s.total.areAllAccepted() {
		return fmt.Errorf("the consumer's calls were %+v, want all of them accepted", s.total)
	}
	return nil
}

func (s *tokenStory) reject(ctx context.Context) error {
	s.beginPart("token (c): the client secret is rotated at Pipedream, and nobody has told the cluster")
	if err := s.pipedream.Control(ctx, http.MethodPut, "clients/"+clientID, map[string]string{"secret": secondSecret}, nil); err != nil {
		return err
	}
	s.say("waiting for the next renewal, which must fail")
	if err := s.await(ctx, tokenLifetime, "Renewed=False, CredentialsRejected", func(token *v1alpha1.PipedreamToken) bool {
		renewed := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionRenewed)
		return renewed.Status == metav1.ConditionFalse && renewed.Reason == v1alpha1.ReasonCredentialsRejected &&
			isTrue(token, v1alpha1.ConditionStalled)
	}); err != nil {
		return err
	}
	// 5 s are enough to see that Ready stays True. The current token has about 20 s left.
	for range 5 {
		token, err := s.token(ctx)
		if err != nil {
			return err
		}
		if !isTrue(token, v1alpha1.ConditionReady) {
			return errors.New("condition Ready is not True although the current token lives")
		}
		<-s.clock.After(time.Second)
	}
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	s.say("storefront's Ready stays True (the others' tokens are a little older): the current token lives for another %.0f s. Renewed and Stalled say:\n\n    %s",
		token.Status.ExpirationTime.Sub(s.clock.Now()).Seconds(), meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionStalled).Message)
	return s.show(ctx, "get", "pipedreamtokens", "--namespace", shopNamespace)
}

func (s *tokenStory) repair(ctx context.Context) error {
	const limit = 2 * time.Second
	s.beginPart("token (d): the new client secret is put into the Secret that the spec names")
	patched := s.clock.Now()
	if _, err := s.kubectl(ctx, "patch", "secret", "pipedream-oauth-client", "--namespace", shopNamespace,
		"--patch", `{"stringData":{"client_secret":"`+secondSecret+`"}}`); err != nil {
		return err
	}
	if err := s.await(ctx, 30*time.Second, "Renewed=True", func(token *v1alpha1.PipedreamToken) bool {
		return isTrue(token, v1alpha1.ConditionRenewed) && meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionStalled) == nil
	}); err != nil {
		return err
	}
	took := s.clock.Since(patched)
	if took > limit {
		return fmt.Errorf("the new client secret was used after %v, want it within %v", took, limit)
	}
	s.renewals++
	counted := s.count()
	s.say("renewed %.1f s later; calls since (b): %d accepted, %d refused", took.Seconds(), counted.accepted, counted.refused)
	if counted.refused > 0 {
		return errors.New("the consumer was refused although the current token was good all the time")
	}
	return nil
}

func (s *tokenStory) revoke(ctx context.Context) error {
	s.beginPart("token (e): the token is revoked at Pipedream; it is verified every 10 s")
	secret, err := s.secret(ctx)
	if err != nil {
		return err
	}
	revoked := s.clock.Now()
	if err := s.pipedream.Control(ctx, http.MethodPost, "revoke", map[string]string{"token": string(secret.Data["access_token"])}, nil); err != nil {
		return err
	}
	if err := s.awaitNewToken(ctx, 30*time.Second); err != nil {
		return err
	}
	if err := s.await(ctx, 5*time.Second, "Ready=True and Verified=True", func(token *v1alpha1.PipedreamToken) bool {
		return isTrue(token, v1alpha1.ConditionReady) && isTrue(token, v1alpha1.ConditionVerified)
	}); err != nil {
		return err
	}
	took := s.clock.Since(revoked)
	if s.listAccounts(ctx, string(secret.Data["access_token"])) != http.StatusUnauthorized {
		return errors.New("the old token was not revoked")
	}
	counted := s.count()
	s.say("seen and replaced %.1f s later, and the new token is accepted; calls meanwhile: %d accepted, %d refused", took.Seconds(), counted.accepted, counted.refused)
	return nil
}

func (s *tokenStory) restore(ctx context.Context) error {
	s.beginPart("token (f): somebody deletes the Secret")
	before, err := s.secret(ctx)
	if err != nil {
		return err
	}
	deleted := s.clock.Now()
	if _, err := s.kubectl(ctx, "delete", "secret", tokenSecretName, "--namespace", shopNamespace); err != nil {
		return err
	}
	if err := s.await(ctx, 30*time.Second, "the Secret to come back", func(*v1alpha1.PipedreamToken) bool {
		secret, err := s.secret(ctx)
		return err == nil && secret.UID != before.UID && s.listAccounts(ctx, string(secret.Data["access_token"])) == http.StatusOK
	}); err != nil {
		return err
	}
	s.say("it is back %.1f s later, with a token that Pipedream accepts (tokens of one object are at least 10 s apart)", s.clock.Since(deleted).Seconds())
	return s.await(ctx, 5*time.Second, "Ready=True", func(token *v1alpha1.PipedreamToken) bool {
		return isTrue(token, v1alpha1.ConditionReady)
	})
}

// count adds the consumer's calls since the last count to the total, and returns these calls.
func (s *tokenStory) count() calls {
	counted := s.consumer.take()
	s.total.add(counted)
	return counted
}

func (s *tokenStory) token(ctx context.Context) (*v1alpha1.PipedreamToken, error) {
	token := &v1alpha1.PipedreamToken{}
	err := s.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: tokenName}, token)
	return token, err
}

func (s *tokenStory) secret(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := s.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: tokenSecretName}, secret)
	return secret, err
}

// await waits until the PipedreamToken fulfils the condition.
func (s *tokenStory) await(ctx context.Context, patience time.Duration, condition string, holds func(*v1alpha1.PipedreamToken) bool) error {
	return harness.Wait{Patience: patience, Every: 100 * time.Millisecond}.Until(ctx, condition, func() string {
		token, err := s.token(ctx)
		if err != nil {
			return err.Error()
		}
		if !holds(token) {
			return "the status is " + describe(token.Status.Conditions)
		}
		return ""
	})
}

// awaitNewToken waits until the token in the Secret changes.
func (s *tokenStory) awaitNewToken(ctx context.Context, patience time.Duration) error {
	before, err := s.secret(ctx)
	if err != nil {
		return err
	}
	return s.await(ctx, patience, "a new token", func(*v1alpha1.PipedreamToken) bool {
		now, err := s.secret(ctx)
		return err == nil && string(now.Data["access_token"]) != string(before.Data["access_token"])
	})
}

func isTrue(token *v1alpha1.PipedreamToken, condition string) bool {
	return meta.IsStatusConditionTrue(token.Status.Conditions, condition)
}
