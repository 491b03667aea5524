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

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// readyTimeout is how long the API server may take to be ready after an outage.
	readyTimeout = time.Minute
	// mostLate is how late an outage may begin because another one took long: any later,
	// it would be in the calm.
	mostLate = 15 * time.Second
	// missingLooks is how often in a row it must not answer to be started again.
	missingLooks = 5
)

// disturbCluster kills managers, or restarts a part of the control plane.
func (c *chaos) disturbCluster(ctx context.Context, a action) error {
	c.outage.Lock() // One at a time, however long they take.
	defer c.outage.Unlock()
	if late := time.Since(c.began) - a.at; late > mostLate || ctx.Err() != nil {
		c.diary.say("#%d (%s) is left out, for it would be %v late", a.number, a.kind, late.Round(time.Second))
		return nil
	}
	c.diary.did(a)
	if a.kind == standbyKilled {
		return c.stopOne(a) // Which must not disturb anything.
	}
	disturbed := c.promises.begin(ofCluster, 0, time.Now())
	defer func() { c.promises.end(disturbed, time.Now()) }()
	c.ledger.crash(1, 0)
	switch a.kind {
	case apiRestarted:
		return c.away(ctx, a, c.stage.cluster.StopAPIServer, c.stage.cluster.StartAPIServer)
	case etcdRestarted:
		return c.away(ctx, a, c.stage.cluster.StopEtcd, c.stage.cluster.StartEtcd)
	case managersKilled:
		for _, m := range c.stage.managers {
			_, _ = m.stop(syscall.SIGKILL, a.last)
		}
		return nil
	}
	return c.stopOne(a)
}

// stopOne ends the manager that the action is about.
func (c *chaos) stopOne(a action) error {
	m := leader(c.stage.managers)
	if a.kind == standbyKilled {
		m = standby(c.stage.managers)
	}
	if m == nil {
		c.diary.say("#%d: there is no such manager now", a.number)
		return nil
	}
	if a.kind != leaderStopped {
		_, _ = m.stop(syscall.SIGKILL, a.last)
		return nil
	}
	took, err := m.stop(syscall.SIGTERM, a.last)
	c.judgeExit(m.name, took, err)
	return nil
}

// judgeExit judges how a manager ended that was told to.
func (c *chaos) judgeExit(name string, took time.Duration, err error) {
	if err != nil {
		c.diary.judge(true, goodEnd, fmt.Sprintf("manager %s at %s", name, time.Now().Format(time.TimeOnly)), "it ended badly when it was told to", err.Error())
	}
	c.diary.say("manager %s ended %v after SIGTERM", name, took.Round(10*time.Millisecond))
}

// away stops something, and starts it again after a while, also when the run ends
// meanwhile.
func (c *chaos) away(ctx context.Context, a action, stop, start func() error) error {
	began := time.Now()
	err := stop()
	_ = harness.Pause(ctx, a.last)
	err = errors.Join(err, start())
	// One that is hit again while it starts gives up.
	_ = harness.Wait{Patience: readyTimeout, Every: 200 * time.Millisecond}.Until(ctx, "the API server",
		harness.Holds(func() bool { return c.serves(ctx) }))
	c.diary.say("#%d: back after %v", a.number, time.Since(began).Round(100*time.Millisecond))
	return err
}

// keepAPIServer starts the kube-apiserver again if it ends by itself, as it may when etcd
// goes away under it. A kubelet would do the same.
func (c *chaos) keepAPIServer(ctx context.Context) {
	for missing := 0; ctx.Err() == nil; _ = harness.Pause(ctx, time.Second) {
		if !c.outage.TryLock() {
			missing = 0
			continue
		}
		if missing++; c.answers(ctx) {
			missing = 0
		}
		if missing >= missingLooks {
			c.diary.say("kube-apiserver does not answer: starting it again")
			c.revivals++
			err := errors.Join(c.stage.cluster.StopAPIServer(), c.stage.cluster.StartAPIServer())
			c.diary.say("kube-apiserver was started again: %v", err)
			missing = 0
		}
		c.outage.Unlock()
	}
}

// answers tells whether the API server answers at all, with whatever.
func (c *chaos) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.stage.cluster.Config.Host+"/livez", nil)
	if err != nil {
		return false
	}
	response, err := strangers.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}

// serves tells whether the API server does what it is for.
func (c *chaos) serves(ctx context.Context) bool {
	return c.stage.client.List(ctx, &v1alpha1.PipedreamTokenList{}) == nil
}
