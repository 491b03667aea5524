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
	dueTime := renewal.DueTime(quiet().desired, *quiet().facts.Record)
	tests := map[string]struct {
		given func(*scene)
		// at is the moment that is looked at; now if it is zero.
		at   time.Time
		want time.Duration
	}{
		"to the next look, when there is nothing to come": {
			given: func(*scene) {},
			want:  5 * time.Minute,
		},
		"to the next look, when there is no token": {
			given: func(s *scene) { s.facts.Target, s.facts.Record = renewal.Foreign, nil },
			want:  5 * time.Minute,
		},
		"to the renewal": {
			given: func(*scene) {},
			at:    dueTime.Add(-100 * time.Second),
			want:  100 * time.Second,
		},
		"to the last moment before the renewal": {
			given: func(*scene) {},
			at:    dueTime.Add(-1),
			want:  1,
		},
		"to the expiry, when the renewal is blocked": {
			given: func(s *scene) { s.facts.HasCredentials = false },
			at:    expires.Add(-2 * time.Minute),
			want:  2 * time.Minute,
		},
		"to the expiry, when the next attempt is later": {
			given: func(s *scene) { s.facts.NotBefore = expires.Add(time.Minute) },
			at:    expires.Add(-2 * time.Minute),
			want:  2 * time.Minute,
		},
		"to the expiry of a token in a Secret that is misshapen and can't be written": {
			given: func(s *scene) {
				s.desired.RenewBefore = 30 * time.Second
				s.facts.Check, s.facts.RewriteNotBefore = renewal.Drifted, expires.Add(time.Minute)
			},
			at:   expires.Add(-2 * time.Second),
			want: 2 * time.Second,
		},
		"to when a misshapen Secret may be written, when a token is due later": {
			given: func(s *scene) {
				s.desired.RenewRequest, s.facts.NotBefore = "2", now.Add(time.Minute)
				s.facts.Check, s.facts.RewriteNotBefore = renewal.Drifted, now.Add(7*time.Second)
			},
			want: 7 * time.Second,
		},
		"to the next attempt": {
			given: func(s *scene) { s.desired.RenewRequest, s.facts.NotBefore = "2", now.Add(7*time.Second) },
			want:  7 * time.Second,
		},
		"to the next look, when the next attempt is later": {
			given: func(s *scene) { s.desired.RenewRequest, s.facts.NotBefore = "2", now.Add(15*time.Minute) },
			want:  5 * time.Minute,
		},
		"to the end of the spacing": {
			given: func(s *scene) { s.desired.RenewRequest, s.facts.LastIssue = "2", now.Add(-8*time.Second) },
			want:  2 * time.Second,
		},
		"to the next look, when the token has expired and nothing can be done": {
			given: func(s *scene) { s.facts.HasCredentials = false },
			at:    expires.Add(time.Hour),
			want:  5 * time.Minute,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := quiet()
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

// Who sleeps misses nothing: until the end of a sleep no deed of ours becomes due,
// and the current token keeps its worth.
func TestNothingBecomesDueInASleep(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // The same scenes each time.
	idle := map[renewal.Action]int{renewal.Keep: 0, renewal.Wait: 0, renewal.Blocked: 0}
	for range 50_000 {
		s, now := randomScene(random)
		decision := renewal.Decide(s.desired, s.facts, now)
		sleep := renewal.Sleep(s.desired, s.facts, decision, now)
		if sleep <= 0 || sleep > 5*time.Minute {
			t.Fatalf("at %s after %+v it sleeps %s\n%+v", now, decision, sleep, s)
		}
		if _, isIdle := idle[decision.Action]; !isIdle {
			continue
		}
		idle[decision.Action]++
		held := renewal.CurrentToken(s.desired, s.facts, now)
		for _, later := range []time.Duration{1, sleep / 2, below(random, sleep), sleep - 1} {
			at := now.Add(later)
			if got := renewal.Decide(s.desired, s.facts, at); !stays(decision, got) {
				t.Fatalf("at %s it decides %+v and sleeps %s, but at %s it decides %+v\n%+v", now, decision, sleep, at, got, s)
			}
			if got := renewal.CurrentToken(s.desired, s.facts, at); got != held {
				t.Fatalf("at %s the token is %s and it sleeps %s, but at %s the token is %s\n%+v", now, held, sleep, at, got, s)
			}
		}
	}
	for action, count := range idle {
		if count < 1000 {
			t.Errorf("only %d scenes were about %s", count, action)
		}
	}
}

// stays tells whether there is still nothing to do. While a token waits, another
// reason for it may come up.
func stays(before, after renewal.Decision) bool {
	if before.Action == renewal.Wait {
		return after.Action == renewal.Wait
	}
	return before == after
}

func below(random *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(limit)))
}

