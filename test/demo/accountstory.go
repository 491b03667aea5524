// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	accountName       = "helpdesk"
	accountSecretName = "helpdesk-zendesk"
	accountKey        = "oauth_access_token"
	// lookEvery is fetchIntervalSeconds in helpdesk.yaml.
	lookEvery = 30 * time.Second
	// deadLookAfter is how long the operator waits until it looks at a dead account again.
	deadLookAfter = time.Minute
	// margin is how long a look may take on a busy machine.
	margin = 15 * time.Second
)

// accountStory is what happens to the PipedreamAccount helpdesk. It counts the consumer's calls.
type accountStory struct {
	*environment
	consumer *consumer
	total    calls
}

func newAccountStory(e *environment) *accountStory {
	return &accountStory{environment: e, consumer: &consumer{
		environment: e, secretName: accountSecretName, key: accountKey, call: e.callApp,
	}}
}

// play plays the story, while the consumer makes its calls.
func (s *accountStory) play(ctx context.Context) error {
	return inTurn(ctx, s.consumer, s.follow, s.die, s.expire, s.reconnect)
}

// say prints a line of this story.
func (s *accountStory) say(format string, arguments ...any) {
	s.printf("account: "+format, arguments...)
}

func (s *accountStory) follow(ctx context.Context) error {
	const refreshes = 2
	s.beginPart("account (b): Pipedream refreshes helpdesk's account every %.0f s. A consumer of helpdesk's Secret calls the app %s once a second with what the Secret holds, through %d refreshes",
		refreshEvery.Seconds(), appSlug, refreshes)
	for i := 1; i <= refreshes; i++ {
		before, err := s.secret(ctx)
		if err != nil {
			return err
		}
		expiry, err := time.Parse(time.RFC3339, string(before.Data["expires_at"]))
		if err != nil {
			return fmt.Errorf("the Secret's expires_at: %w", err)
		}
		if err := s.awaitNewCredentials(ctx, before, lookEvery+margin); err != nil {
			return err
		}
		left := expiry.Sub(s.clock.Now())
		if left <= 0 {
			return fmt.Errorf("refresh %d came into the Secret %v after the old credentials had expired", i, -left)
		}
		counted := s.count()
		s.say("refresh %d is in the Secret, %.0f s before the old credentials expire; calls: %d accepted, %d refused", i, left.Seconds(), counted.accepted, counted.refused)
	}
	// The calls of the next seconds use the last refresh.
	if err := s.awaitCalls(ctx, "the app to accept the new credentials", func(counted calls) bool { return counted.accepted >= 2 }); err != nil {
		return err
	}
	return s.wantNoRefusal(ctx)
}

// wantNoRefusal returns an error unless each call until now was accepted, as the consumer and the app have counted.
func (s *accountStory) wantNoRefusal(ctx context.Context) error {
	s.count()
	counters, err := s.accountCounters(ctx)
	if err != nil {
		return err
	}
	if app := counters.Apps[appSlug]; !s.total.areAllAccepted() || app.Accepted == 0 || app.Refused > 0 {
		return fmt.Errorf("the consumer's calls were %+v, and the app counts %+v; want all of them accepted", s.total, app)
	}
	return nil
}

func (s *accountStory) die(ctx context.Context) error {
	s.beginPart("account (c): the end user withdraws the access, so that Pipedream can't refresh the account any longer. The operator looks at it every %.0f s", lookEvery.Seconds())
	died := s.clock.Now()
	if err := s.changeAccount(ctx, map[string]any{"dead": true}); err != nil {
		return err
	}
	if err := s.await(ctx, lookEvery+margin, "Ready=False, AccountDead", func(account *v1alpha1.PipedreamAccount) bool {
		return isDead(account, v1alpha1.ConditionReady) && isDead(account, v1alpha1.ConditionFetched) &&
			meta.IsStatusConditionTrue(account.Status.Conditions, v1alpha1.ConditionStalled)
	}); err != nil {
		return err
	}
	account, err := s.account(ctx)
	if err != nil {
		return err
	}
	message := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionStalled).Message
	if !strings.Contains(message, "The end user must connect the account again") {
		return fmt.Errorf("condition Stalled does not say that the end user must act: %s", message)
	}
	s.say("Ready is False %.1f s later. Stalled says who must act:\n\n    %s", s.clock.Since(died).Seconds(), message)
	if err := s.show(ctx, "get", "pipedreamaccounts", "--namespace", shopNamespace); err != nil {
		return err
	}
	return s.wantNoRefusal(ctx)
}

