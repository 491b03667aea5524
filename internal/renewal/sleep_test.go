// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	dueTime := renewal.DueTime(nothingDue().desired, *nothingDue().facts.Record)
	tests := map[string]struct {
		given func(*inputs)
		// at is the time of the decision; now if it is zero.
		at   time.Time
		want time.Duration
	}{
		"for the longest time, when nothing becomes due": {
			given: func(*inputs) {},
			want:  5 * time.Minute,
		},
		"for the longest time, when there is no token": {
			given: func(s *inputs) { s.facts.Target, s.facts.Record = renewal.Foreign, nil },
			want:  5 * time.Minute,
		},
		"to the renewal": {
			given: func(*inputs) {},
			at:    dueTime.Add(-100 * time.Second),
			want:  100 * time.Second,
		},
		"to the last moment before the renewal": {
			given: func(*inputs) {},
			at:    dueTime.Add(-1),
			want:  1,
		},
		"to the expiry, when the renewal is blocked": {
			given: func(s *inputs) { s.facts.HasCredentials = false },
			at:    expires.Add(-2 * time.Minute),
			want:  2 * time.Minute,
		},
		"to the expiry, when the next attempt is later": {
			given: func(s *inputs) { s.facts.NotBefore = expires.Add(time.Minute) },
			at:    expires.Add(-2 * time.Minute),
			want:  2 * time.Minute,
		},
		"to the next request to the cluster, when a verification is due": {
			given: func(s *inputs) {
				s.desired.VerifyEvery = time.Minute
				s.facts.ClusterNotBefore = now.Add(20 * time.Second)
			},
			want: 20 * time.Second,
		},
		"to the next request to the cluster, when there are no credentials": {
			given: func(s *inputs) {
				s.facts.Check, s.facts.HasCredentials = renewal.Unchecked, false
				s.facts.Record.IssueTime = now.Add(-3 * time.Hour)
				s.facts.ClusterNotBefore = now.Add(20 * time.Second)
			},
			want: 20 * time.Second,
		},
		"to the expiry of a token in a drifted Secret that can't be written": {
			given: func(s *inputs) {
				s.desired.RenewBefore = 30 * time.Second
				s.facts.Check, s.facts.RewriteNotBefore = renewal.Drifted, expires.Add(time.Minute)
			},
			at:   expires.Add(-2 * time.Second),
			want: 2 * time.Second,
		},
		"to the next write of a drifted Secret, when a token is due later": {
			given: func(s *inputs) {
				s.desired.RenewRequest, s.facts.NotBefore = "2", now.Add(time.Minute)
				s.facts.Check, s.facts.RewriteNotBefore = renewal.Drifted, now.Add(7*time.Second)
			},
			want: 7 * time.Second,
		},
		"to the next attempt": {
			given: func(s *inputs) { s.desired.RenewRequest, s.facts.NotBefore = "2", now.Add(7*time.Second) },
			want:  7 * time.Second,
		},
		"for the longest time, when the next attempt is later": {
			given: func(s *inputs) { s.desired.RenewRequest, s.facts.NotBefore = "2", now.Add(15*time.Minute) },
			want:  5 * time.Minute,
		},
		"to the end of the minimum interval": {
			given: func(s *inputs) { s.desired.RenewRequest, s.facts.LastIssue = "2", now.Add(-8*time.Second) },
			want:  2 * time.Second,
		},
		"for the longest time, when the token has expired and the renewal is blocked": {
			given: func(s *inputs) { s.facts.HasCredentials = false },
			at:    expires.Add(time.Hour),
			want:  5 * time.Minute,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			test.given(s)
			at := test.at
			if at.IsZero() {
				at = now
			}
			decision := renewal.Decide(s.desired, s.facts, at)
			if got := renewal.Sleep(s.desired, s.facts, decision, at); got != test.want {
				t.Errorf("Sleep after %+v = %s, want %s", decision, got, test.want)
			}
		})
	}
}

