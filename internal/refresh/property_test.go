// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// provider is a Pipedream that refreshes one account in one of the ways that it may have.
type provider struct {
	// life is how long credentials live; 0 if they do not expire.
	life time.Duration
	// every is the time between two refreshes in the background; 0 for none.
	every time.Duration
	// isLazy is true if expired credentials are refreshed when they are asked for, and isForced if
	// they are refreshed whenever they are asked for.
	isLazy, isForced bool
	// saysNext is true if the answer says when Pipedream refreshes next; lies is added to that time.
	saysNext bool
	lies     time.Duration
	// wanders is true if the answer says that the next refresh is after a time from now, which lies has.
	wanders bool
	// stuckFrom and stuckUntil are when nothing is refreshed.
	stuckFrom, stuckUntil time.Time

	refreshed time.Time
	version   int
}

// answer is what the provider says at a time.
type answer struct {
	version               int
	expiration, nextTimes time.Time
}

func (p *provider) advance(now time.Time, isAsked bool) {
	isStuck := !now.Before(p.stuckFrom) && now.Before(p.stuckUntil)
	if p.every > 0 && !isStuck {
		for !now.Before(p.refreshed.Add(p.every)) {
			p.refreshed, p.version = p.refreshed.Add(p.every), p.version+1
		}
	}
	isExpired := p.life > 0 && !now.Before(p.refreshed.Add(p.life))
	if isAsked && !isStuck && (p.isForced || p.isLazy && isExpired) {
		p.refreshed, p.version = now, p.version+1
	}
}

func (p *provider) answer(now time.Time) answer {
	p.advance(now, true)
	a := answer{version: p.version}
	if p.life > 0 {
		a.expiration = p.refreshed.Add(p.life)
	}
	switch {
	case p.wanders:
		a.nextTimes = now.Add(p.lies)
	case p.saysNext && p.every > 0:
		a.nextTimes = p.refreshed.Add(p.every + p.lies)
	}
	return a
}

// look is one look that was made. The end is a second after the expiry of the credentials that the
// Secret held then.
type look struct {
	at  time.Time
	why refresh.Why
	end time.Time
	// isFirst is true if the process does not know of the look before.
	isFirst bool
}

// operator acts as it is told, and remembers as a controller does.
type operator struct {
	desired  refresh.Desired
	facts    refresh.Facts
	provider provider
	version  int
	looks    []look
}

func newOperator(desired refresh.Desired, p provider, at time.Time) *operator {
	p.refreshed = at
	o := &operator{desired: desired, provider: p}
	o.facts = refresh.Facts{Target: refresh.Absent, Check: refresh.Good, HasCredentials: true, Looks: refresh.Looks{Since: at}}
	return o
}

// clone returns an operator that goes on from the same state.
func (o *operator) clone() *operator {
	c := *o
	if o.facts.Record != nil {
		record := *o.facts.Record
		c.facts.Record = &record
	}
	c.looks = nil
	return &c
}

// restart forgets what no Secret and no status holds.
func (o *operator) restart(at time.Time) {
	o.facts.Looks = refresh.Looks{Since: at}
	o.facts.Triggered = retry.Triggers{}
}

// fetch makes a look.
func (o *operator) fetch(why refresh.Why, at time.Time) {
	made := look{at: at, why: why, isFirst: o.facts.Looks.Last.IsZero()}
	if record := o.facts.Record; record != nil {
		made.end = record.ExpirationTime.Add(time.Second)
	}
	o.looks = append(o.looks, made)
	got := o.provider.answer(at)
	if why.IsTriggered() {
		o.facts.Triggered.Add(at)
	}
	record := o.facts.Record
	isNewer := record == nil || got.version != o.version || got.expiration.After(record.ExpirationTime)
	isUsable := got.expiration.IsZero() || got.expiration.After(at)
	o.facts.Looks.Add(o.desired, record, isNewer && isUsable, at)
	o.facts.Verdict, o.facts.NotBefore, o.facts.Changed = refresh.Verdict{}, time.Time{}, false
	if !isUsable {
		if record != nil { // What was asked for was done, though it brought nothing.
			record.RenewRequest = o.desired.RenewRequest
		}
		return
	}
	if isNewer {
		record = &refresh.Record{FetchTime: at}
	} else {
		got.nextTimes = refresh.SettledRefreshTime(o.desired, *record, got.nextTimes, at)
	}
	record.ExpirationTime, record.NextRefreshTime = got.expiration, got.nextTimes
	record.Request, record.Rendering, record.RenewRequest = o.desired.Request, o.desired.Rendering, o.desired.RenewRequest
	o.facts.Target, o.facts.Check, o.facts.Record, o.version = refresh.Owned, refresh.Good, record, got.version
}

