// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// report reports how a request has ended, and checks whether it is to be made again.
func (w *world) report(b bearer.Bearer, err error, wantAgain bool) bearer.Advice {
	w.t.Helper()
	advice := w.Report(b, true, err)
	if advice.FetchAgain != wantAgain {
		w.t.Fatalf("after %v the advice is %+v", err, advice)
	}
	return advice
}

// wantDenied checks that the error is that access is denied, and for how long.
func (w *world) wantDenied(err error, wait time.Duration) {
	w.t.Helper()
	failed, ok := errors.AsType[*pipedream.Error](err)
	if !ok || failed.Kind != pipedream.AccessDenied {
		w.t.Fatalf("the error is %v, want that access is denied", err)
	}
	if got := failed.RetryAt.Sub(w.now); got != wait && (wait != 0 || !failed.RetryAt.IsZero()) {
		w.t.Errorf("access is denied for %s, want %s", got, wait)
	}
}

// wantUnknown checks that the error is that Pipedream may not know the token yet, and for how long.
func (w *world) wantUnknown(err error, wait time.Duration) {
	w.t.Helper()
	failed, ok := errors.AsType[*pipedream.Error](err)
	if !ok || failed.Kind != pipedream.Unavailable || failed.RetryAt.Sub(w.now) != wait {
		w.t.Fatalf("the error is %+v, want that the token may not be known for %s", failed, wait)
	}
}

func TestARevokedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const count = 1000
	w.report(w.must(need("first"), "acme", "acme-1"), nil, false)
	w.now = w.now.Add(10 * time.Minute)
	inFlight := make([]bearer.Bearer, 5)
	for i := range inFlight {
		inFlight[i] = w.must(need(fmt.Sprint(i)), "acme", "acme-1")
	}
	for _, b := range inFlight {
		w.report(b, errTokenRejected, true)
	}
	// Nobody else is refused: all wait for the fresh token.
	if _, err := w.Acquire(t.Context(), need("0")); !errors.Is(err, bearer.ErrCredentialsNeeded) {
		t.Fatalf("the error is %v", err)
	}
	for i := 1; i < count; i++ {
		w.mustWait(need(fmt.Sprint(i)))
	}
	w.must(with(need("0"), "acme"), "", "acme-2")
	for i := range count {
		w.report(w.must(need(fmt.Sprint(i)), "acme", "acme-2"), nil, false)
	}
	w.wantIssued(2)
}

func TestARefusalBeforeTheFreshTokenSaysNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := w.must(need("slow"), "acme", "acme-1")
	w.now = w.now.Add(10 * time.Minute)
	w.report(w.must(need("a"), "acme", "acme-1"), errTokenRejected, true)
	w.must(need("a"), "acme", "acme-2")
	w.report(slow, errTokenRejected, true)
	w.must(need("slow"), "acme", "acme-2")
	w.wantIssued(2)
}

// A project that refuses a token which another project accepts is denied access, and the token stays.
func TestAProjectThatDeniesAccess(t *testing.T) {
	t.Parallel()
	for _, refusal := range []*pipedream.Error{errAccessDenied, errTokenRejected} {
		t.Run(string(refusal.Kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			good, bad := of(need("good"), "shop/client/1", "proj_good"), of(need("bad"), "shop/client/1", "proj_bad")
			fine := func(token string) { w.report(w.must(good, "acme", token), nil, false) }
			fine("acme-1")
			w.now = w.now.Add(10 * time.Minute)
			w.report(w.must(bad, "acme", "acme-1"), refusal, true)
			advice := w.report(w.must(bad, "acme", "acme-2"), refusal, false)
			if refusal == errTokenRejected {
				w.wantUnknown(advice.Err, 15*time.Second)
				fine("acme-2")
				w.now = w.now.Add(15 * time.Second)
				advice = w.report(w.must(bad, "acme", "acme-2"), refusal, false)
			}
			w.wantDenied(advice.Err, time.Minute+5*time.Second)
			fine("acme-2")
			for _, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute} {
				// No account of the project asks meanwhile.
				w.now = w.now.Add(wait - time.Second)
				other := of(need("another"), "shop/client/1", "proj_bad")
				w.mustDeny(other, time.Second)
				fine("acme-2")
				// An account that was not refused itself would go first.
				w.now = w.now.Add(time.Second)
				w.mustDeny(bad, 5*time.Second)
				w.now = w.now.Add(5 * time.Second)
				probe := w.must(bad, "acme", "acme-2")
				w.mustDeny(other, 15*time.Second)
				w.wantDenied(w.report(probe, refusal, false).Err, min(2*wait+5*time.Second, 15*time.Minute))
			}
			w.wantIssued(2)
			// Access is granted.
			w.now = w.now.Add(15 * time.Minute)
			w.report(w.must(bad, "acme", "acme-2"), nil, false)
			w.report(w.must(of(need("another"), "shop/client/1", "proj_bad"), "acme", "acme-2"), nil, false)
			fine("acme-2")
			w.wantIssued(2)
		})
	}
}

