// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// errNoAnswer is how a request without an answer ends.
var errNoAnswer = &pipedream.Error{Kind: pipedream.Unavailable}

// object is what a controller knows about one object.
type object struct {
	// issuedAt and expiresAt are of the current token; zero if there is none.
	issuedAt, expiresAt time.Time
	// notBefore is the end of the wait after the last failed attempt, which was sent at
	// sentAt. failures counts the failures in a row.
	notBefore, sentAt time.Time
	failures          int
}

// objects are the objects of a controller that keeps a token for each, as the controller of
// PipedreamTokens does.
type objects struct {
	*staff
	l    *limiter
	api  *remote
	life time.Duration
	// clientOf returns the name of the client of an object.
	clientOf func(throttle.Requester) string

	mu    sync.Mutex
	known map[throttle.Requester]*object
	// gaps are the times at which the token of an object was replaced after it had expired.
	gaps []time.Duration
}

func keepTokens(t *testing.T, options throttle.Options, api *remote) *objects {
	t.Helper()
	options.Now = time.Now
	o := &objects{
		l: newLimiter(t, options), api: api, life: time.Hour, known: map[throttle.Requester]*object{},
		clientOf: func(requester throttle.Requester) string { return requester.Group },
	}
	o.staff = hire(t, o.l, 10, nil)
	o.serve = o.reconcile
	return o
}

// hold makes an object with a token that was issued some time ago.
func (o *objects) hold(requester throttle.Requester, age time.Duration) {
	issued := time.Now().Add(-age)
	o.mu.Lock()
	o.known[requester] = &object{issuedAt: issued, expiresAt: issued.Add(o.life)}
	o.mu.Unlock()
	o.add(requester)
}

// dueAt returns when the token of an object is to be renewed, and when it is near its end.
func (o *objects) dueAt(requester throttle.Requester, known object) (due, near time.Time) {
	if known.issuedAt.IsZero() {
		return known.issuedAt, known.issuedAt
	}
	spread := retry.Spread(requester.Group+requester.Name, o.life/10)
	return known.issuedAt.Add(o.life*2/3 - spread), known.expiresAt.Add(-max(o.life/6, 10*time.Minute))
}

func (o *objects) of(requester throttle.Requester) object {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known[requester] == nil {
		o.known[requester] = &object{}
	}
	return *o.known[requester]
}

func (o *objects) reconcile(requester throttle.Requester) {
	known := o.of(requester)
	due, near := o.dueAt(requester, known)
	if wait := time.Until(due); wait > 0 {
		o.l.Cancel(requester)
		o.after(wait, requester)
		return
	}
	// A failure of an outage that is over is no reason to wait.
	if wait := time.Until(known.notBefore); wait > 0 && !known.sentAt.Before(o.l.OutageEnded()) {
		o.l.Cancel(requester)
		o.after(wait, requester)
		return
	}
	lane := throttle.FirstToken
	switch {
	case !known.issuedAt.IsZero() && time.Now().Before(near):
		lane = throttle.DueRenewal
		o.after(time.Until(near), requester)
	case !known.issuedAt.IsZero():
		lane = throttle.NearEnd
	}
	ticket := o.l.Reserve(requester, throttle.ReserveOptions{
		Lane: lane, Expiry: known.expiresAt, CredentialReference: requester.Group + o.clientOf(requester),
	})
	if !ticket.IsReady {
		return
	}
	time.Sleep(3 * time.Millisecond) // reads the credentials
	sentAt := time.Now()
	o.learn(requester, sentAt, o.l.doAs(requester, *client(o.clientOf(requester)), false, o.api.request(requester, o.clientOf(requester))))
}