// run acts from one time to another, and returns the end of its last sleep. After each step it calls
// check with the time until which it then sleeps.
func (o *operator) run(from, to time.Time, check func(decision refresh.Decision, at, until time.Time)) {
	for at := from; at.Before(to); {
		decision := refresh.Decide(o.desired, o.facts, at)
		if decision.Action == refresh.Fetch {
			o.fetch(decision.Why, at)
			continue
		}
		until := at.Add(refresh.Sleep(o.desired, o.facts, decision, at))
		if check != nil {
			check(decision, at, until)
		}
		at = until
	}
}

// replacedAt returns when a refresh in the background replaces the credentials that the operator holds, if there is no
// look before; zero if none does.
func (o *operator) replacedAt(at time.Time) time.Time {
	o.provider.advance(at, false)
	switch {
	case o.version != o.provider.version:
		return o.provider.refreshed
	case o.provider.every == 0:
		return time.Time{}
	}
	return o.provider.refreshed.Add(o.provider.every)
}

func randomProvider(random *rand.Rand, at time.Time) provider {
	p := provider{saysNext: random.IntN(2) == 0}
	if random.IntN(6) > 0 {
		p.life = time.Duration(30+random.IntN(4*3600)) * time.Second
	}
	switch random.IntN(4) {
	case 0:
		p.every = time.Duration(60+random.IntN(3600)) * time.Second
	case 1:
		p.every = max(p.life-time.Duration(random.IntN(300))*time.Second, time.Minute)
	case 2:
		p.isLazy = true
	case 3:
		p.isForced = p.life > 2*time.Minute // Else each look would be worth another one.
		p.isLazy = !p.isForced
	}
	if random.IntN(3) == 0 {
		p.lies = time.Duration(random.IntN(1200)-600) * time.Second
	}
	if random.IntN(8) == 0 {
		p.wanders, p.lies = true, time.Duration(random.IntN(900)-60)*time.Second
	}
	if random.IntN(3) == 0 {
		p.stuckFrom = at.Add(time.Duration(random.IntN(8*3600)) * time.Second)
		p.stuckUntil = p.stuckFrom.Add(time.Duration(random.IntN(3*3600)) * time.Second)
	}
	return p
}

func randomDesired(random *rand.Rand) refresh.Desired {
	desired := refresh.Desired{Request: "account"}
	if random.IntN(2) == 0 {
		desired.Policy = refresh.EachRefresh
	}
	if random.IntN(3) == 0 {
		desired.Interval = time.Duration(30+random.IntN(7200)) * time.Second
	}
	return desired
}

func TestProperties(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // The same lives each time.
		o := newOperator(randomDesired(random), randomProvider(random, now), now)
		at, end := now, now.Add(12*time.Hour)
		for at.Before(end) {
			next := at.Add(time.Duration(1+random.IntN(3600)) * time.Second)
			o.run(at, next, func(decision refresh.Decision, at, until time.Time) {
				if failure := oversleeps(o, decision, at, until); failure != "" {
					t.Fatalf("seed %d: %s\n%+v\n%+v", seed, failure, o.desired, o.provider)
				}
			})
			at = next
			disturb(o, random, at)
		}
		checkIntervals(t, seed, o)
	}
}