// Requests that are refused together are one refusal: the project is asked again after a minute.
func TestRequestsInFlightThatAreRefusedTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.report(w.must(need("first"), "acme", "acme-1"), nil, false)
	inFlight := make([]bearer.Bearer, 5)
	for i := range inFlight {
		inFlight[i] = w.must(need(fmt.Sprint(i)), "acme", "acme-1")
	}
	w.now = w.now.Add(30 * time.Second) // A fresh token comes once a minute only.
	for _, b := range inFlight {
		w.wantDenied(w.report(b, errTokenRejected, false).Err, time.Minute+5*time.Second)
	}
	_, err := w.Acquire(t.Context(), need("another"))
	w.wantDenied(err, time.Minute)
	w.wantIssued(1)
}

func TestAProbeThatIsNeverReportedIsRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.must(need("x"), "acme", "acme-1")
	w.now = w.now.Add(30 * time.Second)
	w.must(need("a"), "acme", "acme-1")
	w.report(b, errAccessDenied, false)
	w.now = w.now.Add(time.Minute)
	w.must(need("a"), "acme", "acme-1")
	w.mustFail(need("b"), pipedream.AccessDenied)
	w.now = w.now.Add(15 * time.Second)
	w.must(need("b"), "acme", "acme-1")
}

// Whoever waits for its turn does not ask the project for the others, however long it waits: the first one whose turn
// comes does.
func TestTheFirstWhoseTurnComesAsksForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.must(need("x"), "acme", "acme-1")
	w.now = w.now.Add(30 * time.Second)
	w.must(need("a"), "acme", "acme-1")
	w.report(b, errAccessDenied, false)
	w.now = w.now.Add(time.Minute)
	w.report(w.must(of(need("other"), "shop/client/1", "proj_2"), "acme", "acme-1"), nil, false) // The token is good.
	waiting := map[string]bearer.Bearer{}
	for _, name := range []string{"a", "b", "c"} {
		var err error
		if waiting[name], err = w.wait(need(name), "acme"); err != nil {
			t.Fatal(err)
		}
	}
	w.now = w.now.Add(5 * time.Minute)
	if err := w.Send(waiting["b"]); err != nil {
		t.Fatalf("nobody asks, because %v", err)
	}
	w.wantDenied(w.Send(waiting["a"]), 15*time.Second)
	w.mustDeny(need("d"), 15*time.Second)
	// The project denies access still. The other one that has waited finds that out without a request.
	w.report(waiting["b"], errAccessDenied, false)
	w.wantDenied(w.Send(waiting["c"]), 2*time.Minute)
	if err := w.Send(bearer.Bearer{}); err != nil {
		t.Errorf("a request without a token is not sent, because %v", err)
	}
}

