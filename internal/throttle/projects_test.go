// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// projects are Projects with a clock that the test sets.
type projects struct {
	*throttle.Projects
	ready *throttle.ProjectsReady
	t     *testing.T
	now   time.Time
	// fresh are requesters that have not tried yet.
	fresh []throttle.Requester
	// then is called during each request. Optional.
	then func(project string)
}

func newProjects(t *testing.T, options throttle.ProjectsOptions) *projects {
	t.Helper()
	p := &projects{t: t, now: second}
	if options.PerSecond == 0 {
		options.PerSecond, options.Burst = 4, 4
	}
	if options.InFlight == 0 {
		options.InFlight = 50
	}
	options.Now = func() time.Time { return p.now }
	p.Projects, p.ready = throttle.NewProjects(options)
	return p
}

// try sends a request if the requester's turn has come, and reports whether it did.
func (p *projects) try(project string, requester throttle.Requester, result error) bool {
	p.t.Helper()
	if !p.Reserve(project, requester, throttle.ReserveOptions{Lane: throttle.DueRenewal}).IsReady {
		return false
	}
	isSent := false
	err := p.Do(project, requester, throttle.DoOptions{}, func() error {
		if isSent = true; p.then != nil {
			p.then(project)
		}
		return result
	})
	if isSent == errors.Is(err, throttle.ErrNotReady) {
		p.t.Errorf("%s %s: the request was sent: %v, and the error is %v", project, requester.Name, isSent, err)
	}
	return isSent
}

// sent has each requester try at its project, and returns how many requests were sent. Ready wakes who
// waits.
func (p *projects) sent(waiting map[throttle.Requester]string) map[string]int {
	p.t.Helper()
	counts := map[string]int{}
	woken, _ := p.ready.Next()
	woken, p.fresh = append(p.fresh, woken...), nil
	for _, requester := range woken {
		project, isWaiting := waiting[requester]
		if isWaiting && p.try(project, requester, nil) {
			counts[project]++
			counts["in "+requester.Group]++
			counts["all"]++
			delete(waiting, requester)
		}
	}
	return counts
}

// live lets time pass in steps of 50 milliseconds, and returns how many requests were sent.
func (p *projects) live(duration time.Duration, waiting map[throttle.Requester]string) map[string]int {
	p.t.Helper()
	counts := map[string]int{}
	for end := p.now.Add(duration); p.now.Before(end); p.now = p.now.Add(50 * time.Millisecond) {
		for key, count := range p.sent(waiting) {
			counts[key] += count
		}
	}
	return counts
}

// queue has requesters wait at a project.
func (p *projects) queue(waiting map[throttle.Requester]string, project, group string, count int) {
	p.t.Helper()
	for i := range count {
		requester := throttle.Requester{Kind: "PipedreamAccount", Group: group, Name: fmt.Sprintf("%s-%04d", project, i)}
		p.fresh = append(p.fresh, requester)
		waiting[requester] = project
	}
}

func wantBetween(t *testing.T, what string, got, least, most int) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s: %d requests, want %d to %d", what, got, least, most)
	}
}

// TestARequestWithoutATurnIsCharged has each turn be used for three requests. The pace holds for requests, in a project
// and among all projects, whoever waits.
func TestARequestWithoutATurnIsCharged(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ projects, least, most int }{
		"one project":  {1, 4 * 60 / 3, 4*60/3 + 3},
		"six projects": {6, 16 * 60 / 3, 16*60/3 + 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProjects(t, throttle.ProjectsOptions{})
			waiting := map[throttle.Requester]string{}
			for i := range test.projects {
				p.queue(waiting, fmt.Sprint("proj_", i), fmt.Sprint("shop-", i), 300)
			}
			p.then = func(project string) {
				p.Charge(project)
				p.Charge(project)
			}
			counts := p.live(time.Minute, waiting)
			wantBetween(t, "all", counts["all"], test.least-2, test.most)
			// Who has not sent more requests than it had turns is not charged.
			p.then = nil
			p.now = p.now.Add(time.Minute)
			p.queue(waiting, "proj_other", "other", 100)
			counts = p.live(10*time.Second, waiting)
			wantBetween(t, "a project without charges", counts["proj_other"], 20, 45)
		})
	}
}

