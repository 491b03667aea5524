// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestAllProjectsTogetherGoOn has more requesters wait among all projects than are served within the ten seconds for
// which a turn is kept.
func TestAllProjectsTogetherGoOn(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{PerSecond: 4, Burst: 10})
	waiting := map[throttle.Requester]string{}
	for i := range 200 {
		p.queue(waiting, fmt.Sprint("proj_", i), fmt.Sprint("shop-", i%20), 20)
	}
	count := len(waiting)
	total := 0
	for minute := range 4 {
		counts := p.live(time.Minute, waiting)
		total += counts["all"]
		t.Logf("minute %d: %d requests", minute+1, counts["all"])
		wantBetween(t, "all", counts["all"], 900, 1000)
	}
	p.live(time.Minute, waiting)
	if len(waiting) > 0 {
		t.Errorf("%d of %d still wait after five minutes, want none: %d were sent in four", len(waiting), count, total)
	}
}

// TestALongWaitAmongAllProjectsIsOneWait has a requester wait among all projects for longer than the ten seconds for which
// its turn at its project is kept.
func TestALongWaitAmongAllProjectsIsOneWait(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{PerSecond: 4, Burst: 4})
	waiting := map[throttle.Requester]string{}
	for i := range 400 {
		p.queue(waiting, fmt.Sprint("proj_", i), "shop", 1)
	}
	p.live(time.Second, waiting)
	last := throttle.Requester{Kind: "PipedreamAccount", Group: "shop", Name: "last"}
	began := p.now
	for p.now.Sub(began) < 20*time.Second {
		ticket := p.Reserve("proj_last", last, throttle.ReserveOptions{Lane: throttle.DueRenewal})
		if ticket.IsReady || !ticket.Since.Equal(began) {
			t.Fatalf("after %s the turn has come: %v, and the requester waits since %s, want %s", p.now.Sub(began), ticket.IsReady, ticket.Since, began)
		}
		p.live(time.Second, waiting)
	}
}