// expire waits until the app refuses the credentials, which no longer get refreshed. So the consumer's counts show
// that the app does refuse.
func (s *accountStory) expire(ctx context.Context) error {
	before, err := s.secret(ctx)
	if err != nil {
		return err
	}
	if err := s.awaitCalls(ctx, "the app to refuse expired credentials", func(counted calls) bool { return counted.refused > 0 }); err != nil {
		return err
	}
	now, err := s.secret(ctx)
	if err != nil {
		return err
	}
	if now.UID != before.UID || now.ResourceVersion != before.ResourceVersion {
		return errors.New("the Secret was changed while the account was dead")
	}
	counted := s.count()
	s.say("the Secret stays as it is. Its credentials have expired now, and the app refuses them; calls since (c): %d accepted, %d refused", counted.accepted, counted.refused)
	return nil
}

func (s *accountStory) reconnect(ctx context.Context) error {
	s.beginPart("account (d): the end user connects the account again, and nobody touches the cluster. The operator looks at a dead account again after a minute")
	before, err := s.secret(ctx)
	if err != nil {
		return err
	}
	connected := s.clock.Now()
	if err := s.changeAccount(ctx, map[string]any{"dead": false}); err != nil {
		return err
	}
	if err := s.pipedream.Control(ctx, http.MethodPost, "accounts/"+accountID+"/refresh", struct{}{}, nil); err != nil {
		return err
	}
	if err := s.awaitNewCredentials(ctx, before, deadLookAfter+margin); err != nil {
		return err
	}
	if err := s.await(ctx, 5*time.Second, "Ready=True and Fetched=True", func(account *v1alpha1.PipedreamAccount) bool {
		conditions := account.Status.Conditions
		return meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionFetched) &&
			meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled) == nil
	}); err != nil {
		return err
	}
	took := s.clock.Since(connected)
	// A call that has begun before the new credentials were there may still be refused.
	if err := s.awaitCalls(ctx, "the app to accept the new credentials", func(counted calls) bool { return counted.accepted > 0 }); err != nil {
		return err
	}
	meanwhile := s.count()
	if err := s.awaitCalls(ctx, "more calls", func(counted calls) bool { return counted.accepted >= 3 }); err != nil {
		return err
	}
	after := s.count()
	if !after.areAllAccepted() {
		return fmt.Errorf("the consumer's calls after the reconnection were %+v, want all of them accepted", after)
	}
	s.say("new credentials are in the Secret %.1f s later, and Ready is True; calls meanwhile: %d refused, and since then: %d accepted, %d refused",
		took.Seconds(), meanwhile.refused, after.accepted, after.refused)
	return s.show(ctx, "get", "pipedreamaccounts", "--namespace", shopNamespace)
}

// count adds the consumer's calls since the last count to the total, and returns these calls.
func (s *accountStory) count() calls {
	counted := s.consumer.take()
	s.total.add(counted)
	return counted
}

// changeAccount changes the account at Pipedream.
func (s *accountStory) changeAccount(ctx context.Context, fields map[string]any) error {
	return s.pipedream.Control(ctx, http.MethodPatch, "accounts/"+accountID, fields, nil)
}

func (s *accountStory) account(ctx context.Context) (*v1alpha1.PipedreamAccount, error) {
	account := &v1alpha1.PipedreamAccount{}
	err := s.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: accountName}, account)
	return account, err
}

func (s *accountStory) secret(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := s.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: accountSecretName}, secret)
	return secret, err
}

// await waits until the PipedreamAccount fulfils the condition.
func (s *accountStory) await(ctx context.Context, patience time.Duration, condition string, holds func(*v1alpha1.PipedreamAccount) bool) error {
	return harness.Wait{Patience: patience, Every: 100 * time.Millisecond}.Until(ctx, condition, func() string {
		account, err := s.account(ctx)
		if err != nil {
			return err.Error()
		}
		if !holds(account) {
			return "the status is " + describe(account.Status.Conditions)
		}
		return ""
	})
}

// awaitNewCredentials waits until the access token in the Secret is not the one from before.
func (s *accountStory) awaitNewCredentials(ctx context.Context, before *corev1.Secret, patience time.Duration) error {
	return s.await(ctx, patience, "new credentials", func(*v1alpha1.PipedreamAccount) bool {
		now, err := s.secret(ctx)
		return err == nil && string(now.Data[accountKey]) != string(before.Data[accountKey])
	})
}

// awaitCalls waits until the consumer's calls since the last count fulfil the condition.
func (s *accountStory) awaitCalls(ctx context.Context, condition string, holds func(calls) bool) error {
	return s.await(ctx, credentialLifetime+margin, condition, func(*v1alpha1.PipedreamAccount) bool { return holds(s.consumer.counted()) })
}

func isDead(account *v1alpha1.PipedreamAccount, condition string) bool {
	found := meta.FindStatusCondition(account.Status.Conditions, condition)
	return found != nil && found.Status == metav1.ConditionFalse && found.Reason == v1alpha1.ReasonAccountDead
}
