// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// run runs the demo. Its error says which part of the scenario failed.
func run(ctx context.Context, binaries string, once bool, out io.Writer) (err error) {
	e := &environment{out: &lockedWriter{to: out}, clock: clock.RealClock{}, binaries: binaries}
	e.began = e.clock.Now()
	defer func() { err = errors.Join(err, e.tearDown()) }()
	if err := e.play(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted before the end")
		}
		_, _ = fmt.Fprintf(e.out, "\nthe end of the manager's log:\n%s\n", e.managerLogEnd())
		return err
	}
	if once {
		return nil
	}
	_, _ = fmt.Fprintf(e.out, `
All of it stays up until Ctrl-C. To play with it, in another terminal:

    export KUBECONFIG=%s PATH=%s:$PATH
    kubectl get pdt -n %[3]s -w
    kubectl get pda -n %[3]s -w
    curl %[4]s/_sim/counters
    curl %[4]s/_sim/accounts
    tail -f %[5]s
`, e.cluster.KubeconfigFile, harness.Assets(), shopNamespace, e.pipedream.Address, e.managerLog)
	<-ctx.Done()
	return nil
}

// play plays the story of a token and the story of an account beside each other.
func (e *environment) play(ctx context.Context) error {
	if err := e.setUp(ctx); err != nil {
		return err
	}
	if err := e.begin(ctx); err != nil {
		return err
	}
	token, account := newTokenStory(e), newAccountStory(e)
	if err := together(ctx, token.play, account.play); err != nil {
		return err
	}
	return e.summarize(ctx, token, account)
}

// begin creates the objects of both stories, and the samples.
func (e *environment) begin(ctx context.Context) error {
	e.beginPart("(a) end users connect accounts at Pipedream. The samples, one more PipedreamToken (storefront) and one more PipedreamAccount (helpdesk) become Secrets")
	if err := e.connectAccounts(ctx); err != nil {
		return err
	}
	applied := e.clock.Now()
	if _, err := e.kubectl(ctx, "create", "namespace", shopNamespace); err != nil {
		return err
	}
	for _, arguments := range [][]string{
		{"apply", "--namespace", shopNamespace, "--kustomize", "config/samples"},
		{"apply", "--namespace", shopNamespace, "--filename", "test/demo/storefront.yaml", "--filename", "test/demo/helpdesk.yaml"},
		{"wait", "--for=condition=Ready", "pipedreamtokens,pipedreamaccounts", "--all", "--namespace", shopNamespace, "--timeout=30s"},
	} {
		if err := e.show(ctx, arguments...); err != nil {
			return err
		}
	}
	e.printf("all are Ready %.1f s after the first was applied", e.clock.Since(applied).Seconds())
	return e.show(ctx, "get", "pipedreamtokens,pipedreamaccounts,secrets", "--namespace", shopNamespace)
}

func (e *environment) summarize(ctx context.Context, token *tokenStory, account *accountStory) error {
	token.count()
	account.count()
	exchanges, err := e.exchanges(ctx)
	if err != nil {
		return err
	}
	zendesk, err := e.accountCounters(ctx)
	if err != nil {
		return err
	}
	e.beginPart("all of it happened. In sum:")
	_, _ = fmt.Fprintf(e.out, `
    token exchanges at Pipedream       %d accepted, %d refused (while the client secret was wrong), for all objects
    calls of storefront's consumer     %d accepted, %d refused (while its token was revoked), %d without a Secret (while it was deleted)
    renewals of storefront             %d, each before the old token had expired
    fetches of helpdesk's account      %d; Pipedream has refreshed it %d times
    calls of helpdesk's consumer       %d accepted, %d refused (while the account was dead), %d without a Secret
`, exchanges.Accepted, exchanges.Refused, token.total.accepted, token.total.refused, token.total.missing, token.renewals,
		zendesk.Accounts[accountID].Fetches, zendesk.Accounts[accountID].Refreshes,
		account.total.accepted, account.total.refused, account.total.missing)
	return nil
}

// inTurn runs the parts of a story one after the other, while a consumer makes its calls.
func inTurn(ctx context.Context, consumer *consumer, parts ...func(context.Context) error) error {
	running, stop := context.WithCancel(ctx)
	var consuming sync.WaitGroup
	consuming.Go(func() { consumer.run(running) })
	defer consuming.Wait()
	defer stop()
	for _, part := range parts {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// together runs all stories at the same time, and returns when they have ended. The first one that fails ends the
// others, and its error is returned.
func together(ctx context.Context, stories ...func(context.Context) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var playing sync.WaitGroup
	for _, play := range stories {
		playing.Go(func() {
			if err := play(ctx); err != nil {
				fail(err)
			}
		})
	}
	playing.Wait()
	return context.Cause(ctx)
}

// describe returns the conditions of an object as a text for an error.
func describe(conditions []metav1.Condition) string {
	texts := make([]string, 0, len(conditions))
	for _, condition := range conditions {
		texts = append(texts, fmt.Sprintf("%s=%s (%s: %s)", condition.Type, condition.Status, condition.Reason, condition.Message))
	}
	return strings.Join(texts, ", ")
}