// learn remembers how a request has ended.
func (o *objects) learn(requester throttle.Requester, sentAt time.Time, err error) {
	defer o.add(requester)
	if errors.Is(err, throttle.ErrNotReady) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.known[requester]
	if err == nil {
		if gap := time.Since(known.expiresAt); !known.issuedAt.IsZero() && gap > 0 {
			o.gaps = append(o.gaps, gap)
		}
		*known = object{issuedAt: time.Now(), expiresAt: time.Now().Add(o.life)}
		return
	}
	known.failures++
	known.sentAt = sentAt
	known.notBefore = time.Now().Add(retry.After(retry.Transient, requester.Group+requester.Name, known.failures))
	if failed, ok := errors.AsType[*pipedream.Error](err); ok && !failed.RetryAt.IsZero() {
		known.notBefore = failed.RetryAt
	}
}

// renewed counts the objects whose token was issued after a time.
func (o *objects) renewed(after time.Time) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	count := 0
	for _, known := range o.known {
		if known.issuedAt.After(after) {
			count++
		}
	}
	return count
}

// failBetween returns an API whose requests fail for a while. A failed request takes a time.
func failBetween(from, to time.Duration, outcome error, hang time.Duration) *remote {
	begun := time.Now()
	api := newRemote(150*time.Millisecond, func(throttle.Requester, string) error {
		if age := time.Since(begun); age < from || age >= to {
			return nil
		}
		return outcome
	})
	api.hang = hang
	return api
}

// In an outage of 15 minutes, few requests are sent. An earlier version of the Limiter knew
// no outages: objects waited for themselves only. The numbers are from this simulation.
func TestFewRequestsAreSentInAnOutage(t *testing.T) {
	t.Parallel()
	const count, outage = 1000, 15 * time.Minute
	for name, test := range map[string]struct {
		outcome error
		hang    time.Duration
		clients int
		// before is how many requests were sent by the version before.
		before int
	}{
		"no connection":                    {outcome: errNoAnswer, clients: 1, before: 2214},
		"no connection, and many clients":  {outcome: errNoAnswer, clients: count, before: 3696},
		"no answer":                        {outcome: errNoAnswer, hang: 10 * time.Second, clients: 1, before: 93},
		"no answer, and many clients":      {outcome: errNoAnswer, hang: 10 * time.Second, clients: count, before: 357},
		"a bad gateway":                    {outcome: &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 502}, clients: 1, before: 2214},
		"server errors, and many clients":  {outcome: errServer, clients: count, before: 3696},
		"another server, and many clients": {outcome: &pipedream.Error{Kind: pipedream.Malformed, StatusCode: 200}, clients: count, before: 3696},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				const from = 5 * time.Minute
				o := keepTokens(t, throttle.Options{InFlight: 4}, failBetween(from, from+outage, test.outcome, test.hang))
				o.clientOf = func(requester throttle.Requester) string {
					var i int
					_, _ = fmt.Sscanf(requester.Name, "token-%d", &i)
					return fmt.Sprint("client-", i%test.clients)
				}
				for i := range count {
					o.hold(shop(fmt.Sprintf("token-%d", i)), time.Duration(i)*36*time.Minute/count)
				}
				time.Sleep(from + outage)
				in := o.api.count(from-time.Second, from+outage, every)
				// The objects that fell due meanwhile are renewed at the pace of the limiter.
				time.Sleep(5 * time.Minute)
				o.stopAll(t)
				t.Logf("%d requests in the outage; %d of %d objects have a new token, and %d had a gap", in, o.renewed(begun.Add(from+outage)), count, len(o.gaps))
				if in > test.before*11/10 || in > 110 {
					t.Errorf("%d requests were sent in the outage, want at most one in ten seconds, and %d by the version before", in, test.before)
				}
				if len(o.gaps) > 0 {
					t.Errorf("%d tokens had expired when they were renewed: %v", len(o.gaps), o.gaps)
				}
			})
		})
	}
}