// TestNothingBecomesDueInASleep checks that until the end of a sleep no action becomes due, and the state of the
// current token does not change.
func TestNothingBecomesDueInASleep(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // Each run needs the same inputs.
	idle := map[renewal.Action]int{renewal.Keep: 0, renewal.Wait: 0, renewal.Blocked: 0}
	for range 50_000 {
		s, now := randomInputs(random)
		decision := renewal.Decide(s.desired, s.facts, now)
		sleep := renewal.Sleep(s.desired, s.facts, decision, now)
		if sleep <= 0 || sleep > 5*time.Minute {
			t.Fatalf("at %s after %+v Sleep returned %s\n%+v", now, decision, sleep, s)
		}
		if _, isIdle := idle[decision.Action]; !isIdle {
			continue
		}
		idle[decision.Action]++
		state := renewal.CurrentToken(s.desired, s.facts, now)
		for _, later := range []time.Duration{1, sleep / 2, below(random, sleep), sleep - 1} {
			at := now.Add(later)
			if got := renewal.Decide(s.desired, s.facts, at); !stays(decision, got) {
				t.Fatalf("at %s the decision is %+v with a sleep of %s, but at %s it is %+v\n%+v", now, decision, sleep, at, got, s)
			}
			if got := renewal.CurrentToken(s.desired, s.facts, at); got != state {
				t.Fatalf("at %s the token is %s with a sleep of %s, but at %s it is %s\n%+v", now, state, sleep, at, got, s)
			}
		}
	}
	for action, count := range idle {
		if count < 1000 {
			t.Errorf("only %d decisions were %s", count, action)
		}
	}
}

// stays reports whether there is still nothing to do. During a wait, the reason to issue a token may change.
func stays(before, after renewal.Decision) bool {
	if before.Action == renewal.Wait {
		return after.Action == renewal.Wait
	}
	return before == after
}

func below(random *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(limit)))
}

func randomInputs(random *rand.Rand) (*inputs, time.Time) {
	seconds := func(most int) time.Duration { return time.Duration(random.IntN(most)) * time.Second }
	maybe := func(at time.Time) time.Time {
		if random.IntN(3) == 0 {
			return time.Time{}
		}
		return at
	}
	oneOf := func(values ...time.Duration) time.Duration { return values[random.IntN(len(values))] }
	s := nothingDue()
	s.desired.Identity = fmt.Sprint(random.Uint32())
	s.desired.RenewBefore = oneOf(0, 0, time.Minute, 15*time.Minute, day)
	s.desired.VerifyEvery = oneOf(0, 10*time.Second, time.Minute, 7*time.Minute)
	s.desired.RenewRequest = []string{"1", "1", "1", "1", "2"}[random.IntN(5)]
	life := oneOf(30*time.Second, time.Minute, time.Hour, time.Hour, time.Hour, 30*day)
	s.facts.Record.ExpirationTime = issued.Add(life)
	// Any time of the token's life, or a little later.
	now := issued.Add(below(random, life+life/10))
	s.facts.LastIssue = maybe(now.Add(-seconds(30)))
	s.facts.Triggered.Last = maybe(now.Add(-seconds(600)))
	s.facts.Triggered.Count = random.IntN(8)
	s.facts.NotBefore = maybe(now.Add(seconds(1200) - 10*time.Minute))
	s.facts.Changed = random.IntN(5) == 0
	if random.IntN(3) == 0 {
		s.facts.ClusterNotBefore = s.facts.NotBefore
	}
	s.facts.LastVerified = maybe(now.Add(-seconds(900)))
	s.facts.VerificationQueued = random.IntN(10) == 0
	s.facts.HasCredentials = random.IntN(5) > 0
	s.facts.HasPending = random.IntN(10) == 0
	s.facts.Refused = random.IntN(20) == 0
	s.facts.CannotVerify = random.IntN(10) == 0
	s.facts.Unverified, s.facts.VerificationSuspended = random.IntN(4) == 0, random.IntN(10) == 0
	if s.facts.Refused {
		s.facts.VerifyAt = maybe(now.Add(seconds(300) - 2*time.Minute))
	}
	s.facts.Check = []renewal.Check{
		renewal.Good, renewal.Good, renewal.Good, renewal.Good, renewal.Drifted, renewal.InputsChanged, renewal.Unchecked,
		renewal.TemplatesChanged,
	}[random.IntN(8)]
	s.facts.DriftedAgain = random.IntN(2) == 0
	s.facts.RewriteNotBefore = maybe(now.Add(seconds(1200) - 10*time.Minute))
	s.facts.Rewrites.Last = maybe(now.Add(-seconds(600)))
	s.facts.Rewrites.Count = random.IntN(8)
	s.facts.TemplateInvalid = random.IntN(20) == 0
	if random.IntN(20) == 0 {
		s.facts.Target, s.facts.Record = renewal.Foreign, nil
	}
	return s, now
}

