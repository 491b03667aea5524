// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"sync"
	"time"
)

const (
	// mostProjects is the number of projects that Projects remembers at most.
	mostProjects = 1024
	// idleTime is after how long without a requester a project is forgotten.
	idleTime = 30 * time.Minute
	// allProjects is how many times the rate of one project all projects together may send.
	allProjects = 4
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
// Projects is safe for concurrent use.
type Projects struct {
	options ProjectsOptions
	// total has the turns of all projects together. It never learns how a request has ended.
	total      *Limiter
	totalReady *Ready
	changed    chan struct{}

	mu       sync.Mutex
	projects map[string]*project
	// of is the project at which a requester has a ticket.
	of map[Requester]string
}

// project is the limiter of a project.
type project struct {
	limiter *Limiter
	ready   *Ready
	usedAt  time.Time
}

// NewProjects returns Projects at which nobody waits, and its only ProjectsReady.
func NewProjects(options ProjectsOptions) (*Projects, *ProjectsReady) {
	p := &Projects{options: options, changed: make(chan struct{}, 1), projects: map[string]*project{}, of: map[Requester]string{}}
	p.total, p.totalReady = p.newLimiter(Options{
		PerSecond: options.PerSecond * allProjects, Burst: options.Burst * allProjects, InFlight: options.InFlight, Now: options.Now,
	})
	return p, &ProjectsReady{projects: p}
}

// newLimiter returns a Limiter that shares one channel for changes with the others.
func (p *Projects) newLimiter(options Options) (*Limiter, *Ready) {
	limiter, ready := NewLimiter(options)
	limiter.schedule.changed = p.changed
	return limiter, ready
}

// Reserve returns the requester's ticket at a project, as Limiter.Reserve does. A requester has a ticket
// at one project at a time: it gives up the ticket at any other project.
func (p *Projects) Reserve(name string, requester Requester, options ReserveOptions) Ticket {
	limiter, before := p.enter(name, requester)
	if before != nil {
		before.Cancel(requester)
	}
	ticket := limiter.Reserve(requester, options)
	if !ticket.IsReady {
		return ticket
	}
	if total := p.total.Reserve(requester, ReserveOptions{Lane: options.Lane}); !total.IsReady {
		ticket.IsReady = false
	}
	return ticket
}

// Do sends the requester's request if its ticket at the project is ready, as Limiter.Do does.
func (p *Projects) Do(name string, requester Requester, options DoOptions, request func() error) error {
	p.mu.Lock()
	known := p.projects[name]
	p.mu.Unlock()
	if known == nil {
		return ErrNotReady
	}
	var err error
	if notReady := p.total.Do(requester, DoOptions{}, func() error {
		err = known.limiter.Do(requester, options, request)
		return nil
	}); notReady != nil {
		return notReady
	}
	return err
}

// Cancel gives up the requester's ticket, if it has one.
func (p *Projects) Cancel(requester Requester) {
	p.mu.Lock()
	known := p.projects[p.of[requester]]
	delete(p.of, requester)
	p.mu.Unlock()
	if known != nil {
		known.limiter.Cancel(requester)
		p.total.Cancel(requester)
	}
}

// enter returns the limiter of a project, and the one of another project at which the requester has had a
// ticket until now; nil if there is none.
func (p *Projects) enter(name string, requester Requester) (at, before *Limiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.options.Now()
	known := p.projects[name]
	if known == nil {
		p.makeRoom(now)
		known = &project{}
		known.limiter, known.ready = p.newLimiter(Options{
			PerSecond: p.options.PerSecond, Burst: p.options.Burst, InFlight: p.options.InFlight, Now: p.options.Now,
		})
		p.projects[name] = known
	}
	known.usedAt = now
	if other, ok := p.of[requester]; ok && other != name && p.projects[other] != nil {
		before = p.projects[other].limiter
	}
	p.of[requester] = name
	return known.limiter, before
}

// makeRoom forgets the projects that nobody uses, and the one that was not used for the longest time if
// there are too many all the same.
func (p *Projects) makeRoom(now time.Time) {
	var oldest string
	for name, known := range p.projects {
		if now.Sub(known.usedAt) > idleTime && known.limiter.isIdle() {
			delete(p.projects, name)
			continue
		}
		if oldest == "" || known.usedAt.Before(p.projects[oldest].usedAt) {
			oldest = name
		}
	}
	if len(p.projects) >= mostProjects {
		delete(p.projects, oldest)
	}
}

// OutageEnded returns when the end of an outage has last woken the requesters of a project, as
// Limiter.OutageEnded does.
func (p *Projects) OutageEnded(name string) time.Time {
	p.mu.Lock()
	known := p.projects[name]
	p.mu.Unlock()
	if known == nil {
		return time.Time{}
	}
	return known.limiter.OutageEnded()
}

// Load returns how busy all projects together are: the requesters that wait, and the longest pause.
func (p *Projects) Load() Load {
	load := Load{}
	for _, known := range p.list() {
		one := known.limiter.Load()
		load.Pause = max(load.Pause, one.Pause)
		for lane, waiting := range one.Waiting {
			load.Waiting[lane] += waiting
		}
	}
	return load
}

func (p *Projects) list() []*project {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*project, 0, len(p.projects))
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
