// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// minDuration is the shortest run with a burst of Pipedream's faults, a burst of the cluster's, and a calm
	// after each in which promises are evaluated.
	minDuration = 3 * time.Minute
	// cycleLength is the approximate length of a burst and its calm together, and burstShare the share of the burst.
	cycleLength = 2 * time.Minute
	burstShare  = 0.3
	// evaluatedCalm is the least time that is left of the last calm after settleTime.
	evaluatedCalm = 10 * time.Second
)

// kind is a kind of disturbance, described in words.
type kind = string

// Faults of Pipedream.
const (
	throttled      kind = "429 with Retry-After"
	busy           kind = "503 with Retry-After"
	broken         kind = "500"
	html           kind = "200 with HTML"
	dropped        kind = "connection dropped before the answer"
	cut            kind = "answer cut in the middle"
	slow           kind = "slow answers"
	tooSlow        kind = "answers after the operator's timeout"
	refusedClient  kind = "401 to one OAuth client"
	refusedAll     kind = "401 to all OAuth clients"
	tokensRefused  kind = "401 to every token"
	listingsBroken kind = "503 to every use of a token"
	forgotten      kind = "connections forgotten without closing them"
	caRotated      kind = "CA rotated while its file is half written"
)

// Faults of the cluster.
const (
	leaderKilled   kind = "kill -9 of the leading manager"
	leaderStopped  kind = "SIGTERM to the leading manager"
	standbyKilled  kind = "kill -9 of the standby manager"
	managersKilled kind = "kill -9 of both managers"
	apiRestarted   kind = "restart of kube-apiserver"
	etcdRestarted  kind = "restart of etcd"
	webhookDown    kind = "admission webhook for Secrets down"
)

// Actions of users.
const (
	pipedreamRotated  kind = "client secret rotated, Pipedream first"
	kubernetesRotated kind = "client secret rotated, Kubernetes first"
	revoked           kind = "token revoked"
	secretEdited      kind = "Secret edited"
	secretDeleted     kind = "Secret deleted"
	scopesChanged     kind = "scopes changed"
	renewalChanged    kind = "renewBeforeSeconds changed"
	renewalRequested  kind = "renewal requested"
	tokenRecreated    kind = "PipedreamToken deleted and created again"
	secretHeld        kind = "Secret deleted while a finalizer holds it"
	suspended         kind = "PipedreamToken suspended"
)

// Faults of Pipedream that affect PipedreamAccounts only.
const (
	fetchesThrottled kind = "429 with Retry-After to fetches"
	fetchesBroken    kind = "500 to fetches"
	fetchesHTML      kind = "200 with HTML to fetches"
	fetchesDropped   kind = "connections of fetches dropped before the answer"
	fetchesTooSlow   kind = "answers to fetches after the operator's timeout"
	fetchesNotFound  kind = "404 to fetches"
	bearersRefused   kind = "401 to the fetches of one OAuth client"
	bearersRevoked   kind = "own tokens of the operator revoked" //nolint:gosec // The words for a disturbance.
	answersReshaped  kind = "answers for accounts in another shape"
)

// Actions of users with accounts.
const (
	accountDied          kind = "account dead, and connected again"
	accountDeleted       kind = "account deleted at Pipedream, and connected again"
	accountSecretEdited  kind = "account's Secret edited"
	accountSecretDeleted kind = "account's Secret deleted"
	fetchRequested       kind = "fetch requested"
	accountRecreated     kind = "PipedreamAccount deleted and created again"
	accountSuspended     kind = "PipedreamAccount suspended"
	keyReplaced          kind = "API key of a user revoked, and replaced"
)

var (
	// pipedreamKinds does not contain refusedAll, which affects every client and is drawn separately.
	pipedreamKinds = []kind{
		throttled, busy, broken, html, dropped, cut, slow, tooSlow, refusedClient, tokensRefused, listingsBroken,
		forgotten, caRotated,
	}
	clusterKinds = []kind{leaderKilled, leaderStopped, standbyKilled, managersKilled, apiRestarted, etcdRestarted, webhookDown}
	peopleKinds  = []kind{
		pipedreamRotated, kubernetesRotated, revoked, secretEdited, secretDeleted,
		scopesChanged, renewalChanged, renewalRequested, tokenRecreated, secretHeld, suspended,
	}
	fetchKinds = []kind{
		fetchesThrottled, fetchesBroken, fetchesHTML, fetchesDropped, fetchesTooSlow, fetchesNotFound,
		bearersRefused, bearersRevoked, answersReshaped,
	}
	accountKinds = []kind{
		accountDied, accountDeleted, accountSecretEdited, accountSecretDeleted, fetchRequested, accountRecreated, accountSuspended,
		keyReplaced,
	}
)

