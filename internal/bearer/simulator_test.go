// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// fleetOverHTTP fetches accounts of a simulator as a controller does, with a clock that the test sets.
type fleetOverHTTP struct {
	t      *testing.T
	now    time.Time
	api    *simulator.Simulator
	client *pipedream.Client
	store  *bearer.Store
}

func newFleetOverHTTP(t *testing.T) *fleetOverHTTP {
	t.Helper()
	f := &fleetOverHTTP{t: t, now: begin}
	clock := func() time.Time { return f.now }
	f.api = simulator.New(simulator.Options{Now: clock, Clients: []simulator.Client{{ID: "acme", Secret: "s3cr3t-of-acme"}}})
	for _, project := range []string{"proj_good", "proj_bad"} {
		if err := f.api.Accounts.Set("apn_"+project, simulator.NewAccount(project, "user", "slack")); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(f.api)
	t.Cleanup(server.Close)
	var err error
	if f.client, err = pipedream.NewClient(pipedream.Options{Address: server.URL, AllowInsecure: true, Now: clock}); err != nil {
		t.Fatal(err)
	}
	limiter, _ := throttle.NewLimiter(throttle.Options{PerSecond: 5, Burst: 10, InFlight: 8, Now: clock})
	f.store, _ = bearer.New(bearer.Options{Limiter: limiter, Issue: f.client.Issue, Scopes: []string{"connect:accounts:read"}, Now: clock})
	return f
}

// fetch fetches the account of a project for a requester, and returns the kind of the failure.
func (f *fleetOverHTTP) fetch(name, project string) pipedream.Kind {
	f.t.Helper()
	for range 4 {
		n := of(need(name), "shop/client/1", project)
		b, err := f.store.Acquire(f.t.Context(), n)
		if errors.Is(err, bearer.ErrCredentialsNeeded) {
			b, err = f.store.Acquire(f.t.Context(), with(n, "acme"))
		}
		if err == nil {
			err = f.store.Send(b)
		}
		if err != nil {
			return kindOf(f.t, err)
		}
		_, err = f.client.Account(f.t.Context(), b.Token(), pipedream.AccountQuery{
			ProjectID: project, Environment: "production", AccountID: "apn_" + project,
		})
		if advice := f.store.Report(b, true, err); !advice.FetchAgain {
			return kindOf(f.t, advice.Err)
		}
	}
	f.t.Fatal("it fetches again and again")
	return ""
}

func kindOf(t *testing.T, err error) pipedream.Kind {
	t.Helper()
	failed, ok := errors.AsType[*pipedream.Error](err)
	if err != nil && !ok {
		t.Fatalf("the error is %v", err)
	}
	if err == nil {
		return ""
	}
	return failed.Kind
}

func (f *fleetOverHTTP) want(name, project string, want pipedream.Kind) {
	f.t.Helper()
	if got := f.fetch(name, project); got != want {
		f.t.Errorf("after %s, %s of %s ends with %q, want %q", f.now.Sub(begin), name, project, got, want)
	}
}

func (f *fleetOverHTTP) exchanges() int { return f.api.Counters().Exchanges["acme"].Total }

func (f *fleetOverHTTP) refused() int {
	return f.api.Counters().Calls[simulator.EndpointAccount].Refused
}

func TestARevocationCostsOneExchange(t *testing.T) {
	t.Parallel()
	f := newFleetOverHTTP(t)
	for i := range 300 {
		f.want(fmt.Sprint(i), "proj_good", "")
	}
	f.now = f.now.Add(10 * time.Minute)
	f.api.RevokeAll()
	for i := range 300 {
		f.want(fmt.Sprint(i), "proj_good", "")
	}
	if f.exchanges() != 2 || f.refused() != 1 {
		t.Errorf("%d exchanges and %d refused requests, want 2 and 1", f.exchanges(), f.refused())
	}
}

// A client may ask one project, and not the other one. Pipedream does not document how it says so.
func TestAForeignProject(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]pipedream.Kind{
		"forbidden": pipedream.AccessDenied, "unauthorized": pipedream.AccessDenied, "not-found": pipedream.AccountNotFound,
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			f := newFleetOverHTTP(t)
			f.api.Accounts.SetClientProjects("acme", []string{"proj_good"})
			if err := f.api.Accounts.SetAnswers(map[string]string{"foreign-project": answer}); err != nil {
				t.Fatal(err)
			}
			f.want("good", "proj_good", "")
			f.now = f.now.Add(5 * time.Minute)
			// Each minute for an hour, beside a project that works.
			for range 60 {
				f.now = f.now.Add(time.Minute)
				f.want("good", "proj_good", "")
				got := f.fetch("bad", "proj_bad")
				if got != want && got != pipedream.Unavailable {
					t.Errorf("after %s it ends with %q", f.now.Sub(begin), got)
				}
				f.want("good", "proj_good", "")
			}
			if f.exchanges() > 3 { // The first one, a fresh one, and the one after 40 minutes.
				t.Errorf("%d exchanges, want at most 3", f.exchanges())
			}
			if f.api.Accounts.SetClientProjects("acme", nil); f.refused() > 62 {
				t.Errorf("%d refused requests", f.refused())
			}
			f.now = f.now.Add(15 * time.Minute)
			f.want("bad", "proj_bad", "")
		})
	}
}

// Pipedream may know a token only some seconds after it has issued it.
func TestTokensThatAreKnownLate(t *testing.T) {
	t.Parallel()
	f := newFleetOverHTTP(t)
	if err := f.api.SetTokenKnownAfter(3 * time.Second); err != nil {
		t.Fatal(err)
	}
	f.want("a", "proj_good", pipedream.Unavailable)
	f.want("b", "proj_good", pipedream.Unavailable)
	f.now = f.now.Add(10 * time.Second)
	f.want("b", "proj_good", "")
	f.want("a", "proj_good", "")
	// From then on nobody is refused: the token before is used until the new one is known.
	for range 2 * 60 * 60 / 10 {
		f.now = f.now.Add(10 * time.Second)
		f.want("a", "proj_good", "")
	}
	if f.refused() != 1 {
		t.Errorf("%d requests were refused, want 1", f.refused())
	}
	if f.exchanges() > 4 {
		t.Errorf("%d exchanges in two hours", f.exchanges())
	}
}

func TestACorrectedSecret(t *testing.T) {
	t.Parallel()
	f := newFleetOverHTTP(t)
	f.api.DeleteClient("acme")
	for i := range 300 {
		f.want(fmt.Sprint(i), "proj_good", pipedream.CredentialsRejected)
	}
	if f.exchanges() != 1 {
		t.Errorf("%d exchanges, want 1", f.exchanges())
	}
	if err := f.api.SetClient("acme", "s3cr3t-of-acme"); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(time.Minute)
	f.want("0", "proj_good", "")
	f.want("1", "proj_good", "")
}