// disturb does something to the operator that people and machines do.
func disturb(o *operator, random *rand.Rand, at time.Time) {
	switch random.IntN(6) {
	case 0:
		o.desired.RenewRequest = fmt.Sprint(random.Uint32())
		o.facts.Changed = true
	case 1:
		o.restart(at)
	case 2:
		o.desired.Rendering = fmt.Sprint(random.Uint32())
	case 3:
		o.facts.Check = refresh.Edited
	case 4:
		o.desired.Request = fmt.Sprint(random.Uint32())
	}
}

// oversleeps says how a sleep breaks the promise, if it does.
func oversleeps(o *operator, decision refresh.Decision, at, until time.Time) string {
	switch {
	case !until.After(at) || until.Sub(at) > 5*time.Minute:
		return fmt.Sprintf("at %s after %+v it sleeps until %s", at, decision, until)
	case decision.Action == refresh.Wait && !decision.Until.After(at):
		return fmt.Sprintf("at %s it waits until %s", at, decision.Until)
	case o.facts.Record == nil || o.facts.Record.ExpirationTime.IsZero():
		return ""
	}
	end := o.facts.Record.ExpirationTime.Add(time.Second)
	switch {
	case at.Before(end) && until.After(end):
		return fmt.Sprintf("at %s after %+v it sleeps until %s, past %s", at, decision, until, end)
	case at.After(end) && o.facts.Check != refresh.Edited && o.facts.Looks.Last.Before(end):
		return fmt.Sprintf("at %s there was no look since %s", at, end)
	}
	return ""
}

// checkIntervals checks that no two looks are closer together than they may be.
func checkIntervals(t *testing.T, seed uint64, o *operator) {
	t.Helper()
	for i, look := range o.looks[1:] {
		isAfterExpiry := o.looks[i].at.Before(look.end) && !look.at.Before(look.end)
		if before := o.looks[i]; look.at.Sub(before.at) < 10*time.Second && !isAfterExpiry && !look.isFirst {
			t.Errorf("seed %d: it looks at %s for %s and at %s for %s", seed, before.at, before.why, look.at, look.why)
		}
		if o.desired.Interval > 0 && look.at.Sub(o.looks[i].at) > o.desired.Interval+10*time.Second {
			t.Errorf("seed %d: it looks at %s and not before %s", seed, o.looks[i].at, look.at)
		}
	}
}

// An operator that is restarted makes the same looks as one that is not, but for one.
func TestARestartChangesOneLookAtMost(t *testing.T) {
	t.Parallel()
	differ := 0
	for seed := range uint64(1500) {
		random := rand.New(rand.NewPCG(seed, 11)) //nolint:gosec // The same lives each time.
		o := newOperator(randomDesired(random), randomProvider(random, now), now)
		at := now.Add(time.Duration(random.IntN(6*3600)) * time.Second)
		o.run(now, at, nil)
		steady, restarted := o.clone(), o.clone()
		restarted.restart(at)
		// Until the credentials change, both see the same provider.
		horizon := at.Add(30 * time.Minute)
		if e := o.facts.Record.ExpirationTime; !e.IsZero() && e.After(at) {
			horizon = e
		}
		steady.provider.stuckFrom, steady.provider.stuckUntil = at, horizon
		restarted.provider = steady.provider
		steady.run(at, horizon, nil)
		restarted.run(at, horizon, nil)
		extra := len(restarted.looks) - len(steady.looks)
		if extra != 0 {
			differ++
		}
		most := 1
		if o.provider.wanders {
			most = 6 // The answer to this look may cause more of them.
		}
		if extra < -1 || extra > most {
			t.Fatalf("seed %d: restarted at %s it looks %v, else %v\n%+v\n%+v", seed, at, restarted.looks, steady.looks, o.desired, o.facts.Record)
		}
	}
	if differ == 0 {
		t.Error("no restart was felt: the test is too tame")
	}
	t.Logf("%d restarts changed a look", differ)
}