// Pipedream answers again forty seconds before a token expires. However it did not answer,
// the token is renewed before it expires, though 300 others wait too, and some of them have
// failed just now.
func TestATokenIsRenewedWhenAnOutageEndsShortlyBeforeItsExpiry(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]time.Duration{"no connection": 0, "no answer": 10 * time.Second} {
		for _, clients := range []int{1, 300} {
			t.Run(fmt.Sprintf("%s, %d clients", name, clients), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					const outage, left = 14 * time.Minute, 40 * time.Second
					o := keepTokens(t, throttle.Options{InFlight: 4}, failBetween(0, outage, errNoAnswer, hang))
					o.clientOf = func(requester throttle.Requester) string {
						return fmt.Sprint("client-", retry.Spread(requester.Name, time.Duration(clients)))
					}
					last := shop("last")
					o.hold(last, o.life-outage-left)
					// Most of these have expired when the outage ends.
					for i := range 300 {
						o.hold(inGroup(fmt.Sprint("group-", i%10), fmt.Sprint("token-", i)), o.life-time.Duration(i)*time.Second)
					}
					time.Sleep(outage)
					ended := time.Now()
					time.Sleep(left)
					if known := o.of(last); !known.issuedAt.After(ended) {
						t.Errorf("the token that has expired now is not renewed; it has failed %d times, last at %s", known.failures, known.sentAt.Sub(ended))
					}
					time.Sleep(2 * time.Minute)
					o.stopAll(t)
					if got := o.renewed(ended); got != 301 {
						t.Errorf("two minutes later %d tokens are renewed, want all 301", got)
					}
				})
			})
		}
	}
}

// Twenty objects whose requests always fail cost one request at each wait, though the
// requests of a thousand others succeed. They delay nobody.
func TestRequestsThatAlwaysFailCostOneProbeForEachWait(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		outcome error
		hang    time.Duration
		// sick is the number of clients of the twenty objects.
		sick, others int
	}{
		"one client":              {outcome: errServer, sick: 1, others: 1000},
		"twenty clients":          {outcome: errServer, sick: 20, others: 1000},
		"few others":              {outcome: errServer, sick: 1, others: 5},
		"no answer":               {outcome: errNoAnswer, hang: 10 * time.Second, sick: 1, others: 1000},
		"no answer for twenty":    {outcome: errNoAnswer, hang: 10 * time.Second, sick: 20, others: 1000},
		"answers without a sense": {outcome: &pipedream.Error{Kind: pipedream.Malformed, StatusCode: 200}, sick: 1, others: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				isSick := func(requester throttle.Requester) bool { return requester.Group == "sick" }
				api := newRemote(150*time.Millisecond, func(requester throttle.Requester, _ string) error {
					if isSick(requester) {
						return test.outcome
					}
					return nil
				})
				api.hang = test.hang
				o := keepTokens(t, throttle.Options{InFlight: 4}, api)
				o.clientOf = func(requester throttle.Requester) string {
					if !isSick(requester) {
						return "good"
					}
					return fmt.Sprint("sick-", retry.Spread(requester.Name, time.Duration(test.sick)))
				}
				for i := range test.others {
					o.hold(shop(fmt.Sprint("token-", i)), time.Duration(i)*36*time.Minute/time.Duration(test.others))
				}
				time.Sleep(time.Minute)
				addAll(o.staff, "sick", 20)
				const observed = 30 * time.Minute
				time.Sleep(observed)
				o.stopAll(t)
				counts := map[string]int{}
				for _, request := range api.requests {
					if isSick(request.requester) {
						counts[request.client]++
					}
				}
				// The waits are 1, 2, 4, 8 and 16 seconds, and then 30. At the beginning, an outage may be
				// suspected, and while nobody else has a request for long, with a wait of 10 seconds.
				most := 2 + 5 + int(observed/(30*time.Second)) + 10
				if test.others < 10 {
					most = 2 + 5 + int(observed/(10*time.Second))
				}
				for client, count := range counts {
					if count > most {
						t.Errorf("%d requests were sent with client %s, want at most %d", count, client, most)
					}
				}
				good := o.api.count(0, 2*observed, isAccepted)
				t.Logf("%d of the clients were tried %v times; %d others are renewed", len(counts), counts, good)
				if len(o.gaps) > 0 {
					t.Errorf("%d tokens had expired when they were renewed: %v", len(o.gaps), o.gaps)
				}
			})
		})
	}
}

