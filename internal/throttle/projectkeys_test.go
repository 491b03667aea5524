// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

var errRevoked = &pipedream.Error{Kind: pipedream.CredentialsRejected, StatusCode: 401}

// keys are Projects at which requests with API keys are sent.
type keys struct {
	*projects
	// answer is how Pipedream answers a request with the key of a name; nil is good.
	answer map[string]error
	// sentAt has the times of the requests by the name of their key, and told how often a refusal was learned
	// without a request.
	sentAt map[string][]time.Time
	told   int
	// retryAt is when a requester may try again after a refusal.
	retryAt map[throttle.Requester]time.Time
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	return &keys{
		projects: newProjects(t, throttle.ProjectsOptions{PerSecond: 100, Burst: 100}),
		answer:   map[string]error{}, sentAt: map[string][]time.Time{}, retryAt: map[throttle.Requester]time.Time{},
	}
}

func (k *keys) name(key string) string { return k.KeyName(pipedream.NewSensitive(key), "") }

func account(group string, number int) throttle.Requester {
	return throttle.Requester{Kind: "PipedreamAccount", Group: group, Name: fmt.Sprint("slack-", number)}
}

// ask has a requester look at its account as the operator does it.
func (k *keys) ask(name string, requester throttle.Requester, bypass bool) error {
	k.t.Helper()
	ticket := k.Reserve(name, requester, throttle.ReserveOptions{Lane: throttle.FirstToken, BypassRefusalCache: bypass})
	switch {
	case !ticket.IsReady:
		return throttle.ErrNotReady
	case ticket.Refusal != nil:
		k.told++
		k.Cancel(requester)
		return ticket.Refusal
	}
	return k.Do(name, requester, throttle.DoOptions{BypassRefusalCache: bypass}, func() error {
		k.sentAt[name] = append(k.sentAt[name], k.now)
		return k.answer[name]
	})
}

// liveWith lets time pass. Each requester asks again when its turn has come, and when it may after a refusal.
func (k *keys) liveWith(duration time.Duration, names map[throttle.Requester]string) {
	k.t.Helper()
	for end := k.now.Add(duration); k.now.Before(end); k.now = k.now.Add(100 * time.Millisecond) {
		for requester, name := range names {
			if k.now.Before(k.retryAt[requester]) {
				continue
			}
			err := k.ask(name, requester, false)
			if refused, ok := errors.AsType[*pipedream.Error](err); ok {
				k.retryAt[requester] = refused.RetryAt
			} else if err == nil {
				delete(names, requester)
			}
		}
		k.ready.Next()
	}
}

// TestOneKeyIsPacedByItself has the rate of each key, however many namespaces use it.
func TestOneKeyIsPacedByItself(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	names := map[throttle.Requester]string{}
	for i := range 60 {
		names[account(fmt.Sprint("shop-", i%6), i)] = k.name("one")
		names[account("other", i)] = k.name("another")
	}
	k.liveWith(30*time.Second, names)
	for _, key := range []string{"one", "another"} {
		wantBetween(t, key, len(k.sentAt[k.name(key)]), 28, 31)
	}
}

// TestARevokedKeyIsAskedForThreeTimesAMinute has a hundred accounts on one key, in ten namespaces, and accounts on a key
// that is good.
func TestARevokedKeyIsAskedForThreeTimesAMinute(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	revoked, good := k.name("revoked"), k.name("good")
	k.answer[revoked] = errRevoked
	names := map[throttle.Requester]string{}
	for i := range 100 {
		names[account(fmt.Sprint("shop-", i%10), i)] = revoked
	}
	for i := range 20 {
		names[account("good", i)] = good
	}
	begin := k.now
	k.liveWith(20*time.Minute, names)
	for minute := range 20 {
		from := begin.Add(time.Duration(minute) * time.Minute)
		inMinute := slices.DeleteFunc(slices.Clone(k.sentAt[revoked]), func(at time.Time) bool { return at.Before(from) || !at.Before(from.Add(time.Minute)) })
		if len(inMinute) > 3 {
			t.Errorf("in minute %d the revoked key was sent %d times: %v", minute+1, len(inMinute), inMinute)
		}
	}
	wantBetween(t, "the revoked key in 20 minutes", len(k.sentAt[revoked]), 4, 6)
	wantBetween(t, "the good key", len(k.sentAt[good]), 20, 20)
	if k.told < 99 {
		t.Errorf("%d requesters learned the refusal without a request, want all others", k.told)
	}
	if len(names) != 100 {
		t.Errorf("%d requesters still wait, want the hundred with the revoked key", len(names))
	}
}

