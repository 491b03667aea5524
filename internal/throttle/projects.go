// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"crypto/rand"
	"sync"
	"time"
)

const (
	// mostProjects is the number of projects that have a limiter of their own at most. All further ones
	// share one limiter.
	mostProjects = 1024
	// idleTime is after how long without a requester a project is forgotten.
	idleTime = 30 * time.Minute
	// AllProjects is how many times the rate of one project all projects together may send.
	AllProjects = 4
)

// ProjectsOptions configure Projects. All are required.
type ProjectsOptions struct {
	// PerSecond is the number of requests a second in the long run for one project. All projects
	// together send at most four times as many. Burst is the number of requests that may be sent
	// at once after a quiet time, for one project.
	PerSecond float64
	Burst     int
	// InFlight is the number of requests that may wait for an answer at the same time, of all
	// projects together.
	InFlight int
	// Now returns the current time.
	Now func() time.Time
}

// Projects paces the requests of each project of Pipedream Connect by itself, because Pipedream limits
// them so: a project that is paused, or that fails, delays no other one. A bound on all projects together
// gives turns by group, so that a group gains nothing by naming many projects.
//
// The requests with an API key are paced like the ones of a project, under the name that KeyName returns, and
// more slowly. All who send the same key learn that Pipedream has refused it, as all who send the same client
// credentials do at a Limiter.
//
// A requester has its turn when it is its turn both at its project and among all projects. It first waits
// at its project, and then among all.
//
// Projects is safe for concurrent use.
type Projects struct {
	options ProjectsOptions
	// secret is the key of the digests in the names of API keys.
	secret []byte
	// total has the turns of all projects together. It never learns how a request has ended.
	total      *Limiter
	totalReady *Ready
	// rest is shared by the projects beyond the most that have a limiter of their own.
	rest    *project
	changed chan struct{}

	mu       sync.Mutex
	projects map[string]*project
	// of is the limiter at which each requester has a ticket.
	of map[Requester]*project
}

// project is the limiter of a project.
type project struct {
	limiter *Limiter
	ready   *Ready
	usedAt  time.Time
}

// NewProjects returns Projects at which nobody waits, and its only ProjectsReady.
func NewProjects(options ProjectsOptions) (*Projects, *ProjectsReady) {
	p := &Projects{
		options: options, secret: []byte(rand.Text()), changed: make(chan struct{}, 1), projects: map[string]*project{}, of: map[Requester]*project{},
	}
	all := p.newProject(options.PerSecond*AllProjects, options.Burst*AllProjects)
	p.total, p.totalReady = all.limiter, all.ready
	p.rest = p.newProject(options.PerSecond, options.Burst)
	return p, &ProjectsReady{projects: p}
}

// newProject returns a limiter. It shares one channel for changes with the others.
func (p *Projects) newProject(perSecond float64, burst int) *project {
	limiter, ready := NewLimiter(Options{PerSecond: perSecond, Burst: burst, InFlight: p.options.InFlight, Now: p.options.Now})
	limiter.schedule.turns.changed = p.changed
	return &project{limiter: limiter, ready: ready}
}

// newProjectNamed returns a limiter for a project or an API key.
func (p *Projects) newProjectNamed(name string) *project {
	if isKey(name) {
		return p.newProject(min(KeyPerSecond, p.options.PerSecond), 1)
	}
	return p.newProject(p.options.PerSecond, p.options.Burst)
}

// Reserve returns the requester's ticket at a project, as Limiter.Reserve does. A requester has a ticket
// at one project at a time: it gives up the ticket at any other project. Projects itself knows the credentials.
func (p *Projects) Reserve(name string, requester Requester, options ReserveOptions) Ticket {
	at, before := p.enter(name, requester)
	if before != nil {
		before.limiter.Cancel(requester)
	}
	options.Credentials = credentialsOf(name)
	ticket := at.limiter.Reserve(requester, options)
	if !ticket.IsReady || ticket.IsRefused() {
		p.total.Cancel(requester) // Its turn at the project may have ended while it waited among all.
		return ticket
	}
	if among := p.total.Reserve(requester, ReserveOptions{Lane: options.Lane, Expiry: options.Expiry}); !among.IsReady {
		ticket.IsReady = false
		if among.Since.Before(ticket.Since) { // It has lost its turn at the project meanwhile, and has got another one.
			ticket.Since = among.Since
		}
	}
	return ticket
}