// TestEachRefreshIsFollowed has Pipedream refresh accounts in the background, and say truly when. An operator that
// follows each refresh holds the credentials that a refresh has replaced for 15 seconds at most, whatever people and machines do.
func TestEachRefreshIsFollowed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 13)) //nolint:gosec // The same lives each time.
		p := provider{saysNext: true, every: time.Duration(120+random.IntN(3600)) * time.Second}
		if random.IntN(4) > 0 {
			p.life = p.every + time.Duration(1+random.IntN(7200))*time.Second
		}
		desired := randomDesired(random)
		desired.Policy = refresh.EachRefresh
		o := newOperator(desired, p, now)
		o.provider.refreshed = now.Add(-time.Duration(random.Int64N(int64(p.every)))).Truncate(time.Second)
		at, end := now, now.Add(12*time.Hour)
		for at.Before(end) {
			next := at.Add(time.Duration(1+random.IntN(3600)) * time.Second)
			o.run(at, next, func(_ refresh.Decision, at, until time.Time) {
				if held := until.Sub(o.replacedAt(at)); held > 15*time.Second {
					t.Fatalf("seed %d: at %s it sleeps until %s, and holds replaced credentials for %s\n%+v\n%+v\n%+v",
						seed, at, until, held, o.desired, o.provider, o.facts.Record)
				}
			})
			at = next
			disturb(o, random, at)
		}
		checkIntervals(t, seed, o)
	}
}

// TestNoRefreshTimeCausesALoop has Pipedream say any time of the next refresh, true or not, while it refreshes the
// account or does not. Whatever it says, there are only so many looks in any hour.
func TestNoRefreshTimeCausesALoop(t *testing.T) {
	t.Parallel()
	const hour, s, m = time.Hour, time.Second, time.Minute
	tests := map[string]struct {
		provider provider
		most     int // looks in any hour; with BeforeExpiry there is one in 50 minutes
	}{
		"none":                              {provider{life: hour, isLazy: true}, 3},
		"past":                              {provider{life: hour, every: 55 * m, saysNext: true, lies: -2 * hour}, 3},
		"far":                               {provider{life: hour, every: 55 * m, saysNext: true, lies: 1000 * hour}, 3},
		"early":                             {provider{life: hour, every: 55 * m, saysNext: true, lies: -54 * m}, 17},
		"now":                               {provider{life: hour, isLazy: true, wanders: true}, 17},
		"in a second":                       {provider{life: hour, isLazy: true, wanders: true, lies: s}, 17},
		"in half a minute":                  {provider{life: hour, isLazy: true, wanders: true, lies: 30 * s}, 17},
		"in nearly five minutes":            {provider{life: hour, isLazy: true, wanders: true, lies: 5*m - s}, 17},
		"in five minutes":                   {provider{life: hour, isLazy: true, wanders: true, lies: 5 * m}, 17},
		"in a second, and it never expires": {provider{wanders: true, lies: s}, 17},
		"in a second, and never refreshed":  {provider{life: hour, wanders: true, lies: s}, 17},
		"in a second, refreshed each time":  {provider{life: hour, isForced: true, wanders: true, lies: s}, 31},
		"in a second, a short life":         {provider{life: 5 * m, isLazy: true, wanders: true, lies: s}, 62},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(refresh.Desired{Policy: refresh.EachRefresh}, test.provider, now)
			o.run(now, now.Add(30*hour), nil)
			most := 0
			for i := range o.looks {
				inHour := 0
				for _, look := range o.looks[i:] {
					if look.at.Sub(o.looks[i].at) < hour {
						inHour++
					}
				}
				most = max(most, inHour)
			}
			t.Logf("%d looks in 30 hours, at most %d in an hour", len(o.looks), most)
			if most > test.most {
				t.Errorf("%d looks in an hour, want at most %d", most, test.most)
			}
		})
	}
}