// TestARefusalOfAKeyIsBypassed tries a refused key again for somebody who has a reason for that, at most twice in the
// first half minute, whoever else has one.
func TestARefusalOfAKeyIsBypassed(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	name := k.name("revoked")
	k.answer[name] = errRevoked
	_ = k.ask(name, account("shop", 0), false)
	begin := k.now
	k.now = k.now.Add(time.Millisecond)
	for ; k.now.Before(begin.Add(30 * time.Second)); k.now = k.now.Add(100 * time.Millisecond) {
		for i := range 100 {
			err := k.ask(name, account("shop", i), true)
			if k.now.Sub(begin) < 10*time.Second && !errors.Is(err, throttle.ErrNotReady) {
				t.Fatalf("after %s: %v", k.now.Sub(begin), err)
			}
		}
		k.ready.Next()
	}
	wantBetween(t, "the revoked key", len(k.sentAt[name]), 2, 3)
	k.answer[name] = nil
	for ; len(k.sentAt[name]) < 10; k.now = k.now.Add(100 * time.Millisecond) {
		if k.now.Sub(begin) > 5*time.Minute {
			t.Fatalf("the key is good again, and was sent only at %v", k.sentAt[name])
		}
		for i := range 100 {
			_ = k.ask(name, account("shop", i), true)
		}
		k.ready.Next()
	}
}

// TestAnotherKeyIsTriedAtOnce has a new key for all who were refused.
func TestAnotherKeyIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	k.answer[k.name("revoked")] = errRevoked
	_ = k.ask(k.name("revoked"), account("shop", 0), false)
	if err := k.ask(k.name("new"), account("shop", 0), true); err != nil {
		t.Errorf("a new key gets %v", err)
	}
}

// TestAKeyThatSeesADeadAccountIsGood clears the refusal of a key that is accepted again, although the account is dead.
func TestAKeyThatSeesADeadAccountIsGood(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	name := k.name("key")
	k.answer[name] = errRevoked
	_ = k.ask(name, account("shop", 0), false)
	k.now = k.now.Add(time.Minute)
	k.answer[name] = &pipedream.Error{Kind: pipedream.AccountDead, StatusCode: 200}
	_ = k.ask(name, account("shop", 0), false)
	k.now, k.answer[name] = k.now.Add(time.Second), nil
	if err := k.ask(name, account("shop", 1), false); err != nil || len(k.sentAt[name]) != 3 {
		t.Errorf("the next request gets %v, and %d were sent", err, len(k.sentAt[name]))
	}
}

// TestARefusalThatEndsIsNoAnswer lets the refusal end while the requester has not asked for it.
func TestARefusalThatEndsIsNoAnswer(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	name := k.name("key")
	k.answer[name] = errRevoked
	_ = k.ask(name, account("shop", 0), false)
	k.now = k.now.Add(58 * time.Second)
	late := account("shop", 1)
	if ticket := k.Reserve(name, late, throttle.ReserveOptions{}); ticket.Refusal == nil {
		t.Fatalf("the ticket is %+v, want the refusal", ticket)
	}
	k.now, k.answer[name] = k.now.Add(3*time.Second), nil
	if err := k.ask(name, late, false); err != nil || len(k.sentAt[name]) != 2 {
		t.Errorf("after the refusal has ended, the request gets %v, and %d were sent", err, len(k.sentAt[name]))
	}
}