// The only project of a client denies access to a token that was revoked, and to its successor.
func TestTheOnlyProjectIsAskedWithFreshTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(need("a"), "acme", "acme-1")
	w.now = w.now.Add(10 * time.Minute)
	w.report(w.must(need("a"), "acme", "acme-1"), errTokenRejected, true)
	w.now = w.now.Add(10 * time.Second)
	second := w.must(need("a"), "acme", "acme-2")
	w.now = w.now.Add(9 * time.Second)
	w.wantUnknown(w.report(second, errTokenRejected, false).Err, 6*time.Second)
	w.now = w.now.Add(6 * time.Second)
	w.wantDenied(w.report(w.must(need("a"), "acme", "acme-2"), errTokenRejected, false).Err, time.Minute+5*time.Second)
	w.now = w.now.Add(65 * time.Second)
	// Nobody has accepted the token, so it may be the token that is refused.
	w.report(w.must(need("a"), "acme", "acme-2"), errTokenRejected, true)
	w.report(w.must(need("a"), "acme", "acme-3"), nil, false)
	w.must(need("b"), "acme", "acme-3")
	w.wantIssued(3)
}

// An account that is denied does not keep the other ones of its project from being asked for.
func TestAnAccountThatIsDeniedFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deny := func(name string) {
		w.report(w.must(need(name), "acme", "acme-1"), errAccessDenied, false)
	}
	deny("bad")
	w.mustFail(need("fine"), pipedream.AccessDenied)
	w.now = w.now.Add(time.Minute)
	w.mustFail(need("bad"), pipedream.AccessDenied)
	w.report(w.must(of(need("other"), "shop/client/1", "proj_2"), "acme", "acme-1"), nil, false)
	deny("worse")
	w.now = w.now.Add(2 * time.Minute)
	for _, name := range []string{"bad", "worse"} {
		w.mustFail(need(name), pipedream.AccessDenied)
	}
	w.report(w.must(need("fine"), "acme", "acme-1"), nil, false)
	w.must(need("another"), "acme", "acme-1")
	w.wantDenied(w.report(w.must(need("bad"), "acme", "acme-1"), errAccessDenied, false).Err, 0)
	w.must(need("another"), "acme", "acme-1")
}

// One account of a project may be out of reach although the project is not.
func TestAnAccountThatIsDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fine := func(token string) { w.report(w.must(need("fine"), "acme", token), nil, false) }
	fine("acme-1")
	w.now = w.now.Add(10 * time.Minute)
	w.report(w.must(need("bad"), "acme", "acme-1"), errAccessDenied, true)
	fine("acme-2") // The others have the token replaced, too.
	w.wantDenied(w.report(w.must(need("bad"), "acme", "acme-2"), errAccessDenied, false).Err, 0)
	for range 5 {
		w.now = w.now.Add(2 * time.Minute)
		fine("acme-2")
		w.wantDenied(w.report(w.must(need("bad"), "acme", "acme-2"), errAccessDenied, false).Err, 0)
	}
	fine("acme-2")
	w.wantIssued(2)
}

func TestAnAccountThatIsNotFoundAnyLonger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fine := func(token string) { w.report(w.must(need("fine"), "acme", token), nil, false) }
	began := w.now
	fine("acme-1")
	w.now = w.now.Add(10 * time.Minute)
	if advice := w.report(w.must(need("gone"), "acme", "acme-1"), errNotFound, true); !advice.OtherFetched.Equal(began) {
		t.Errorf("another account was fetched at %v, want %v", advice.OtherFetched, began)
	}
	advice := w.report(w.must(need("gone"), "acme", "acme-2"), errNotFound, false)
	if failed, _ := errors.AsType[*pipedream.Error](advice.Err); failed == nil || failed.Kind != pipedream.AccountNotFound || !advice.OtherFetched.IsZero() {
		t.Errorf("the advice is %+v", advice)
	}
	fine("acme-2")
	since := w.now
	w.now = w.now.Add(2 * time.Minute)
	if advice := w.report(w.must(need("gone"), "acme", "acme-2"), errNotFound, false); !advice.OtherFetched.Equal(since) {
		t.Errorf("another account was fetched at %v, want %v", advice.OtherFetched, since)
	}
	w.wantIssued(2)
}