// Some requests in an outage succeed, so that it ends again and again. Whoever has failed
// is woken at most once in thirty seconds.
func TestAnOutageThatEndsAgainAndAgainWakesSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		api := newRemote(100*time.Millisecond, func(throttle.Requester, string) error {
			if requests++; requests%8 == 0 {
				return nil
			}
			return errNoAnswer
		})
		o := keepTokens(t, throttle.Options{InFlight: 4}, api)
		var ends []time.Time
		for i := range 1000 {
			o.hold(shop(fmt.Sprint("token-", i)), 0)
			o.mu.Lock()
			o.known[shop(fmt.Sprint("token-", i))].issuedAt = time.Now().Add(-50 * time.Minute)
			o.mu.Unlock()
		}
		for range 15 * 60 * 10 {
			time.Sleep(100 * time.Millisecond)
			if ended := o.l.OutageEnded(); len(ends) == 0 && !ended.IsZero() || len(ends) > 0 && ended.After(ends[len(ends)-1]) {
				ends = append(ends, ended)
			}
		}
		o.stopAll(t)
		if len(ends) < 5 {
			t.Errorf("%d outages have ended, want several", len(ends))
		}
		for i, end := range ends[1:] {
			if since := end.Sub(ends[i]); since < 30*time.Second {
				t.Errorf("requesters were woken %s after the time before", since)
			}
		}
	})
}

// An outage begins with the third failure in a row, and one request goes at a time. The
// tickets of all who wait say so, and none does after the first good answer.
func TestAnOutage(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
	l.wantNil(l.try("good", nil, nil))
	for i := range 3 {
		l.now = l.now.Add(time.Second)
		l.wantKind(l.try(fmt.Sprint("fails-", i), client(fmt.Sprint(i)), errNoAnswer), pipedream.Unavailable)
	}
	failing := throttle.Failing{Since: second.Add(time.Second), Kind: pipedream.Unavailable}
	ticket := l.reserve(shop("a"), throttle.DueRenewal)
	if ticket.IsReady || ticket.Failing != failing {
		t.Errorf("the ticket is %+v, want one that says %+v", ticket, failing)
	}
	l.now = l.now.Add(time.Second)
	l.reserve(shop("urgent"), throttle.NearEnd)
	l.wantNoTurn("a") // The request of a is not the most urgent one, and only one is sent.
	probe := l.tryStart("urgent", client("u"))
	for range 3 {
		l.now = l.now.Add(time.Second)
		l.wantNoTurn("a", "b")
	}
	l.ready.Next()
	l.wantNil(probe.end(nil))
	if ended := l.OutageEnded(); !ended.Equal(l.now) {
		t.Errorf("the outage has ended %s, want now", ended)
	}
	turns, _ := l.ready.Next()
	counts := map[string]int{}
	for _, requester := range turns {
		counts[requester.Name]++
	}
	// They are woken although they have no ticket.
	if diff := cmp.Diff(map[string]int{"fails-0": 1, "fails-1": 1, "fails-2": 1, "a": 1}, counts); diff != "" {
		t.Errorf("who is woken (-want +got):\n%s", diff)
	}
	l.now = l.now.Add(time.Second)
	if ticket := l.reserve(shop("b"), throttle.DueRenewal); !ticket.IsReady || ticket.Failing != (throttle.Failing{}) {
		t.Errorf("the ticket is %+v, want a turn", ticket)
	}
}