// verificationsUntil returns when the current token is verified, if each verification takes the given time and nothing
// else delays the next one.
func verificationsUntil(s *inputs, begin, end time.Time, takes time.Duration) []time.Time {
	var verifications []time.Time
	for now := begin; now.Before(end); {
		decision := renewal.Decide(s.desired, s.facts, now)
		if decision.Action != renewal.Verify {
			now = now.Add(renewal.Sleep(s.desired, s.facts, decision, now))
			continue
		}
		verifications = append(verifications, now)
		s.facts.LastVerified = now
		now = now.Add(takes)
	}
	return verifications
}

// longLived returns inputs with a token that is verified at an interval. Nothing else becomes due.
func longLived(identity string, every time.Duration) *inputs {
	s := nothingDue()
	s.desired.Identity = identity
	s.desired.VerifyEvery = every
	s.facts.Record.ExpirationTime = issued.Add(30 * day)
	return s
}

func TestTheCurrentTokenIsVerifiedAtEachInterval(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{10 * time.Second, 5 * time.Minute, time.Hour, day} {
		t.Run(every.String(), func(t *testing.T) {
			t.Parallel()
			const takes = 3 * time.Second
			verifications := verificationsUntil(longLived("shop/orders", every), issued, issued.Add(10*every), takes)
			if len(verifications) < 10 || len(verifications) > 11 {
				t.Fatalf("in ten intervals the token is verified %d times, want 10 or 11", len(verifications))
			}
			for i, at := range verifications {
				if i == 0 && (!at.After(issued) || at.After(issued.Add(every))) {
					t.Errorf("the first verification is %s after issue, want at most %s", at.Sub(issued), every)
				}
				// The first verification may be late, because a token must be ten seconds old.
				if i > 1 && (at.Sub(verifications[i-1]) > every || at.Sub(verifications[i-1]) < every-every/100-takes) {
					t.Errorf("verification %d comes %s after the one before, want %s", i, at.Sub(verifications[i-1]), every)
				}
			}
		})
	}
}

// period is a period in the life of one object, whose tokens live for an hour.
type period struct {
	every, length time.Duration
	// restartEvery is the time between two restarts of the operator; zero for no restarts. down is how long each
	// restart takes.
	restartEvery, down time.Duration
}

// verifications returns when the tokens of the object are verified, and how often they are renewed.
func (p period) verifications(identity string) (times []time.Time, renewals int) {
	s := longLived(identity, p.every)
	s.facts.Record.IssueTime, s.facts.Record.ExpirationTime = issued, issued.Add(time.Hour)
	restart := issued.Add(p.restartEvery)
	for now := issued; now.Before(issued.Add(p.length)); {
		if p.restartEvery > 0 && !now.Before(restart) {
			// The restarted operator has lost its state.
			now, restart = restart.Add(p.down), restart.Add(p.restartEvery)
			s.facts.LastVerified, s.facts.LastIssue = now, s.facts.Record.IssueTime
			continue
		}
		decision := renewal.Decide(s.desired, s.facts, now)
		if decision.Action == renewal.Verify {
			times = append(times, now)
			s.facts.LastVerified = now
			continue
		}
		if decision.Action == renewal.Issue {
			renewals++
			s.facts.Record.IssueTime, s.facts.Record.ExpirationTime, s.facts.LastIssue = now, now.Add(time.Hour), now
		}
		wake := now.Add(renewal.Sleep(s.desired, s.facts, decision, now))
		if p.restartEvery > 0 && restart.Before(wake) {
			wake = restart
		}
		now = wake
	}
	return times, renewals
}

// longestGap returns the longest time without a verification, until the end.
func longestGap(verifications []time.Time, end time.Time) time.Duration {
	longest, last := time.Duration(0), issued
	for _, at := range append(slices.Clone(verifications), end) {
		longest, last = max(longest, at.Sub(last)), at
	}
	return longest
}

