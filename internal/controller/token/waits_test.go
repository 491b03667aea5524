// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// pacedAPI is a Pipedream behind a limiter, by a clock of its own.
type pacedAPI struct {
	*testing.T
	limiter *throttle.Limiter
	now     time.Time
}

func newPacedAPI(t *testing.T) *pacedAPI {
	t.Helper()
	p := &pacedAPI{T: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	p.limiter, _ = throttle.NewLimiter(throttle.Options{PerSecond: 1, Burst: 1, InFlight: 1, Now: func() time.Time { return p.now }})
	return p
}

// failWith sends a request that ends with an error, and returns when it may be sent again.
func (p *pacedAPI) failWith(failed pipedream.Error) time.Time {
	p.Helper()
	requester := throttle.Requester{Group: "shop", Name: "orders"}
	p.limiter.Reserve(requester, throttle.ReserveOptions{})
	credentials := &pipedream.Credentials{ClientID: clientID, ClientSecret: pipedream.NewSensitive(clientSecret)}
	err := p.limiter.Do(requester, throttle.DoOptions{Credentials: credentials}, func() error { return &failed })
	got, ok := errors.AsType[*pipedream.Error](err)
	if !ok {
		p.Fatalf("the request ends with %v", err)
	}
	return got.RetryAt
}

// failAgainAndAgain sends a request whenever it may be sent, and returns when it may be
// sent after the last failure.
func (p *pacedAPI) failAgainAndAgain(failed pipedream.Error) (until time.Time) {
	p.Helper()
	for range 10 {
		until = p.failWith(failed)
		p.now = until
	}
	return p.failWith(failed)
}

// Each part of the operator that sets, limits or distrusts a wait must mean the same by the
// longest wait. Else a part ignores a wait that another part has set, and the operator reads
// the credentials and asks for a token at each reconcile.
func TestTheLongestWaitsAreBelievedByAllWhoDistrustWaits(t *testing.T) {
	t.Parallel()
	// Each function returns the longest wait that a part of the operator sets.
	for name, wait := range map[string]func(p *pacedAPI) time.Time{
		"a pause that Pipedream asks for": func(p *pacedAPI) time.Time {
			return p.failWith(pipedream.Error{Kind: pipedream.RateLimited, RetryAt: p.now.Add(24 * time.Hour)})
		},
		"a pause of unknown length": func(p *pacedAPI) time.Time {
			return p.failAgainAndAgain(pipedream.Error{Kind: pipedream.RateLimited})
		},
		"a pause that is restored after a restart": func(p *pacedAPI) time.Time {
			p.limiter.Pause(p.now.Add(24 * time.Hour))
			return p.limiter.Reserve(throttle.Requester{}, throttle.ReserveOptions{}).PausedUntil
		},
		"refused credentials": func(p *pacedAPI) time.Time {
			return p.failAgainAndAgain(pipedream.Error{Kind: pipedream.CredentialsRejected})
		},
		"another refusal": func(p *pacedAPI) time.Time {
			return p.now.Add(retry.After(retry.Refused, "shop/orders", 100))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPacedAPI(t)
			until := wait(p)
			if got := until.Sub(p.now); got != retry.LongestWait {
				t.Errorf("the wait is %s, want %s", got, retry.LongestWait)
			}
			checkIsBelieved(t, until, p.now)
		})
	}
}

// checkIsBelieved checks that a wait is believed, and a wait that is one hour longer is not.
func checkIsBelieved(t *testing.T, until, now time.Time) {
	t.Helper()
	record := renewal.Record{IssueTime: now.Add(-time.Minute), ExpirationTime: now.Add(time.Hour)}
	issuing := renewal.Facts{Target: renewal.Absent, HasCredentials: true}
	rewriting := renewal.Facts{Target: renewal.Owned, HasCredentials: true, Record: &record, Check: renewal.Drifted}
	for _, wait := range []struct {
		until      time.Time
		isBelieved bool
	}{{until, true}, {until.Add(time.Hour), false}} {
		issuing.NotBefore, rewriting.RewriteNotBefore = wait.until, wait.until
		for what, observed := range map[string]renewal.Facts{"issuing a token": issuing, "writing the Secret": rewriting} {
			got := renewal.Decide(renewal.Desired{}, observed, now)
			if isBelieved := got.Action == renewal.Wait && got.Until.Equal(wait.until); isBelieved != wait.isBelieved {
				t.Errorf("a wait of %s before %s leads to %+v", wait.until.Sub(now), what, got)
			}
		}
		if restored := restoredWait(wait.until, now); restored.Equal(wait.until) != wait.isBelieved || restored.After(now.Add(retry.LongestWait)) {
			t.Errorf("a wait of %s is restored as one of %s", wait.until.Sub(now), restored.Sub(now))
		}
	}
}

// restoredWait returns the end of a wait that a new process finds in a status.
func restoredWait(until, now time.Time) time.Time {
	token := &v1alpha1.PipedreamToken{Status: v1alpha1.PipedreamTokenStatus{
		NextAttemptTime: timestamp(until),
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionRenewed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRateLimited,
			LastTransitionTime: metav1.NewTime(now),
		}},
	}}
	return restoreFailure(snapshot{token: token, now: now}).NotBefore
}

func TestNothingIsReadDuringTheLongestWait(t *testing.T) {
	w := newWorld(t)
	w.createCredentials()
	w.create()
	must(t, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointToken, Status: 429, Headers: map[string]string{"Retry-After": "86400"},
	}))
	w.reconcile()
	w.wantExchanges(1)
	for _, when := range []string{"the failure", "a restart"} {
		w.wire.reset()
		for range 20 {
			w.pass(time.Second)
			w.reconcile()
		}
		if reads := w.wire.requests["GET secrets"]; reads != 0 {
			t.Errorf("in 20 reconciles after %s there are %d reads of Secrets, want none", when, reads)
		}
		w.wantExchanges(1)
		w.restart()
	}
}