// Neither of these answers shows that Pipedream does not answer, and none ends an outage
// but a good one.
func TestWhatBeginsAndEndsAnOutage(t *testing.T) {
	t.Parallel()
	notSent := &pipedream.Error{Kind: pipedream.CredentialsInvalid}
	for name, test := range map[string]struct {
		outcome      error
		begins, ends bool
	}{
		"a good answer":        {ends: true},
		"refused credentials":  {outcome: errRefused, ends: true},
		"a refused scope":      {outcome: errScope, ends: true},
		"a refused request":    {outcome: errRejected, ends: true},
		"a token that is less": {outcome: &pipedream.Error{Kind: pipedream.ScopeNotGranted}, ends: true},
		"nothing was sent":     {outcome: notSent},
		"no answer":            {outcome: errNoAnswer, begins: true},
		"a bad gateway":        {outcome: &pipedream.Error{Kind: pipedream.Unavailable, StatusCode: 502}, begins: true},
		"a server error":       {outcome: errServer, begins: true},
		"an answer of others":  {outcome: &pipedream.Error{Kind: pipedream.Malformed, StatusCode: 200}, begins: true},
		"a bug":                {outcome: errors.New("a bug"), begins: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			isOn := func(l *limiter) bool { return l.reserve(shop("x"), throttle.OnDemand).Failing.Since != time.Time{} }
			begin := func(outcome error) *limiter {
				l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100})
				for i := range 3 {
					_ = l.try(fmt.Sprint("a-", i), client(fmt.Sprint(i)), outcome)
				}
				l.reserve(shop("first"), throttle.NearEnd)
				return l
			}
			if got := isOn(begin(test.outcome)); got != test.begins {
				t.Errorf("after three such answers there is an outage: %v", got)
			}
			l := begin(errNoAnswer)
			l.now = l.now.Add(time.Second)
			l.ready.Next()
			if err := l.send("first", client("first"), false, test.outcome); errors.Is(err, throttle.ErrNotReady) {
				t.Fatal("the probe was not sent")
			}
			if got := isOn(l); got == test.ends {
				t.Errorf("after a probe with such an answer the outage is on: %v", got)
			}
		})
	}
}

// Requesters that have waited for long learn of an outage, not all at once, and not before
// it has lasted for ten seconds.
func TestWhoWaitsIsToldOfAnOutage(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 1, Burst: 6})
	for i := range 3 {
		l.wantKind(l.try(fmt.Sprint("a-", i), client(fmt.Sprint(i)), errNoAnswer), pipedream.Unavailable)
	}
	const waiting = 50
	for i := range waiting {
		l.reserve(shop(fmt.Sprint("waits-", i)), throttle.DueRenewal)
	}
	told := map[string]int{}
	next := func() (count int) {
		requesters, _ := l.ready.Next()
		for _, requester := range requesters {
			told[requester.Name]++
		}
		return len(requesters)
	}
	l.after(9 * time.Second)
	if got := next(); got > 1 {
		t.Errorf("after nine seconds %d are woken, want the one that may send a probe", got)
	}
	for range 20 {
		l.now = l.now.Add(time.Second)
		if got := next(); got > 21 {
			t.Errorf("%d are woken at once", got)
		}
	}
	if len(told) != waiting {
		t.Errorf("%d of %d are told", len(told), waiting)
	}
	for name, count := range told {
		if count > 2 {
			t.Errorf("%s is woken %d times", name, count)
		}
	}
}

// Before the first timeout nobody knows that Pipedream does not answer. Still the tickets
// say so when the first request has no answer for long.
func TestATicketSaysThatTheFirstRequestHasNoAnswer(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, throttle.Options{PerSecond: 100, Burst: 100, InFlight: 1})
	f := l.start("a", client("a"))
	for _, test := range []struct {
		after time.Duration
		want  throttle.Failing
	}{
		{after: 4 * time.Second},
		{after: 6 * time.Second, want: throttle.Failing{Since: second, Kind: pipedream.Unavailable}},
	} {
		l.after(test.after)
		if got := l.reserve(shop("b"), throttle.DueRenewal).Failing; got != test.want {
			t.Errorf("after %s the ticket says %+v, want %+v", test.after, got, test.want)
		}
	}
	l.wantNil(f.end(nil))
	l.wantNil(l.send("b", client("a"), false, nil))
	l.start("a", client("a"))
	if got := l.reserve(shop("c"), throttle.DueRenewal).Failing; got != (throttle.Failing{}) {
		t.Errorf("after a good answer the ticket says %+v", got)
	}
}