// TestAWeekOfVerificationsWithRenewalsAndRestarts checks that renewals and restarts do not delay verifications for long,
// and that renewals do not cause more verifications.
func TestAWeekOfVerificationsWithRenewalsAndRestarts(t *testing.T) {
	t.Parallel()
	// A token must be ten seconds old before it is verified.
	const young = 10 * time.Second
	tests := map[string]struct{ restartEvery, down time.Duration }{
		"without restarts":                      {},
		"restarted each hour":                   {restartEvery: time.Hour},
		"restarted each hour, for 20 s":         {restartEvery: time.Hour, down: 20 * time.Second},
		"restarted each day, for ten minutes":   {restartEvery: day, down: 10 * time.Minute},
		"restarted each 61 minutes, for 2 min":  {restartEvery: 61 * time.Minute, down: 2 * time.Minute},
		"restarted each five minutes, for 20 s": {restartEvery: 5 * time.Minute, down: 20 * time.Second},
	}
	for name, test := range tests {
		for _, every := range []time.Duration{10 * time.Second, 5 * time.Minute, time.Hour, 6 * time.Hour, day} {
			t.Run(fmt.Sprintf("every %v, %s", every, name), func(t *testing.T) {
				t.Parallel()
				objects, length := 5, 7*day
				if every < time.Hour {
					objects, length = 1, day // Enough verifications, in less time.
				}
				for i := range objects {
					identity := fmt.Sprintf("shop/orders-%d", i)
					verifications, renewals := period{every: every, length: length, restartEvery: test.restartEvery, down: test.down}.verifications(identity)
					if renewals < int(length/time.Hour) {
						t.Fatalf("the token was renewed only %d times", renewals)
					}
					most := every + young
					if test.down > 0 {
						// A verification is lost while the operator is away. The next ones are lost, too, if the
						// operator is away whenever they come. But each comes a 128th of the interval earlier.
						most = 2*every + young + 128*test.down
					}
					if gap := longestGap(verifications, issued.Add(length)); gap > most {
						t.Errorf("%s was not verified for %s, want at most %s", identity, gap, most)
					}
					if test.restartEvery == 0 {
						if limit := int(length/every)*101/100 + 2; len(verifications) > limit {
							t.Errorf("%s was verified %d times, want at most %d", identity, len(verifications), limit)
						}
					}
				}
			})
		}
	}
}

// TestPeriodicRestartsDoNotMissTheSameObjectEachTime restarts the operator at the same second of each hour or day.
func TestPeriodicRestartsDoNotMissTheSameObjectEachTime(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{time.Hour, 2 * time.Hour} {
		s := longLived("shop/orders", every)
		s.facts.LastVerified = issued.Add(time.Minute)
		grid := verificationsUntil(s, issued.Add(time.Minute), issued.Add(20*every), 0)
		missed := 0
		for _, at := range grid {
			// In each period the operator is away for 20 s, around the time of the first verification.
			if since := at.Sub(grid[0].Add(-10*time.Second)) % every; since < 20*time.Second {
				missed++
			}
		}
		if missed != 1 || len(grid) < 19 {
			t.Errorf("every %s: %d of %d verifications were missed, want one", every, missed, len(grid))
		}
	}
}

func TestVerificationInterval(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		every                 time.Duration
		unverified, suspended bool
		want                  time.Duration
	}{
		"as the spec says":                                   {every: day, want: day},
		"the token is unverified":                            {every: day, unverified: true, want: time.Hour},
		"the token is unverified, and the interval is short": {every: time.Minute, unverified: true, want: time.Minute},
		"suspended":                              {every: time.Minute, unverified: true, suspended: true, want: time.Hour},
		"suspended, and the interval is long":    {every: day, unverified: true, suspended: true, want: day},
		"suspended, and the interval is an hour": {every: time.Hour, unverified: true, suspended: true, want: time.Hour},
		"a little less than an hour is kept":     {every: 59 * time.Minute, unverified: true, want: 59 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := longLived("shop/orders", test.every)
			s.facts.Unverified, s.facts.VerificationSuspended = test.unverified, test.suspended
			if got := renewal.VerificationInterval(s.desired, s.facts); got != test.want {
				t.Errorf("the interval is %s, want %s", got, test.want)
			}
			verifications := verificationsUntil(s, issued, issued.Add(4*test.want), 0)
			for i := 2; i < len(verifications); i++ {
				if gap := verifications[i].Sub(verifications[i-1]); gap > test.want || gap < test.want-test.want/100 {
					t.Errorf("two verifications are %s apart, want %s", gap, test.want)
				}
			}
			if len(verifications) < 4 {
				t.Errorf("the token is verified only at %s", verifications)
			}
		})
	}
}

