// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// run tells the story. Its error says what did not happen.
func run(ctx context.Context, binaries string, once bool, out io.Writer) (err error) {
	s := &stage{out: out, clock: clock.RealClock{}, binaries: binaries}
	s.began = s.clock.Now()
	defer func() { err = errors.Join(err, s.tearDown()) }()
	if err := s.tell(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted before the end of the story")
		}
		_, _ = fmt.Fprintf(out, "\nthe end of the manager's log:\n%s\n", s.managerLogEnd())
		return err
	}
	if once {
		return nil
	}
	_, _ = fmt.Fprintf(out, `
All of it stays up until Ctrl-C. To play with it, in another terminal:

    export KUBECONFIG=%s PATH=%s:$PATH
    kubectl get pdt -n %s -w
    curl %s/_sim/counters
    tail -f %s
`, s.cluster.KubeconfigFile, harness.Assets(), shopNamespace, s.pipedream.Address, s.managerLog)
	<-ctx.Done()
	return nil
}

func (s *stage) tell(ctx context.Context) error {
	if err := s.setUp(ctx); err != nil {
		return err
	}
	story := &story{stage: s, consumer: &consumer{stage: s}}
	for _, part := range []func(context.Context) error{
		story.issue, story.renew, story.reject, story.repair, story.revoke, story.restore, story.sum,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// story is what happens on the stage.
type story struct {
	*stage
	consumer *consumer
	stop     context.CancelFunc
	total    calls
	renewals int
}

func (s *story) issue(ctx context.Context) error {
	s.chapter("(a) the samples and one more PipedreamToken, storefront, become Secrets")
	applied := s.clock.Now()
	if _, err := s.kubectl(ctx, "create", "namespace", shopNamespace); err != nil {
		return err
	}
	if err := s.show(ctx, "apply", "--namespace", shopNamespace, "--kustomize", "config/samples"); err != nil {
		return err
	}
	if err := s.show(ctx, "apply", "--namespace", shopNamespace, "--filename", "test/demo/storefront.yaml"); err != nil {
		return err
	}
	if err := s.show(ctx, "wait", "--for=condition=Ready", "pipedreamtokens", "--all", "--namespace", shopNamespace, "--timeout=30s"); err != nil {
		return err
	}
	s.say("all are Ready %.1f s after the first was applied", s.clock.Since(applied).Seconds())
	return s.show(ctx, "get", "pipedreamtokens,secrets", "--namespace", shopNamespace)
}

func (s *story) renew(ctx context.Context) error {
	const wanted = 2
	s.chapter("(b) a consumer of storefront's Secret calls Pipedream once a second with what the Secret holds, through %d renewals", wanted)
	consumerContext, stop := context.WithCancel(ctx)
	s.stop = stop
	go s.consumer.run(consumerContext)
	for i := 1; i <= wanted; i++ {
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
	if s.total.accepted == 0 || s.total.refused+s.total.failed+s.total.missing > 0 {
		return fmt.Errorf("the consumer's calls were %+v, want all of them accepted", s.total)
	}
	return nil
}

func (s *story) reject(ctx context.Context) error {
	s.chapter("(c) the client secret is rotated at Pipedream, and nobody has told the cluster")
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
	// Long enough to see that Ready stays; the current token has some 20 s left.
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
	s.say("storefront's Ready stays True (the others' tokens are a little older): the current token lives for another %.0f s. Renewed and Stalled say:", token.Status.ExpirationTime.Sub(s.clock.Now()).Seconds())
	_, _ = fmt.Fprintf(s.out, "\n    %s\n\n", meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionStalled).Message)
	return s.show(ctx, "get", "pipedreamtokens", "--namespace", shopNamespace)
}

func (s *story) repair(ctx context.Context) error {
	const promised = 2 * time.Second
	s.chapter("(d) the new client secret is put into the Secret that the spec names")
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
	if took > promised {
		return fmt.Errorf("the new client secret was used after %v, want it within %v", took, promised)
	}
	s.renewals++
	counted := s.count()
	s.say("renewed %.1f s later; calls since (b): %d accepted, %d refused", took.Seconds(), counted.accepted, counted.refused)
	if counted.refused > 0 {
		return errors.New("the consumer was refused although the current token was good all the time")
	}
	return nil
}

func (s *story) revoke(ctx context.Context) error {
	s.chapter("(e) the token is revoked at Pipedream; it is verified every 10 s")
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

func (s *story) restore(ctx context.Context) error {
	s.chapter("(f) somebody deletes the Secret")
	before, err := s.secret(ctx)
	if err != nil {
		return err
	}
	deleted := s.clock.Now()
	if _, err := s.kubectl(ctx, "delete", "secret", starSecret, "--namespace", shopNamespace); err != nil {
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

func (s *story) sum(ctx context.Context) error {
	s.stop()
	s.count()
	exchanges, err := s.exchanges(ctx)
	if err != nil {
		return err
	}
	s.chapter("all of it happened. In sum:")
	_, _ = fmt.Fprintf(s.out, `
    exchanges at Pipedream        %d accepted, %d refused (while the client secret was wrong), for four PipedreamTokens
    calls of its consumer         %d accepted, %d refused (while its token was revoked), %d without a Secret (while it was deleted)
    renewals of storefront        %d, each before the old token had expired
`, exchanges.Accepted, exchanges.Refused, s.total.accepted, s.total.refused, s.total.missing, s.renewals)
	return nil
}

// count adds the consumer's calls since the last count to the total, and returns
// them.
func (s *story) count() calls {
	counted := s.consumer.take()
	s.total.accepted += counted.accepted
	s.total.refused += counted.refused
	s.total.failed += counted.failed
	s.total.missing += counted.missing
	return counted
}

func (s *stage) token(ctx context.Context) (*v1alpha1.PipedreamToken, error) {
	token := &v1alpha1.PipedreamToken{}
	err := s.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: star}, token)
	return token, err
}

func (s *stage) secret(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := s.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: starSecret}, secret)
	return secret, err
}

// await waits until the PipedreamToken is as wanted.
func (s *stage) await(ctx context.Context, patience time.Duration, what string, holds func(*v1alpha1.PipedreamToken) bool) error {
	return harness.Wait{Patience: patience, Every: 100 * time.Millisecond}.Until(ctx, what, func() string {
		token, err := s.token(ctx)
		if err != nil {
			return err.Error()
		}
		if !holds(token) {
			return "the status is " + describe(token)
		}
		return ""
	})
}

// awaitNewToken waits until the Secret holds another token than now.
func (s *stage) awaitNewToken(ctx context.Context, patience time.Duration) error {
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

func describe(token *v1alpha1.PipedreamToken) string {
	var said []string
	for _, condition := range token.Status.Conditions {
		said = append(said, fmt.Sprintf("%s=%s (%s: %s)", condition.Type, condition.Status, condition.Reason, condition.Message))
	}
	return strings.Join(said, ", ")
}