// action is one disturbance of a plan.
type action struct {
	number int
	at     time.Duration // since the beginning of the plan
	kind   kind
	// last is how long a fault, an outage, a suspension or a finalizer lasts, or the gap between the two steps of a
	// rotation.
	last time.Duration
	// retryAfter is the value of the Retry-After header, in seconds.
	retryAfter int
	// client is the number of an OAuth client: of PipedreamAccounts if the kind of the action affects only
	// PipedreamAccounts, else of PipedreamTokens. For keyReplaced it is the number of the API key.
	client  int
	objects []int
	variant int
}

// isOfAccounts reports whether the action affects PipedreamAccounts only.
func (a action) isOfAccounts() bool {
	return slices.Contains(fetchKinds, a.kind) || slices.Contains(accountKinds, a.kind)
}

func (a action) String() string {
	text := fmt.Sprintf("#%d %s", a.number, a.kind)
	if a.last > 0 {
		text += fmt.Sprintf(", %v", a.last)
	}
	if a.retryAfter > 0 {
		text += fmt.Sprintf(", Retry-After %d s", a.retryAfter)
	}
	switch a.kind {
	case refusedClient, kubernetesRotated, pipedreamRotated:
		text += ", " + clientID(a.client)
	case bearersRefused, bearersRevoked:
		text += ", " + readerID(a.client)
	case keyReplaced:
		text += ", " + keyHolderID(a.client)
	}
	switch {
	case len(a.objects) > 0 && a.isOfAccounts():
		text += fmt.Sprintf(", accounts %v", a.objects)
	case len(a.objects) > 0:
		text += fmt.Sprintf(", tokens %v", a.objects)
	}
	return text
}

// plan draws the disturbances of a run, in the order of their time. The same seed and duration give the same plan.
func plan(seed uint64, duration time.Duration) []action {
	cycles := max(2, int((duration+cycleLength/2)/cycleLength))
	d := &draw{
		random:    rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // The plan must be repeatable, not secret.
		decks:     map[string][]kind{},
		triggers:  make([]int, objectCount),
		refusedAt: make([]time.Duration, clientCount),
		looks:     make([]int, accountCount),
		busyUntil: make([]time.Duration, accountCount),
		end:       duration,
	}
	for i := range d.refusedAt {
		d.refusedAt[i] = -refusalWait - settleTime
	}
	cycle := duration / time.Duration(cycles)
	for i := range cycles {
		begin, burst := cycle*time.Duration(i), time.Duration(float64(cycle)*burstShare)
		// First only Pipedream fails, then only the cluster, then both at once. While the cluster works, the run
		// evaluates the status during Pipedream's faults.
		if i == 2 {
			d.refuseAll(begin)
		}
		if i%3 != 1 {
			d.pipedream(begin, begin+burst*4/5)
			d.fetches(begin, begin+burst*4/5)
		}
		if i%3 != 0 {
			d.cluster(begin, begin+burst)
		}
		// refuseAll needs that no client was refused in the cycle before it.
		d.people(begin, begin+burst, i != 1 || cycles == 2)
		d.accounts(begin, begin+burst, begin+cycle, i == cycles-1)
	}
	slices.SortStableFunc(d.actions, func(a, b action) int { return cmp.Compare(a.at, b.at) })
	for i := range d.actions {
		d.actions[i].number = i + 1
	}
	return d.actions
}

// draw is a plan that is not finished.
type draw struct {
	random    *rand.Rand
	decks     map[string][]kind
	triggers  []int
	refusedAt []time.Duration
	// looks are how often each account was disturbed, and busyUntil is when its last disturbance ends.
	looks     []int
	busyUntil []time.Duration
	end       time.Duration
	actions   []action
}

// next takes a kind from a shuffled deck, so that every kind is drawn before any kind is drawn again.
func (d *draw) next(deck string, all []kind) kind {
	if len(d.decks[deck]) == 0 {
		d.decks[deck] = slices.Clone(all)
		d.random.Shuffle(len(all), func(i, j int) {
			d.decks[deck][i], d.decks[deck][j] = d.decks[deck][j], d.decks[deck][i]
		})
	}
	drawn := d.decks[deck][0]
	d.decks[deck] = d.decks[deck][1:]
	return drawn
}

