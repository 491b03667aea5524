// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// busyProject reports turns at the projects. Requesters of another namespace always wait for first credentials of
// accounts of one project. They use each turn, and wait for the next one.
type busyProject struct {
	requests Requests
	turns    interface {
		Next() ([]throttle.Requester, time.Duration)
	}
}

const othersKind = "Others"

func (b busyProject) Next() (requesters []throttle.Requester, wait time.Duration) {
	for {
		all, wait := b.turns.Next()
		isSent := false
		for _, requester := range all {
			if requester.Kind != othersKind {
				requesters = append(requesters, requester)
				continue
			}
			if b.requests.Reserve(projectID, requester, throttle.ReserveOptions{Lane: throttle.FirstToken}).IsReady {
				_ = b.requests.Do(projectID, requester, throttle.DoOptions{}, func() error { return nil })
				b.requests.Reserve(projectID, requester, throttle.ReserveOptions{Lane: throttle.FirstToken})
				isSent = true
			}
		}
		if !isSent {
			return requesters, wait
		}
	}
}

// TestAProjectThatGivesAccessAgainIsFoundOut has Pipedream deny access to a project, and give it two minutes later. No
// account has credentials yet. Meanwhile, another namespace creates many accounts of the same project, so that the
// requests for accounts that were denied access wait for minutes.
func TestAProjectThatGivesAccessAgainIsFoundOut(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int{"nobody else asks for accounts": 0, "many others ask for accounts": 120} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size = 8
			c := newCrowd(t, 4)
			c.createCredentials()
			must(t, c.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusForbidden}))
			c.add(projectID, size)
			c.live(2 * time.Minute)
			c.wantAll(projectID, v1alpha1.ReasonAccessDenied, v1alpha1.ReasonNotFetched, size)
			for i := range others {
				requester := throttle.Requester{Kind: othersKind, Group: "others", Name: fmt.Sprint(i)}
				if c.reconciler.Requests.Reserve(projectID, requester, throttle.ReserveOptions{Lane: throttle.FirstToken}).IsReady {
					_ = c.reconciler.Requests.Do(projectID, requester, throttle.DoOptions{}, func() error { return nil })
					c.reconciler.Requests.Reserve(projectID, requester, throttle.ReserveOptions{Lane: throttle.FirstToken})
				}
			}
			c.turns[1] = busyProject{c.reconciler.Requests, c.turns[1]}
			c.pipedream.ClearFaults()
			fetches := c.fetches()
			c.wire.Reset()

			c.live(20 * time.Minute)

			c.wantAll(projectID, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
			if got := c.fetches() - fetches; got != size {
				t.Errorf("the %d accounts were asked for %d times, want once each", size, got)
			}
			// While a request waits, its status no longer names the time of the next attempt.
			if got := c.wire.Requests()["PATCH pipedreamaccounts/status"]; got > 3*size {
				t.Errorf("%d statuses of %d accounts were written, want at most three of each", got, size)
			}
		})
	}
}

// TestOneAsksForAllOfAProjectThatDeniesAccess has Pipedream deny access to a project with more accounts than requests may
// be sent at once.
func TestOneAsksForAllOfAProjectThatDeniesAccess(t *testing.T) {
	t.Parallel()
	const size = 100
	c := newCrowd(t, 4)
	c.createCredentials()
	must(t, c.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusForbidden}))
	c.add(projectID, size)

	c.live(30 * time.Minute)

	c.wantAll(projectID, v1alpha1.ReasonAccessDenied, v1alpha1.ReasonNotFetched, size)
	// The requests that are in flight at the first denial, and then one after 1, 2, 4, 8 and 15 minutes. A fresh access
	// token is tried, too.
	const most = crowdInFlight + 2*5
	if got := c.fetches(); got < 5 || got > most {
		t.Errorf("Pipedream was asked for %d accounts, want 5 to %d", got, most)
	}
	// Six or seven of each; one more if an account was asked for while the answer about another one was on its way.
	if got := c.wire.Requests()["PATCH pipedreamaccounts/status"]; got > 8*size {
		t.Errorf("%d statuses of %d accounts were written, want at most eight of each", got, size)
	}
}