func randomScene(random *rand.Rand) (*scene, time.Time) {
	seconds := func(most int) time.Duration { return time.Duration(random.IntN(most)) * time.Second }
	maybe := func(at time.Time) time.Time {
		if random.IntN(3) == 0 {
			return time.Time{}
		}
		return at
	}
	oneOf := func(values ...time.Duration) time.Duration { return values[random.IntN(len(values))] }
	s := quiet()
	s.desired.Identity = fmt.Sprint(random.Uint32())
	s.desired.RenewBefore = oneOf(0, 0, time.Minute, 15*time.Minute, day)
	s.desired.VerifyEvery = oneOf(0, 10*time.Second, time.Minute, 7*time.Minute)
	s.desired.RenewRequest = []string{"1", "1", "1", "1", "2"}[random.IntN(5)]
	life := oneOf(30*time.Second, time.Minute, time.Hour, time.Hour, time.Hour, 30*day)
	s.facts.Record.ExpirationTime = issued.Add(life)
	// Any moment of the token's life, and a little after it.
	now := issued.Add(below(random, life+life/10))
	s.facts.LastIssue = maybe(now.Add(-seconds(30)))
	s.facts.Triggered.Last = maybe(now.Add(-seconds(600)))
	s.facts.Triggered.Count = random.IntN(8)
	s.facts.NotBefore = maybe(now.Add(seconds(1200) - 10*time.Minute))
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

// triesUntil returns when the current token is tried if all goes well and whoever
// tries it does nothing else. Each try takes some time.
func triesUntil(s *scene, begin, end time.Time, takes time.Duration) []time.Time {
	var tries []time.Time
	for now := begin; now.Before(end); {
		decision := renewal.Decide(s.desired, s.facts, now)
		if decision.Action != renewal.Verify {
			now = now.Add(renewal.Sleep(s.desired, s.facts, decision, now))
			continue
		}
		tries = append(tries, now)
		s.facts.LastVerified = now
		now = now.Add(takes)
	}
	return tries
}

// longLived is a scene with a token that is tried at an interval, and nothing else.
func longLived(identity string, every time.Duration) *scene {
	s := quiet()
	s.desired.Identity = identity
	s.desired.VerifyEvery = every
	s.facts.Record.ExpirationTime = issued.Add(30 * day)
	return s
}

func TestTheHeldTokenIsTriedAtEachInterval(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{10 * time.Second, 5 * time.Minute, time.Hour, day} {
		t.Run(every.String(), func(t *testing.T) {
			t.Parallel()
			const takes = 3 * time.Second
			tries := triesUntil(longLived("shop/orders", every), issued, issued.Add(10*every), takes)
			if len(tries) < 10 || len(tries) > 11 {
				t.Fatalf("in ten intervals it is tried %d times", len(tries))
			}
			for i, at := range tries {
				if i == 0 && (!at.After(issued) || at.After(issued.Add(every))) {
					t.Errorf("the first try is %s after issue, want at most %s", at.Sub(issued), every)
				}
				// The first one may be late, for the token is too young before.
				if i > 1 && (at.Sub(tries[i-1]) > every || at.Sub(tries[i-1]) < every-every/100-takes) {
					t.Errorf("try %d comes %s after the one before, want %s", i, at.Sub(tries[i-1]), every)
				}
			}
		})
	}
}

// stretch is a time in the life of one object, whose token lives for an hour.
type stretch struct {
	every, length time.Duration
	// restartEvery is how often the operator is restarted, and down how long it is away
	// then; zero for never.
	restartEvery, down time.Duration
}

// tries returns when the token of the object is tried.
func (w stretch) tries(identity string) (tries []time.Time, renewals int) {
	s := longLived(identity, w.every)
	s.facts.Record.IssueTime, s.facts.Record.ExpirationTime = issued, issued.Add(time.Hour)
	restart := issued.Add(w.restartEvery)
	for now := issued; now.Before(issued.Add(w.length)); {
		if w.restartEvery > 0 && !now.Before(restart) {
			// Whatever was remembered is lost.
			now, restart = restart.Add(w.down), restart.Add(w.restartEvery)
			s.facts.LastVerified, s.facts.LastIssue = now, s.facts.Record.IssueTime
			continue
		}
		decision := renewal.Decide(s.desired, s.facts, now)
		if decision.Action == renewal.Verify {
			tries = append(tries, now)
			s.facts.LastVerified = now
			continue
		}
		if decision.Action == renewal.Issue {
			renewals++
			s.facts.Record.IssueTime, s.facts.Record.ExpirationTime, s.facts.LastIssue = now, now.Add(time.Hour), now
		}
		wake := now.Add(renewal.Sleep(s.desired, s.facts, decision, now))
		if w.restartEvery > 0 && restart.Before(wake) {
			wake = restart
		}
		now = wake
	}
	return tries, renewals
}

// longestGap returns the longest time without a try until the end.
func longestGap(tries []time.Time, end time.Time) time.Duration {
	longest, last := time.Duration(0), issued
	for _, at := range append(slices.Clone(tries), end) {
		longest, last = max(longest, at.Sub(last)), at
	}
	return longest
}

// A token is verified on time, however often it is renewed, and each object is
// verified about as often as it should be, however often the operator is restarted.
func TestAWeekOfVerificationsWithRenewalsAndRestarts(t *testing.T) {
	t.Parallel()
	// A token is ten seconds old when it is verified.
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
					objects, length = 1, day // As many verifications, in less time.
				}
				for i := range objects {
					identity := fmt.Sprintf("shop/orders-%d", i)
					tries, renewals := stretch{every: every, length: length, restartEvery: test.restartEvery, down: test.down}.tries(identity)
					if renewals < int(length/time.Hour) {
						t.Fatalf("the token was renewed %d times only", renewals)
					}
					most := every + young
					if test.down > 0 {
						// A verification is lost while the operator is away. So are the next ones if it
						// is away again whenever they come; but they come a 128th earlier each time.
						most = 2*every + young + 128*test.down
					}
					if gap := longestGap(tries, issued.Add(length)); gap > most {
						t.Errorf("%s was not verified for %s, want at most %s", identity, gap, most)
					}
					if test.restartEvery == 0 {
						if limit := int(length/every)*101/100 + 2; len(tries) > limit {
							t.Errorf("%s was verified %d times, want at most %d", identity, len(tries), limit)
						}
					}
				}
			})
		}
	}
}