func TestEachProjectHasItsOwnPace(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{})
	waiting := map[throttle.Requester]string{}
	p.queue(waiting, "proj_a", "shop", 200)
	p.queue(waiting, "proj_b", "shop", 200)
	counts := p.live(10*time.Second, waiting)
	// A burst of 4, and 4 a second.
	wantBetween(t, "proj_a", counts["proj_a"], 40, 44)
	wantBetween(t, "proj_b", counts["proj_b"], 40, 44)
}

func TestA429PausesOneProjectOnly(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{})
	if !p.try("proj_a", shop("first"), errTooMany.WithRetryAt(p.now.Add(time.Minute))) {
		t.Fatal("the first request was not sent")
	}
	waiting := map[throttle.Requester]string{}
	p.queue(waiting, "proj_a", "shop", 100)
	p.queue(waiting, "proj_b", "shop", 100)
	counts := p.live(10*time.Second, waiting)
	wantBetween(t, "the paused project", counts["proj_a"], 0, 0)
	wantBetween(t, "the other project", counts["proj_b"], 40, 44)
	ticket := p.Reserve("proj_a", shop("late"), throttle.ReserveOptions{})
	if !ticket.PausedUntil.Equal(second.Add(time.Minute)) {
		t.Errorf("the ticket says that the pause ends at %v", ticket.PausedUntil)
	}
	if got := p.Load(); got.Pause != 50*time.Second || got.Paused != 1 {
		t.Errorf("the load shows a pause of %v of %d projects", got.Pause, got.Paused)
	}
	p.Pause("proj_c", p.now.Add(20*time.Second))
	if got := p.Load(); got.Pause != 50*time.Second || got.Paused != 2 {
		t.Errorf("with another pause the load shows a pause of %v of %d projects", got.Pause, got.Paused)
	}
	p.Cancel(shop("late"))
	p.now = second.Add(time.Minute)
	counts = p.live(10*time.Second, waiting)
	wantBetween(t, "after the pause", counts["proj_a"], 35, 44)
}

func TestAPauseIsKnownBeforeTheFirstRequest(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{})
	p.Pause("proj_a", p.now.Add(30*time.Second))
	if p.try("proj_a", shop("a"), nil) {
		t.Error("a request was sent in the pause")
	}
	if !p.try("proj_b", shop("b"), nil) {
		t.Error("another project is paused, too")
	}
}

func TestAllProjectsTogetherHaveABound(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{})
	waiting := map[throttle.Requester]string{}
	for i := range 100 {
		p.queue(waiting, fmt.Sprint("proj_", i), "shop", 10)
	}
	counts := p.live(10*time.Second, waiting)
	// A burst of 16, and 16 a second.
	wantBetween(t, "all", counts["all"], 150, 176)
}

func TestWhoNamesManyProjectsGainsNothing(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{})
	waiting := map[throttle.Requester]string{}
	for i := range 300 {
		p.queue(waiting, fmt.Sprint("proj_greedy_", i), "greedy", 3)
	}
	p.queue(waiting, "proj_modest", "modest", 30)
	counts := p.live(10*time.Second, waiting)
	wantBetween(t, "the namespace with one project", counts["in modest"], 30, 30)
}

func TestNamespacesTakeTurnsInAProject(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{})
	waiting := map[throttle.Requester]string{}
	p.queue(waiting, "proj_a", "crowd", 500)
	p.queue(waiting, "proj_a", "few", 10)
	counts := p.live(10*time.Second, waiting)
	wantBetween(t, "the small namespace", counts["in few"], 10, 10)
}