// TestARefusedTokenIsVerifiedAgain checks that VerifyAt decides when a refused token is verified, and not the interval.
func TestARefusedTokenIsVerifiedAgain(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{10 * time.Second, time.Hour, day} {
		s := longLived("shop/orders", every)
		s.facts.Refused, s.facts.HasCredentials = true, false
		var got []time.Duration
		for now, refusals := issued, 1; len(got) < 7; refusals++ {
			s.facts.LastVerified, s.facts.VerifyAt = now, now.Add(renewal.RefusedRetry(refusals))
			for decision := (renewal.Decision{}); ; now = now.Add(renewal.Sleep(s.desired, s.facts, decision, now)) {
				if decision = renewal.Decide(s.desired, s.facts, now); decision.Action == renewal.Verify {
					break
				}
			}
			got = append(got, now.Sub(s.facts.LastVerified))
		}
		want := []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute}
		if !slices.Equal(got, want) {
			t.Errorf("every %s: the token is verified again after %s, want %s", every, got, want)
		}
	}
}

// TestALateVerificationDoesNotDelayTheNext verifies a token late, as after a wait for the rate limit.
func TestALateVerificationDoesNotDelayTheNext(t *testing.T) {
	t.Parallel()
	const every = 5 * time.Minute
	onTime := verificationsUntil(longLived("shop/orders", every), issued, issued.Add(3*every), 0)
	late := longLived("shop/orders", every)
	late.facts.LastVerified = onTime[0].Add(2 * time.Minute)
	got := verificationsUntil(late, late.facts.LastVerified, issued.Add(3*every), 0)
	if !got[0].Equal(onTime[1]) {
		t.Errorf("the token is verified at %s, want the first time at %s", got, onTime[1])
	}
}

// TestARestartVerifiesNoTokenEarly checks that a restart does not cause verifications. A restarted operator does not know
// when it last verified a token, and must not verify thousands of tokens at once.
func TestARestartVerifiesNoTokenEarly(t *testing.T) {
	t.Parallel()
	const every = 5 * time.Minute
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // Each run needs the same restarts.
	for i := range 1000 {
		identity := fmt.Sprintf("shop/orders-%d", i)
		grid := verificationsUntil(longLived(identity, every), issued, issued.Add(11*every), 0)
		restart := issued.Add(every + below(random, 8*every))
		s := longLived(identity, every)
		s.facts.LastVerified = restart
		next := verificationsUntil(s, restart, restart.Add(2*every), 0)[0]
		if wait := next.Sub(restart); wait <= 0 || wait > every {
			t.Errorf("%s is verified %s after the restart, want within %s", identity, wait, every)
		}
		if !slices.Contains(grid, next) {
			t.Errorf("%s is verified at %s after the restart, but without the restart at %s", identity, next, grid)
		}
	}
}

// TestAClockThatWasSetBackDoesNotStopVerification uses a clock that was an hour ahead at the last verification.
func TestAClockThatWasSetBackDoesNotStopVerification(t *testing.T) {
	t.Parallel()
	const every = 5 * time.Minute
	s := longLived("shop/orders", every)
	s.facts.LastVerified = now.Add(time.Hour)
	verifications := verificationsUntil(s, now, now.Add(2*every), 0)
	if len(verifications) == 0 || verifications[0].Sub(now) > every {
		t.Errorf("the token is verified at %s, want within %s of %s", verifications, every, now)
	}
}

func TestTheVerificationsOfManyTokensAreSpreadOverTheInterval(t *testing.T) {
	t.Parallel()
	const every = 5 * time.Minute
	var counts [10]int
	for i := range 1000 {
		first := verificationsUntil(longLived(fmt.Sprintf("shop/orders-%d", i), every), issued, issued.Add(every+1), 0)[0]
		counts[min(first.Sub(issued)*10/every, 9)]++
	}
	for tenth, count := range counts {
		if count < 70 || count > 130 {
			t.Errorf("tenth %d of the interval has %d of 1,000 verifications: %v", tenth, count, counts)
		}
	}
}

func TestATokenIsNotVerified(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*inputs){
		"verification is off":                func(s *inputs) { s.desired.VerifyEvery = 0 },
		"no answer would prove anything":     func(s *inputs) { s.facts.CannotVerify = true },
		"the Secret belongs to someone else": func(s *inputs) { s.facts.Target = renewal.Foreign },
	}
	for name, given := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := longLived("shop/orders", time.Minute)
			given(s)
			if verifications := verificationsUntil(s, issued, issued.Add(time.Hour), 0); len(verifications) > 0 {
				t.Errorf("the token is verified at %s, want never", verifications)
			}
		})
	}
}