// An operator that is restarted at the same second of each hour or day does not miss the
// verifications of the same object each time.
func TestRestartsByTheClockMissNobodyAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{time.Hour, 2 * time.Hour} {
		s := longLived("shop/orders", every)
		s.facts.LastVerified = issued.Add(time.Minute)
		grid := triesUntil(s, issued.Add(time.Minute), issued.Add(20*every), 0)
		missed := 0
		for _, at := range grid {
			// The operator is away for 20 s in each period, and is so at the first point.
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
		"as the spec says":                                     {every: day, want: day},
		"nothing is known of the token":                        {every: day, unverified: true, want: time.Hour},
		"nothing is known of the token, and it is tried often": {every: time.Minute, unverified: true, want: time.Minute},
		"suspended":                          {every: time.Minute, unverified: true, suspended: true, want: time.Hour},
		"suspended, and it is tried seldom":  {every: day, unverified: true, suspended: true, want: day},
		"suspended, and it is tried hourly":  {every: time.Hour, unverified: true, suspended: true, want: time.Hour},
		"a little less than an hour is kept": {every: 59 * time.Minute, unverified: true, want: 59 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := longLived("shop/orders", test.every)
			s.facts.Unverified, s.facts.VerificationSuspended = test.unverified, test.suspended
			if got := renewal.VerificationInterval(s.desired, s.facts); got != test.want {
				t.Errorf("it is %s, want %s", got, test.want)
			}
			tries := triesUntil(s, issued, issued.Add(4*test.want), 0)
			for i := 2; i < len(tries); i++ {
				if gap := tries[i].Sub(tries[i-1]); gap > test.want || gap < test.want-test.want/100 {
					t.Errorf("two tries are %s apart, want %s", gap, test.want)
				}
			}
			if len(tries) < 4 {
				t.Errorf("it is tried at %s only", tries)
			}
		})
	}
}