// TestKeysBeyondTheMostAreStillToldApart has more keys than have a limiter of their own.
func TestKeysBeyondTheMostAreStillToldApart(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	for i := range 1024 {
		k.Reserve(k.name(fmt.Sprint("key-", i)), account("many", i), throttle.ReserveOptions{})
		k.Cancel(account("many", i))
	}
	revoked, good := k.name("revoked"), k.name("good")
	k.answer[revoked] = errRevoked
	names := map[throttle.Requester]string{}
	for i := range 10 {
		names[account("shop", i)], names[account("good", i)] = revoked, good
	}
	k.liveWith(4*time.Second, names)
	if k.Count() != 1024 {
		t.Errorf("%d limiters are kept", k.Count())
	}
	wantBetween(t, "the revoked key", len(k.sentAt[revoked]), 1, 1)
	wantBetween(t, "the good key", len(k.sentAt[good]), 10, 10)
}

// TestAWorkspaceThatIsRefusedStopsNoOther has a good key, whose user is not in one of two workspaces. Both share the rate of
// the key.
func TestAWorkspaceThatIsRefusedStopsNoOther(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	key := pipedream.NewSensitive("key")
	good, foreign := k.KeyName(key, "o_good"), k.KeyName(key, "o_foreign")
	k.answer[foreign] = errRevoked
	names := map[throttle.Requester]string{}
	for i := range 30 {
		names[account("good", i)], names[account("foreign", i)] = good, foreign
	}
	k.liveWith(20*time.Second, names)
	wantBetween(t, "the foreign workspace", len(k.sentAt[foreign]), 1, 1)
	wantBetween(t, "both workspaces", len(k.sentAt[good])+len(k.sentAt[foreign]), 18, 21)
	if k.Count() != 1 {
		t.Errorf("one key has %d limiters", k.Count())
	}
}

// TestARefusedRequestSaysNothingAboutAnother has Pipedream refuse what one requester asks for, but not the key.
func TestARefusedRequestSaysNothingAboutAnother(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	name := k.name("key")
	ask := func(number int, about string) error {
		requester, scopes := account("shop", number), []string{about}
		switch ticket := k.Reserve(name, requester, throttle.ReserveOptions{Scopes: scopes}); {
		case !ticket.IsReady:
			return throttle.ErrNotReady
		case ticket.Refusal != nil:
			return ticket.Refusal
		}
		return k.Do(name, requester, throttle.DoOptions{Scopes: scopes}, func() error {
			k.sentAt[about] = append(k.sentAt[about], k.now)
			return k.answer[about]
		})
	}
	k.answer["bad"] = &pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: 400}
	for number := range 2 { // The second one learns the answer to the first.
		if failed, ok := errors.AsType[*pipedream.Error](ask(number, "bad")); !ok || failed.Kind != pipedream.RequestRejected {
			t.Fatalf("request %d gets %v", number, failed)
		}
		k.now = k.now.Add(2 * time.Second)
	}
	if err := ask(2, "good"); err != nil {
		t.Errorf("a request about another account gets %v", err)
	}
	if len(k.sentAt["bad"]) != 1 || len(k.sentAt["good"]) != 1 {
		t.Errorf("the requests were sent at %v, want one of each", k.sentAt)
	}
}

// TestTheNameOfAKeyTellsNothing is another one in each process, and for each key.
func TestTheNameOfAKeyTellsNothing(t *testing.T) {
	t.Parallel()
	k, other := newKeys(t), newKeys(t)
	if name := k.name("the-key"); strings.Contains(name, "the-key") || name == other.name("the-key") || name != k.name("the-key") || name == k.name("the-kez") {
		t.Errorf("the name is %q", name)
	}
}