// TestMoreProjectsThanAreRemembered has more projects than have a limiter of their own. The further ones
// share one: none of them loses its turn, and none of them is faster.
func TestMoreProjectsThanAreRemembered(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{PerSecond: 4, Burst: 300})
	for i := range 1024 {
		p.try(fmt.Sprint("proj_", i), shop(fmt.Sprint(i)), nil)
	}
	waiting := map[throttle.Requester]string{}
	for i := range 40 {
		p.queue(waiting, fmt.Sprint("proj_late_", i), "late", 1)
	}
	p.live(30*time.Second, waiting)
	if len(waiting) > 0 {
		t.Errorf("%d requesters never had their turn", len(waiting))
	}
	if got := p.Count(); got != 1024 {
		t.Errorf("%d projects have a limiter", got)
	}
	// Half an hour later nobody uses the first ones any longer.
	p.now = p.now.Add(31 * time.Minute)
	if !p.try("proj_new", shop("new"), nil) {
		t.Error("the new project has no turn")
	}
	if got := p.Count(); got != 1 {
		t.Errorf("%d projects have a limiter, want one", got)
	}
}

func TestAPausedProjectIsNotForgotten(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{})
	for range 4 { // A pause lasts 15 minutes at most.
		p.Pause("proj_a", p.now.Add(15*time.Minute))
		p.now = p.now.Add(10 * time.Minute)
		p.try("proj_b", shop("b"), nil)
	}
	if p.try("proj_a", shop("a"), nil) {
		t.Error("the pause was forgotten")
	}
}

func TestARequesterThatChangesItsProject(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{PerSecond: 1, Burst: 1})
	mover := shop("mover")
	if !p.Reserve("proj_a", mover, throttle.ReserveOptions{}).IsReady {
		t.Fatal("it is not its turn")
	}
	if !p.try("proj_b", mover, nil) {
		t.Error("there is no turn at the second project")
	}
	if !p.try("proj_a", shop("other"), nil) {
		t.Error("the turn at the first project was not given up")
	}
	err := p.Do("proj_a", mover, throttle.DoOptions{}, func() error { t.Error("a request was sent"); return nil })
	if !errors.Is(err, throttle.ErrNotReady) {
		t.Errorf("the error is %v", err)
	}
	p.Cancel(mover)
	p.Cancel(mover)
	if waiting := p.Load().Waiting; slices.Max(waiting[:]) != 0 {
		t.Errorf("there wait %v", waiting)
	}
}

func TestNobodyIsSentWithoutATicket(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{})
	err := p.Do("proj_a", shop("a"), throttle.DoOptions{}, func() error { t.Error("a request was sent"); return nil })
	if !errors.Is(err, throttle.ErrNotReady) {
		t.Errorf("the error is %v", err)
	}
}

func TestTheOutageOfOneProjectDelaysNoOther(t *testing.T) {
	t.Parallel()
	p := newProjects(t, throttle.ProjectsOptions{PerSecond: 100, Burst: 100})
	for i := range 20 {
		p.try("proj_a", shop(fmt.Sprint("a-", i)), errUnavailable)
	}
	p.now = p.now.Add(11 * time.Second)
	ticket := p.Reserve("proj_a", shop("probe"), throttle.ReserveOptions{})
	waiting := p.Reserve("proj_a", shop("waiting"), throttle.ReserveOptions{})
	if waiting.IsReady || waiting.Failing.Since.IsZero() {
		t.Errorf("in an outage there are the tickets %+v and %+v", ticket, waiting)
	}
	if !p.try("proj_b", shop("b"), nil) {
		t.Error("another project waits, too")
	}
	if !p.OutageEnded("proj_a").IsZero() || !p.OutageEnded("proj_b").IsZero() || !p.OutageEnded("proj_unknown").IsZero() {
		t.Error("an outage that goes on has an end")
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	all, ready := throttle.NewProjects(throttle.ProjectsOptions{PerSecond: 1000, Burst: 1000, InFlight: 8, Now: time.Now})
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			for i := range 200 {
				requester := inGroup(fmt.Sprint("group-", worker%3), fmt.Sprint(worker))
				project := fmt.Sprint("proj_", i%5)
				if all.Reserve(project, requester, throttle.ReserveOptions{}).IsReady {
					_ = all.Do(project, requester, throttle.DoOptions{}, func() error { return nil })
				}
				switch i % 7 {
				case 0:
					all.Cancel(requester)
				case 1:
					_ = all.Load()
				case 2:
					all.OutageEnded(project)
				}
			}
		})
	}
	for range 100 {
		ready.Next()
	}
	workers.Wait()
}