func TestAnswersThatSayNothingAboutTheToken(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errUnavailable, errors.New("other"),
		&pipedream.Error{Kind: pipedream.RateLimited, StatusCode: 429},
		&pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 400},
		&pipedream.Error{Kind: pipedream.Malformed, StatusCode: 200},
	} {
		w := newWorld(t)
		b := w.must(need("a"), "acme", "acme-1")
		w.now = w.now.Add(10 * time.Minute)
		if advice := w.report(b, err, false); !errors.Is(advice.Err, err) || !advice.OtherFetched.IsZero() {
			t.Errorf("after %v the advice is %+v", err, advice)
		}
		w.must(need("a"), "acme", "acme-1")
	}
	w := newWorld(t)
	b := w.must(need("a"), "acme", "acme-1")
	w.now = w.now.Add(10 * time.Minute)
	if advice := w.Report(b, false, errNotFound); advice.FetchAgain || !advice.OtherFetched.IsZero() {
		t.Errorf("an account that was never there: %+v", advice)
	}
	if advice := w.Report(bearer.Bearer{}, true, errTokenRejected); advice.FetchAgain || !errors.Is(advice.Err, errTokenRejected) {
		t.Errorf("no token: %+v", advice)
	}
}

// A verdict about an account shows that the project accepts the token: what is refused then is about one
// account. It does not show that the project gives credentials out.
func TestAVerdictAcceptsTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.report(w.must(need("a"), "acme", "acme-1"), errDead, false)
	w.wantDenied(w.report(w.must(need("b"), "acme", "acme-1"), errAccessDenied, false).Err, 0)
	if advice := w.Report(w.must(need("b"), "acme", "acme-1"), false, errNotFound); !advice.OtherFetched.IsZero() {
		t.Errorf("a verdict counts as a fetch at %v", advice.OtherFetched)
	}
}

// TestWhenAnotherAccountWasFetched has accounts of two projects be fetched with one token.
func TestWhenAnotherAccountWasFetched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	began := w.now
	fetch := func(at time.Duration, account string, err error) {
		w.now = began.Add(at)
		w.Report(w.must(need(account), "acme", "acme-1"), false, err)
	}
	want := func(n bearer.Need, at time.Duration) {
		t.Helper()
		advice := w.Report(w.must(n, "acme", "acme-1"), false, errNotFound)
		if want := began.Add(at); at == 0 && !advice.OtherFetched.IsZero() || at != 0 && !advice.OtherFetched.Equal(want) {
			t.Errorf("for %s another account was fetched at %v, want %v", n.Account, advice.OtherFetched, want)
		}
	}
	fetch(1, "a", nil)
	want(need("a"), 0)
	want(need("b"), 1)
	fetch(2, "a", nil)
	want(need("a"), 0)
	fetch(3, "b", nil)
	fetch(4, "c", errDead)
	want(need("a"), 3)
	want(need("b"), 2)
	want(need("c"), 3)
	fetch(5, "a", nil)
	fetch(6, "a", nil)
	want(need("a"), 3)
	want(need("b"), 6)
	want(of(need("b"), "shop/client/1", "proj_2"), 0)
}

func TestFreshTokensComeOnceAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(need("a"), "acme", "acme-1")
	w.now = w.now.Add(10 * time.Minute)
	// Every token is refused, to every account of many projects.
	for step := range 60 * 30 {
		n := of(need(fmt.Sprint(step%50)), "shop/client/1", fmt.Sprint("proj_", step%7))
		for range 3 {
			b, err := w.acquire(n, "acme")
			if err != nil || !w.Report(b, true, errTokenRejected).FetchAgain {
				break
			}
		}
		w.now = w.now.Add(time.Second)
	}
	if w.issued > 1+31 {
		t.Errorf("%d exchanges in half an hour", w.issued)
	}
}

func TestTheFreshTokenCannotBeHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := of(need("other"), "shop/client/1", "proj_2")
	w.report(w.must(other, "acme", "acme-1"), nil, false)
	w.now = w.now.Add(10 * time.Minute)
	w.fails = errRejected
	w.report(w.must(need("a"), "acme", "acme-1"), errTokenRejected, true)
	w.mustFail(need("a"), pipedream.CredentialsRejected)
	// The other project goes on with the token that it accepts.
	w.report(w.must(other, "acme", "acme-1"), nil, false)
	w.mustFail(need("a"), pipedream.CredentialsRejected)
	w.wantIssued(2)
	w.fails, w.now = nil, w.now.Add(time.Minute)
	w.must(need("a"), "acme", "acme-3")
}