// putBack returns a kind to its deck when the burst has no time left for it.
func (d *draw) putBack(deck string, k kind) {
	d.decks[deck] = append([]kind{k}, d.decks[deck]...)
}

func (d *draw) between(least, most time.Duration) time.Duration {
	return (least + time.Duration(d.random.Int64N(int64(most-least+1)))).Round(100 * time.Millisecond)
}

func (d *draw) pipedream(from, until time.Duration) {
	for at := from; ; {
		a := action{at: at, kind: d.next("pipedream", pipedreamKinds), last: d.between(1500*time.Millisecond, 4*time.Second)}
		switch a.kind {
		case throttled, busy:
			a.retryAfter = 1 + d.random.IntN(4)
		case refusedClient:
			if a.client = d.pickClient(0, a); a.client < 0 {
				d.decks["pipedream"] = append(d.decks["pipedream"], refusedClient) // Drawn later.
				a.kind, a.client = broken, 0
			}
		case tooSlow:
			a.last = d.between(4*time.Second, 6*time.Second)
		}
		if at += a.last + d.between(300*time.Millisecond, time.Second); at > until {
			d.putBack("pipedream", a.kind)
			return
		}
		d.actions = append(d.actions, a)
	}
}

func (d *draw) cluster(from, until time.Duration) {
	for at := from + d.between(0, 2*time.Second); ; {
		a := action{at: at, kind: d.next("cluster", clusterKinds), last: d.between(time.Second, 5*time.Second)}
		if at += a.last + d.between(4*time.Second, 8*time.Second); at > until+5*time.Second {
			d.putBack("cluster", a.kind)
			return
		}
		d.actions = append(d.actions, a)
	}
}

func (d *draw) people(from, until time.Duration, rotate bool) {
	for at := from + d.between(0, 2*time.Second); at < until; at += d.between(time.Second, 3*time.Second) {
		a := action{at: at, kind: d.next("people", peopleKinds), variant: d.random.IntN(2)}
		switch a.kind {
		case kubernetesRotated, pipedreamRotated:
			if !rotate {
				continue
			}
			a.last = d.between(2*time.Second, 6*time.Second)
			// Client 0 is never rotated, so that Pipedream can refuse it.
			if a.client = d.pickClient(1, a); a.client < 0 {
				continue
			}
		case renewalChanged:
			a.objects = d.pickObjects(8)
		case suspended:
			a.last, a.objects = d.between(2*time.Second, 5*time.Second), d.pickObjects(2)
		case secretHeld:
			a.last, a.objects = d.between(time.Second, 3*time.Second), d.pickObjects(2)
			for _, i := range a.objects {
				d.triggers[i]++
			}
		default:
			a.objects = d.pickObjects(3 + d.random.IntN(4))
			for _, i := range a.objects {
				d.triggers[i]++
			}
		}
		d.actions = append(d.actions, a)
	}
}

// pickObjects returns some of the objects with the fewest triggers, in ascending order.
func (d *draw) pickObjects(count int) []int {
	objects := d.random.Perm(objectCount)
	slices.SortStableFunc(objects, func(a, b int) int { return cmp.Compare(d.triggers[a], d.triggers[b]) })
	objects = objects[:count]
	slices.Sort(objects)
	return objects
}

// pickClient returns a random client, from number first on, whose credentials may be refused now: they were not
// refused recently. It returns -1 if there is none. After two refusals in a row the operator would wait for
// longer than a run lasts.
func (d *draw) pickClient(first int, a action) int {
	for _, i := range d.random.Perm(clientCount) {
		if i >= first && d.mayRefuse(i, a) {
			d.refusedAt[i] = a.at
			return i
		}
	}
	return -1
}

// refuseAll draws a refusal of all clients at the beginning of a burst, unless a client was refused recently.
func (d *draw) refuseAll(at time.Duration) {
	a := action{at: at, kind: refusedAll, last: d.between(time.Second, 2*time.Second)}
	for i := range clientCount {
		if !d.mayRefuse(i, a) {
			return
		}
	}
	for i := range clientCount {
		d.refusedAt[i] = at
	}
	d.actions = append(d.actions, a)
}

func (d *draw) mayRefuse(client int, a action) bool {
	return a.at-d.refusedAt[client] >= refusalWait+settleTime && a.at+2*a.last+refusalWait+settleTime+evaluatedCalm <= d.end
}
