// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// readyTimeout is how long the API server may take to be ready after an outage.
	readyTimeout = time.Minute
	// maxLateness is how late an outage may begin when an earlier outage took long. An outage that begins later
	// would reach into the calm.
	maxLateness = 15 * time.Second
	// outageLooks is how many looks at each account an outage may cost: one whose credentials were lost with the process,
	// and two whose credentials the API server did not take.
	outageLooks = 3
	// missedProbes is how many probes in a row the API server must miss before keepAPIServer starts it again.
	missedProbes = 5
)

// disturbCluster kills managers, or restarts a part of the control plane.
func (c *chaos) disturbCluster(ctx context.Context, a action) error {
	c.outage.Lock() // Only one outage at a time.
	defer c.outage.Unlock()
	if late := time.Since(c.began) - a.at; late > maxLateness || ctx.Err() != nil {
		c.reporter.printf("#%d (%s) is left out: it would begin %v late", a.number, a.kind, late.Round(time.Second))
		return nil
	}
	c.reporter.recordDisturbance(a)
	if a.kind == standbyKilled {
		return c.stopOne(a) // It disturbs no promise.
	}
	disturbed := c.promises.begin(ofCluster, 0, time.Now())
	defer func() {
		now := time.Now()
		c.promises.end(disturbed, now)
		c.fetches.allowAll(outageLooks, now)
	}()
	if a.kind == webhookDown {
		return c.refuseSecrets(ctx, a) // An issued token stays in memory, so that no other one is issued.
	}
	c.budget.allowCrash(1, 0)
	switch a.kind {
	case apiRestarted:
		return c.away(ctx, a, c.env.cluster.StopAPIServer, c.env.cluster.StartAPIServer)
	case etcdRestarted:
		return c.away(ctx, a, c.env.cluster.StopEtcd, c.env.cluster.StartEtcd)
	case managersKilled:
		for _, m := range c.env.managers {
			_, _ = m.stop(syscall.SIGKILL, a.last)
		}
		return nil
	}
	return c.stopOne(a)
}

// stopOne ends the leading or the standby manager, as the action says.
func (c *chaos) stopOne(a action) error {
	m := leader(c.env.managers)
	if a.kind == standbyKilled {
		m = standby(c.env.managers)
	}
	if m == nil {
		c.reporter.printf("#%d: there is no such manager now", a.number)
		return nil
	}
	if a.kind != leaderStopped {
		_, _ = m.stop(syscall.SIGKILL, a.last)
		return nil
	}
	took, err := m.stop(syscall.SIGTERM, a.last)
	c.evaluateExit(m.name, took, err)
	return nil
}

// evaluateExit checks that a manager ended without an error after SIGTERM.
func (c *chaos) evaluateExit(name string, took time.Duration, err error) {
	if err != nil {
		c.reporter.setBreach(true, finalState, fmt.Sprintf("manager %s at %s", name, time.Now().Format(time.TimeOnly)), "it did not end properly after SIGTERM", err.Error())
	}
	c.reporter.printf("manager %s ended %v after SIGTERM", name, took.Round(10*time.Millisecond))
}

// away stops a part of the control plane, and starts it again after a.last or at the end of ctx.
func (c *chaos) away(ctx context.Context, a action, stop, start func() error) error {
	began := time.Now()
	err := stop()
	_ = harness.Pause(ctx, a.last)
	err = errors.Join(err, start())
	// kube-apiserver ends when etcd fails again while kube-apiserver starts.
	_ = harness.Wait{Patience: readyTimeout, Every: 200 * time.Millisecond}.Until(ctx, "the API server",
		harness.Holds(func() bool { return c.serves(ctx) }))
	c.reporter.printf("#%d: back after %v", a.number, time.Since(began).Round(100*time.Millisecond))
	return err
}

// refuseSecrets has the API server refuse the managers' writes of Secrets for a.last, because an admission webhook
// can't be asked.
func (c *chaos) refuseSecrets(ctx context.Context, a action) error {
	webhook := &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "chaos"},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name:                    "secrets.chaos.example.com",
			ClientConfig:            admissionv1.WebhookClientConfig{URL: new("https://127.0.0.1:1/")},
			FailurePolicy:           new(admissionv1.Fail),
			SideEffects:             new(admissionv1.SideEffectClassNone),
			TimeoutSeconds:          new(int32(1)),
			AdmissionReviewVersions: []string{"v1"},
			MatchConditions: []admissionv1.MatchCondition{{
				Name: "managers", Expression: "request.userInfo.username.startsWith('system:serviceaccount:" + systemNamespace + ":')",
			}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
			}},
		}},
	}
	if err := c.retry(ctx, func() error { return client.IgnoreAlreadyExists(c.env.client.Create(ctx, webhook.DeepCopy())) }); err != nil {
		return err
	}
	_ = harness.Pause(ctx, a.last)
	end := context.WithoutCancel(ctx)
	return c.retry(end, func() error { return client.IgnoreNotFound(c.env.client.Delete(end, webhook)) })
}

// keepAPIServer starts kube-apiserver again when it ends unexpectedly, for example after etcd failed. A kubelet
// would do the same.
func (c *chaos) keepAPIServer(ctx context.Context) {
	for missing := 0; ctx.Err() == nil; _ = harness.Pause(ctx, time.Second) {
		if !c.outage.TryLock() {
			missing = 0
			continue
		}
		if missing++; c.answers(ctx) {
			missing = 0
		}
		if missing >= missedProbes {
			c.reporter.printf("kube-apiserver does not answer: starting it again")
			c.revivals++
			err := errors.Join(c.env.cluster.StopAPIServer(), c.env.cluster.StartAPIServer())
			c.reporter.printf("kube-apiserver was started again: %v", err)
			missing = 0
		}
		c.outage.Unlock()
	}
}

// answers reports whether the API server sends any response.
func (c *chaos) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.env.cluster.Config.Host+"/livez", nil)
	if err != nil {
		return false
	}
	response, err := insecureClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}

// serves reports whether the API server can list PipedreamTokens.
func (c *chaos) serves(ctx context.Context) bool {
	return c.env.client.List(ctx, &v1alpha1.PipedreamTokenList{}) == nil
}
