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

// run runs the demo. Its error says which part of the scenario failed.
func run(ctx context.Context, binaries string, once bool, out io.Writer) (err error) {
	e := &environment{out: out, clock: clock.RealClock{}, binaries: binaries}
	e.began = e.clock.Now()
	defer func() { err = errors.Join(err, e.tearDown()) }()
	if err := e.play(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted before the end")
		}
		_, _ = fmt.Fprintf(out, "\nthe end of the manager's log:\n%s\n", e.managerLogEnd())
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
`, e.cluster.KubeconfigFile, harness.Assets(), shopNamespace, e.pipedream.Address, e.managerLog)
	<-ctx.Done()
	return nil
}

func (e *environment) play(ctx context.Context) error {
	if err := e.setUp(ctx); err != nil {
		return err
	}
	scenario := &scenario{environment: e, consumer: &consumer{environment: e}}
	for _, part := range []func(context.Context) error{
		scenario.issue, scenario.renew, scenario.reject, scenario.repair, scenario.revoke, scenario.restore, scenario.summarize,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// scenario holds the parts of the demo, and counts the consumer's calls and the renewals.
type scenario struct {
	*environment
	consumer *consumer
	stop     context.CancelFunc
	total    calls
	renewals int
}

func (s *scenario) issue(ctx context.Context) error {
	s.beginPart("(a) the samples and one more PipedreamToken, storefront, become Secrets")
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
	s.printf("all are Ready %.1f s after the first was applied", s.clock.Since(applied).Seconds())
	return s.show(ctx, "get", "pipedreamtokens,secrets", "--namespace", shopNamespace)
}

func (s *scenario) renew(ctx context.Context) error {
	const renewals = 2
	s.beginPart("(b) a consumer of storefront's Secret calls Pipedream once a second with what the Secret holds, through %d renewals", renewals)
	consumerContext, stop := context.WithCancel(ctx)
	s.stop = stop
	go s.consumer.run(consumerContext)
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
		s.printf("renewal %d, %.0f s before the old token expires; calls: %d accepted, %d refused", i, left.Seconds(), counted.accepted, counted.refused)
	}
	if s.total.accepted == 0 || s.total.refused+s.total.failed+s.total.missing > 0 {
		return fmt.Errorf("the consumer's calls were %+v, want all of them accepted", s.total)
	}
	return nil
}

func (s *scenario) reject(ctx context.Context) error {
	s.beginPart("(c) the client secret is rotated at Pipedream, and nobody has told the cluster")
	if err := s.pipedream.Control(ctx, http.MethodPut, "clients/"+clientID, map[string]string{"secret": secondSecret}, nil); err != nil {
		return err
	}
	s.printf("waiting for the next renewal, which must fail")
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
	s.printf("storefront's Ready stays True (the others' tokens are a little older): the current token lives for another %.0f s. Renewed and Stalled say:", token.Status.ExpirationTime.Sub(s.clock.Now()).Seconds())
	_, _ = fmt.Fprintf(s.out, "\n    %s\n\n", meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionStalled).Message)
	return s.show(ctx, "get", "pipedreamtokens", "--namespace", shopNamespace)
}

func (s *scenario) repair(ctx context.Context) error {
	const limit = 2 * time.Second
	s.beginPart("(d) the new client secret is put into the Secret that the spec names")
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
	s.printf("renewed %.1f s later; calls since (b): %d accepted, %d refused", took.Seconds(), counted.accepted, counted.refused)
	if counted.refused > 0 {
		return errors.New("the consumer was refused although the current token was good all the time")
	}
	return nil
}

func (s *scenario) revoke(ctx context.Context) error {
	s.beginPart("(e) the token is revoked at Pipedream; it is verified every 10 s")
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
	s.printf("seen and replaced %.1f s later, and the new token is accepted; calls meanwhile: %d accepted, %d refused", took.Seconds(), counted.accepted, counted.refused)
	return nil
}

func (s *scenario) restore(ctx context.Context) error {
	s.beginPart("(f) somebody deletes the Secret")
	before, err := s.secret(ctx)
	if err != nil {
		return err
	}
	deleted := s.clock.Now()
	if _, err := s.kubectl(ctx, "delete", "secret", secretName, "--namespace", shopNamespace); err != nil {
		return err
	}
	if err := s.await(ctx, 30*time.Second, "the Secret to come back", func(*v1alpha1.PipedreamToken) bool {
		secret, err := s.secret(ctx)
		return err == nil && secret.UID != before.UID && s.listAccounts(ctx, string(secret.Data["access_token"])) == http.StatusOK
	}); err != nil {
		return err
	}
	s.printf("it is back %.1f s later, with a token that Pipedream accepts (tokens of one object are at least 10 s apart)", s.clock.Since(deleted).Seconds())
	return s.await(ctx, 5*time.Second, "Ready=True", func(token *v1alpha1.PipedreamToken) bool {
		return isTrue(token, v1alpha1.ConditionReady)
	})
}

func (s *scenario) summarize(ctx context.Context) error {
	s.stop()
	s.count()
	exchanges, err := s.exchanges(ctx)
	if err != nil {
		return err
	}
	s.beginPart("all of it happened. In sum:")
	_, _ = fmt.Fprintf(s.out, `
    exchanges at Pipedream        %d accepted, %d refused (while the client secret was wrong), for four PipedreamTokens
    calls of its consumer         %d accepted, %d refused (while its token was revoked), %d without a Secret (while it was deleted)
    renewals of storefront        %d, each before the old token had expired
`, exchanges.Accepted, exchanges.Refused, s.total.accepted, s.total.refused, s.total.missing, s.renewals)
	return nil
}

// count adds the consumer's calls since the last count to the total, and returns these calls.
func (s *scenario) count() calls {
	counted := s.consumer.take()
	s.total.accepted += counted.accepted
	s.total.refused += counted.refused
	s.total.failed += counted.failed
	s.total.missing += counted.missing
	return counted
}

func (e *environment) token(ctx context.Context) (*v1alpha1.PipedreamToken, error) {
	token := &v1alpha1.PipedreamToken{}
	err := e.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: objectName}, token)
	return token, err
}

func (e *environment) secret(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := e.client.Get(ctx, types.NamespacedName{Namespace: shopNamespace, Name: secretName}, secret)
	return secret, err
}

// await waits until the PipedreamToken fulfils the condition.
func (e *environment) await(ctx context.Context, patience time.Duration, condition string, holds func(*v1alpha1.PipedreamToken) bool) error {
	return harness.Wait{Patience: patience, Every: 100 * time.Millisecond}.Until(ctx, condition, func() string {
		token, err := e.token(ctx)
		if err != nil {
			return err.Error()
		}
		if !holds(token) {
			return "the status is " + describe(token)
		}
		return ""
	})
}

// awaitNewToken waits until the token in the Secret changes.
func (e *environment) awaitNewToken(ctx context.Context, patience time.Duration) error {
	before, err := e.secret(ctx)
	if err != nil {
		return err
	}
	return e.await(ctx, patience, "a new token", func(*v1alpha1.PipedreamToken) bool {
		now, err := e.secret(ctx)
		return err == nil && string(now.Data["access_token"]) != string(before.Data["access_token"])
	})
}

func isTrue(token *v1alpha1.PipedreamToken, condition string) bool {
	return meta.IsStatusConditionTrue(token.Status.Conditions, condition)
}

func describe(token *v1alpha1.PipedreamToken) string {
	var texts []string
	for _, condition := range token.Status.Conditions {
		texts = append(texts, fmt.Sprintf("%s=%s (%s: %s)", condition.Type, condition.Status, condition.Reason, condition.Message))
	}
	return strings.Join(texts, ", ")
}