// Many lives under each way of refreshing: what it costs, and how long the Secret holds expired
// credentials.
func TestWhatAccountsCost(t *testing.T) {
	t.Parallel()
	const hour, m = time.Hour, time.Minute
	tests := map[string]struct {
		provider provider
		desired  refresh.Desired
		most     float64       // looks an hour
		expired  time.Duration // in an hour
		replaced time.Duration // in an hour, how long credentials are held at most that a refresh has replaced
	}{
		"in the background each 13.5 minutes": {provider{life: hour, every: 13*m + 30*time.Second, saysNext: true}, refresh.Desired{}, 1.5, 0, 55 * m},
		"the same, each refresh":              {provider{life: hour, every: 13*m + 30*time.Second, saysNext: true}, refresh.Desired{Policy: refresh.EachRefresh}, 4.6, 0, 67 * time.Second},
		"in the background each 57 minutes":   {provider{life: hour, every: 57 * m, saysNext: true}, refresh.Desired{}, 1.1, 0, 16 * time.Second},
		"the same, unsaid":                    {provider{life: hour, every: 57 * m}, refresh.Desired{}, 1.2, 1100 * time.Millisecond, 4 * m},
		"lazily after the expiry":             {provider{life: hour, isLazy: true}, refresh.Desired{}, 1.1, time.Second, 0},
		"whenever they are asked for":         {provider{life: hour, isForced: true}, refresh.Desired{}, 1.21, 0, 0},
		"never":                               {provider{}, refresh.Desired{}, 1.01, 0, 0},
		"once in eight hours":                 {provider{life: 8 * hour, isLazy: true}, refresh.Desired{}, 1.2, time.Second, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const hours = 20 * 24
			o := newOperator(test.desired, test.provider, now)
			var expired, replaced time.Duration
			o.run(now, now.Add(hours*hour), func(_ refresh.Decision, at, until time.Time) {
				if from := o.replacedAt(at); !from.IsZero() && from.Before(until) {
					replaced += min(until.Sub(from), until.Sub(at))
				}
				if refresh.CurrentCredentials(o.desired, o.facts, at) == refresh.StateExpired {
					expired += until.Sub(at)
				}
			})
			if rate := float64(len(o.looks)) / hours; rate > test.most {
				t.Errorf("%.2f looks an hour, want at most %.2f", rate, test.most)
			}
			if expired/hours > test.expired {
				t.Errorf("expired for %s an hour, want at most %s", expired/hours, test.expired)
			}
			if replaced/hours > test.replaced {
				t.Errorf("replaced for %s an hour, want at most %s", replaced/hours, test.replaced)
			}
			t.Logf("%.2f looks an hour, expired for %s and replaced for %s", float64(len(o.looks))/hours, expired/hours, replaced/hours)
		})
	}
}

// moment returns a time from the year 0 to the year 9999, which are those that can be written on a
// Secret.
func moment(seconds int64) time.Time {
	first := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	count := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - first
	return time.Unix(first+((seconds-first)%count+count)%count, 0).UTC()
}

func pick[T any](index uint8, values ...T) T { return values[int(index)%len(values)] }