// Do sends the requester's request if its ticket at the project is ready, as Limiter.Do does. Projects itself knows the
// credentials.
func (p *Projects) Do(name string, requester Requester, options DoOptions, request func() error) error {
	p.mu.Lock()
	at := p.of[requester]
	isAt := at != nil && at == p.find(name)
	p.mu.Unlock()
	if !isAt {
		return ErrNotReady
	}
	options.Credentials = credentialsOf(name)
	var err error
	if notReady := p.total.Do(requester, DoOptions{}, func() error {
		err = at.limiter.Do(requester, options, request)
		return nil
	}); notReady != nil {
		return notReady
	}
	return err
}

// Cancel gives up the requester's ticket, if it has one.
func (p *Projects) Cancel(requester Requester) {
	p.mu.Lock()
	at := p.of[requester]
	delete(p.of, requester)
	p.mu.Unlock()
	if at != nil {
		at.limiter.Cancel(requester)
		p.total.Cancel(requester)
	}
}

// enter returns the limiter of a project, and the one of another project at which the requester has had a
// ticket until now; nil if there is none.
func (p *Projects) enter(name string, requester Requester) (at, before *project) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at = p.use(name)
	if before = p.of[requester]; before == at {
		before = nil
	}
	p.of[requester] = at
	return at, before
}

// use returns the limiter of a project, and makes one if there is room. The caller holds the lock.
func (p *Projects) use(name string) *project {
	name = limiterOf(name)
	now := p.options.Now()
	if _, isKnown := p.projects[name]; !isKnown {
		p.forgetIdle(now)
		if len(p.projects) < mostProjects {
			p.projects[name] = p.newProjectNamed(name)
		}
	}
	at := p.find(name)
	at.usedAt = now
	return at
}

// find returns the limiter of a project. The caller holds the lock.
func (p *Projects) find(name string) *project {
	if known := p.projects[limiterOf(name)]; known != nil {
		return known
	}
	return p.rest
}

// forgetIdle forgets the projects that nobody uses.
func (p *Projects) forgetIdle(now time.Time) {
	for name, known := range p.projects {
		if now.Sub(known.usedAt) > idleTime && known.limiter.isIdle() {
			delete(p.projects, name)
		}
	}
}

// Pause lets no request of a project be sent until the given time, as Limiter.Pause does.
func (p *Projects) Pause(name string, until time.Time) {
	p.mu.Lock()
	at := p.use(name)
	p.mu.Unlock()
	if at != p.rest { // It is not known which of the projects there is meant to pause.
		at.limiter.Pause(until)
	}
}

// Charge counts a request about a project that was sent without a turn of its own, as Limiter.Charge does.
func (p *Projects) Charge(name string) {
	p.mu.Lock()
	at := p.find(name)
	p.mu.Unlock()
	at.limiter.Charge()
	p.total.Charge()
}

// OutageEnded returns when the end of an outage has last woken the requesters of a project, as
// Limiter.OutageEnded does.
func (p *Projects) OutageEnded(name string) time.Time {
	p.mu.Lock()
	at := p.find(name)
	p.mu.Unlock()
	return at.limiter.OutageEnded()
}

// ProjectsLoad says how busy all projects together are.
type ProjectsLoad struct {
	// Load has the requesters that wait, and the longest pause.
	Load
	// Paused is the number of projects that are paused.
	Paused int
}

// Load returns how busy all projects together are.
func (p *Projects) Load() ProjectsLoad {
	load := ProjectsLoad{}
	for _, known := range p.list() {
		one := known.limiter.Load()
		if load.Pause = max(load.Pause, one.Pause); one.Pause > 0 {
			load.Paused++
		}
		for lane, waiting := range one.Waiting {
			load.Waiting[lane] += waiting
		}
	}
	for lane, waiting := range p.total.Load().Waiting {
		load.Waiting[lane] += waiting // Their turn at their project has come, so that they count once.
	}
	return load
}

// list returns the limiters of all projects.
func (p *Projects) list() []*project {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []*project{p.rest}
	for _, known := range p.projects {
		all = append(all, known)
	}
	return all
}

// ProjectsReady reports whose turn has come, as Ready does for one Limiter. It must have one reader.
type ProjectsReady struct{ projects *Projects }

// Next returns the requesters whose turn has come at their project, or among all projects together, since
// the last call, and how long to wait for Changed at most before the next call. A wait of zero means that
// there is no need for a call before Changed has a value.
func (r *ProjectsReady) Next() (requesters []Requester, wait time.Duration) {
	requesters, wait = r.projects.totalReady.Next()
	for _, known := range r.projects.list() {
		more, next := known.ready.Next()
		requesters = append(requesters, more...)
		if next > 0 && (wait == 0 || next < wait) {
			wait = next
		}
	}
	return requesters, wait
}

// Changed returns a channel that has a value when it is time to call Next.
func (r *ProjectsReady) Changed() <-chan struct{} { return r.projects.changed }
