// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// accountClients is how many OAuth clients the PipedreamAccounts have.
	accountClients = 4
	// connectedProject is the project of all connected accounts.
	connectedProject = "proj_bench"
	// accountLife is how long the credentials of a connected account live: much longer than a run, so that
	// nothing is due by itself.
	accountLife = 24 * time.Hour
)

// connectedAccount returns the ID of the connected account of the PipedreamAccount with a number.
func connectedAccount(number int) string { return fmt.Sprintf("apn_%05d", number) }

// measureAccounts measures what very many PipedreamAccounts of one project cost: their creation, a
// start of the manager, and looks that bring nothing new.
func (b *bench) measureAccounts(ctx context.Context) error {
	f, err := b.accountFleet(ctx, b.options.many)
	if err != nil {
		return err
	}
	if err := b.restart(ctx, f); err != nil {
		return err
	}
	return b.measureLooks(ctx, f)
}

// accountFleet connects accounts, creates a PipedreamAccount for each of them, and measures that.
func (b *bench) accountFleet(ctx context.Context, size int) (*fleet, error) {
	namespace := fmt.Sprintf("accounts-%d", size)
	var clients []string
	for i := range accountClients {
		clients = append(clients, fmt.Sprintf("%s-%d", namespace, i))
	}
	f, err := b.newFleetOf(ctx, accountKind, namespace, clients, rightClientSecret)
	if err != nil {
		return nil, err
	}
	b.say("connecting %d accounts", size)
	err = inParallel(size, func(i int) error {
		return b.pipedream.connect(ctx, connectedAccount(i), map[string]any{
			"project_id": connectedProject, "external_user_id": fmt.Sprintf("user-%d", i), "app": "slack",
			"life": accountLife.String(), "refresh": "never",
		})
	})
	if err != nil {
		return nil, err
	}
	return f, b.fill(ctx, f, size, managerOptions{namespaces: b.namespacesFor(f)}, true)
}

// measureLooks has each account looked at in an interval, and nothing is new.
func (b *bench) measureLooks(ctx context.Context, f *fleet) error {
	m, err := b.beginLooks(ctx, f)
	if err != nil {
		return err
	}
	before, err := b.use(ctx, m, f)
	if err != nil {
		return err
	}
	looksBefore, err := b.pipedream.fetches(ctx)
	if err != nil {
		return err
	}
	period := b.options.interval + settling // The last ones may have to wait for their turn.
	b.say("looking at %d accounts for %v", f.size, period)
	if err := harness.Pause(ctx, period); err != nil {
		return err
	}
	looks, err := b.pipedream.fetches(ctx)
	if err != nil {
		return err
	}
	used, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return err
	}
	if used.fetches == 0 {
		return errors.New("no account was looked at")
	}
	lookedAt := 0
	for id, count := range looks {
		if count.Fetches > looksBefore[id].Fetches {
			lookedAt++
		}
	}
	of, count := f.kind.caseName("nothing new for", f.size), float64(f.size)
	b.report.add(of, "looked at in "+period.String()+", with an interval of "+b.options.interval.String(), float64(lookedAt), "", atLeast(count))
	// In the period there are one or two times to look at each account.
	b.report.add(of, "requests for accounts at Pipedream, per object", float64(used.fetches)/count, "", atMost(2))
	b.report.add(of, "requests about objects and reads of Secrets for that", float64(used.requests.aboutObjects()), "", atMost(0))
	b.report.add(of, "exchanges", float64(used.exchanges), "", atMost(0))
	b.report.add(of, "CPU of the manager per request at Pipedream", used.cpuPer(float64(used.fetches)), "ms", nil)
	return nil
}

// beginLooks sets the interval of all members while no manager runs, and starts a manager. It returns when that
// has told of the new interval in each status, and has an access token of each OAuth client, so that
// nothing but looks is to be done.
func (b *bench) beginLooks(ctx context.Context, f *fleet) (*manager, error) {
	b.say("setting the interval of %d accounts", f.size)
	if err := f.setInterval(ctx, b.options.interval); err != nil {
		return nil, err
	}
	before, err := b.use(ctx, nil, f)
	if err != nil {
		return nil, err
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: b.namespacesFor(f)})
	if err != nil {
		return nil, err
	}
	const changed = 2 // the generation of each spec
	if err := f.awaitGeneration(ctx, m, changed); err != nil {
		return nil, err
	}
	wait := m.wait()
	wait.Every = time.Second
	err = wait.Until(ctx, "an access token of each OAuth client", func() string {
		used, err := b.pipedream.calls(ctx, f.clients)
		if err != nil {
			return err.Error()
		}
		if got := used.exchanges.Total - before.exchanges; got < len(f.clients) {
			return fmt.Sprintf("%d exchanges", got)
		}
		return ""
	})
	return m, errors.Join(err, harness.Pause(ctx, settling))
}

// setInterval sets how often each account of a fleet is looked at.
func (f *fleet) setInterval(ctx context.Context, interval time.Duration) error {
	body := fmt.Appendf(nil, `{"spec":{"fetchIntervalSeconds":%d}}`, int(interval.Seconds()))
	return inParallel(f.size, func(i int) error {
		account := &v1alpha1.PipedreamAccount{ObjectMeta: f.metadata(i)}
		return f.admin.Patch(ctx, account, client.RawPatch(types.MergePatchType, body))
	})
}