// FuzzDecide decides on any record that can be written on a Secret, and on whatever is remembered
// beside it. The flags are, from the lowest: credentials, queued, changed, fresh bearer, superseded,
// suspended, broken templates, another type.
func FuzzDecide(f *testing.F) {
	f.Add(uint8(2), uint8(1), uint8(1), uint8(0), int64(1772366400), int64(3600), int64(810), int64(1772366500),
		int64(0), int64(0), int64(0), int64(0), int64(0), 0, int64(0))
	f.Add(uint8(2), uint8(1), uint8(1), uint8(0), int64(1772366400), int64(3600), int64(1), int64(1772366500),
		int64(-60e9), int64(-270e9), int64(0), int64(0), int64(0), 0, int64(0))
	f.Add(uint8(2), uint8(1), uint8(1), uint8(0), int64(1772366400), int64(3600), int64(86400), int64(1772369400),
		int64(-3000e9), int64(0), int64(0), int64(0), int64(0), 0, int64(0))
	f.Add(uint8(2), uint8(1), uint8(1), uint8(0), int64(1772366400), int64(0), int64(-1), int64(1772366500),
		int64(0), int64(0), int64(0), int64(0), int64(0), 0, int64(0))
	f.Fuzz(func(t *testing.T, target, check, flags, verdict uint8, fetched, life, next, at,
		last, late, notBefore, triggered, said int64, count int, interval int64,
	) {
		now := moment(at)
		near := func(offset int64) time.Time { // From about now, or from nowhere.
			if offset == 0 {
				return time.Time{}
			}
			return now.Add(time.Duration(offset))
		}
		has := func(bit int) bool { return flags>>bit&1 == 1 }
		record := &refresh.Record{FetchTime: moment(fetched), RenewRequest: pick(check, "", "1", "2")}
		if life != 0 {
			record.ExpirationTime = moment(fetched + life)
		}
		if next != 0 {
			record.NextRefreshTime = moment(fetched + next)
		}
		desired := refresh.Desired{
			Interval: time.Duration(interval), Policy: pick(target, "", refresh.BeforeExpiry, refresh.EachRefresh),
			RenewRequest: pick(verdict, "", "1"), Suspended: has(5),
		}
		facts := refresh.Facts{
			Target: pick(target, refresh.Absent, refresh.Foreign, refresh.Owned, refresh.Owned),
			Record: record, Check: pick(check, refresh.Unchecked, refresh.Good, refresh.Edited),
			HasCredentials: has(0), Queued: has(1), Changed: has(2), HasFreshBearer: has(3), Superseded: has(4),
			TemplateInvalid: has(6), OtherType: has(7),
			Looks:     refresh.Looks{Since: near(last / 2), Last: near(last), LateSince: near(late), Followed: near(late / 3)},
			NotBefore: near(notBefore), Triggered: retry.Triggers{Last: near(triggered), Count: count},
			Verdict: refresh.Verdict{Kind: pick(verdict, "", refresh.Dead, refresh.NotFound), Last: near(said), Count: count},
		}
		if facts.Target != refresh.Owned {
			facts.Record = nil // A Secret of somebody else has no record that counts.
		}
		decision := refresh.Decide(desired, facts, now)
		if again := refresh.Decide(desired, facts, now); again != decision {
			t.Errorf("the same scene leads to %+v and to %+v", decision, again)
		}
		if sleep := refresh.Sleep(desired, facts, decision, now); sleep <= 0 || sleep > 5*time.Minute {
			t.Errorf("after %+v it sleeps %s", decision, sleep)
		}
		if due := refresh.DueTime(*record); !record.ExpirationTime.IsZero() && due.After(record.ExpirationTime) {
			t.Errorf("it is due at %s, and expires at %s", due, record.ExpirationTime)
		}
		if at, ok := refresh.ScheduledTime(desired, *record); ok && !record.ExpirationTime.IsZero() && at.After(record.ExpirationTime) {
			t.Errorf("its look is scheduled for %s, and it expires at %s", at, record.ExpirationTime)
		}
		checkDecision(t, desired, facts, decision, now)
	})
}

func checkDecision(t *testing.T, desired refresh.Desired, facts refresh.Facts, decision refresh.Decision, now time.Time) {
	t.Helper()
	switch decision.Action {
	case refresh.Fetch:
		if desired.Suspended || !facts.HasCredentials || facts.TemplateInvalid || facts.OtherType || facts.Target == refresh.Foreign {
			t.Errorf("%+v of %+v", decision, facts)
		}
		since := now.Sub(facts.Looks.Last)
		if since >= 0 && since < 10*time.Second && !facts.HasFreshBearer && facts.Target == refresh.Owned {
			end := facts.Record.ExpirationTime.Add(time.Second)
			if facts.Record.ExpirationTime.IsZero() || now.Before(end) || !facts.Looks.Last.Before(end) {
				t.Errorf("%+v %s after the last look", decision, since)
			}
		}
		facts.Looks.Add(desired, facts.Record, false, now)
		facts.HasFreshBearer = false
		if again := refresh.Decide(desired, facts, now); again.Action == refresh.Fetch {
			t.Errorf("%+v twice at once", decision)
		}
	case refresh.Wait:
		if !decision.Until.After(now) {
			t.Errorf("%+v at %s", decision, now)
		}
	case refresh.Rest:
		if !desired.Suspended {
			t.Errorf("%+v, and nobody has asked for that", decision)
		}
	case refresh.Keep, refresh.Read, refresh.Blocked:
		if decision.Action == refresh.Read && (facts.Target != refresh.Owned || facts.Check != refresh.Unchecked) {
			t.Errorf("%+v of %+v", decision, facts)
		}
	default:
		t.Errorf("it decides %+v", decision)
	}
}