// A refused token is verified at the time that was set for it, and not at the interval.
func TestARefusedTokenIsTriedAgain(t *testing.T) {
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
			t.Errorf("every %s: it is tried again after %s, want %s", every, got, want)
		}
	}
}

// A try that came late, for it had to wait for its turn, does not move the others.
func TestALateTryDoesNotDelayTheNext(t *testing.T) {
	t.Parallel()
	const every = 5 * time.Minute
	onTime := triesUntil(longLived("shop/orders", every), issued, issued.Add(3*every), 0)
	late := longLived("shop/orders", every)
	late.facts.LastVerified = onTime[0].Add(2 * time.Minute)
	got := triesUntil(late, late.facts.LastVerified, issued.Add(3*every), 0)
	if !got[0].Equal(onTime[1]) {
		t.Errorf("tries at %s, want the first at %s", got, onTime[1])
	}
}

// Whoever starts sees the token for the first time, and does not know when it was
// last tried. Thousands of tokens must not be tried at once for that reason.
func TestARestartTriesNoTokenEarly(t *testing.T) {
	t.Parallel()
	const every = 5 * time.Minute
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // The same restarts each time.
	for i := range 1000 {
		identity := fmt.Sprintf("shop/orders-%d", i)
		grid := triesUntil(longLived(identity, every), issued, issued.Add(11*every), 0)
		restart := issued.Add(every + below(random, 8*every))
		s := longLived(identity, every)
		s.facts.LastVerified = restart
		next := triesUntil(s, restart, restart.Add(2*every), 0)[0]
		if wait := next.Sub(restart); wait <= 0 || wait > every {
			t.Errorf("%s is tried %s after the restart, want within %s", identity, wait, every)
		}
		if !slices.Contains(grid, next) {
			t.Errorf("%s is tried at %s after the restart, but without it at %s", identity, next, grid)
		}
	}
}

// The clock may have been an hour ahead when the token was last tried.
func TestAClockThatWasSetBackDoesNotStopTheTries(t *testing.T) {
	t.Parallel()
	const every = 5 * time.Minute
	s := longLived("shop/orders", every)
	s.facts.LastVerified = now.Add(time.Hour)
	tries := triesUntil(s, now, now.Add(2*every), 0)
	if len(tries) == 0 || tries[0].Sub(now) > every {
		t.Errorf("the token is tried at %s, want it tried within %s of %s", tries, every, now)
	}
}

func TestTriesOfManyTokensAreSpreadOverTheInterval(t *testing.T) {
	t.Parallel()
	const every = 5 * time.Minute
	var counts [10]int
	for i := range 1000 {
		first := triesUntil(longLived(fmt.Sprintf("shop/orders-%d", i), every), issued, issued.Add(every+1), 0)[0]
		counts[min(first.Sub(issued)*10/every, 9)]++
	}
	for tenth, count := range counts {
		if count < 70 || count > 130 {
			t.Errorf("tenth %d of the interval has %d of 1,000 tries: %v", tenth, count, counts)
		}
	}
}

func TestATokenIsNotTriedWhenThatIsNotWanted(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*scene){
		"verification is off":                func(s *scene) { s.desired.VerifyEvery = 0 },
		"no answer would tell anything":      func(s *scene) { s.facts.CannotVerify = true },
		"the Secret belongs to someone else": func(s *scene) { s.facts.Target = renewal.Foreign },
	}
	for name, given := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := longLived("shop/orders", time.Minute)
			given(s)
			if tries := triesUntil(s, issued, issued.Add(time.Hour), 0); len(tries) > 0 {
				t.Errorf("it is tried at %s", tries)
			}
		})
	}
}
