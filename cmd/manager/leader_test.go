// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// leaseDuration is how long the lease of a dead leader holds.
const leaseDuration = 15 * time.Second

// replica is one of several managers, on a wire of its own.
type replica struct {
	*manager
	wire *tripwire
}

// startReplica starts a manager that takes part in leader election, and returns when
// it knows the cluster.
func (s *site) startReplica() *replica {
	s.Helper()
	r := &replica{wire: &tripwire{}}
	s.kubeconfig = writeKubeconfig(s.T, r.wire.toAPIServer(s.T))
	r.manager = startManagerIn(s.T, []string{"POD_NAMESPACE=" + s.namespace}, append(s.arguments(), "--leader-elect")...)
	s.eventually("the manager watches", func() bool {
		made := r.wire.counted()
		return made["WATCH secrets"] > 0 && made["WATCH pipedreamtokens"] > 0
	})
	return r
}

// written returns the writes of a replica, but for leases and events.
func (r *replica) written() map[string]int {
	written := r.wire.counted()
	maps.DeleteFunc(written, func(call string, _ int) bool {
		return strings.HasPrefix(call, "GET ") || strings.HasPrefix(call, "WATCH ") || strings.Contains(call, " leases") || call == "POST events"
	})
	return written
}

// consumer uses the token of an object again and again, and remembers what was wrong
// with it.
type consumer struct {
	mu    sync.Mutex
	uses  int
	wrong []string
}

func (c *consumer) use(s *site, name string) {
	token, secret := &v1alpha1.PipedreamToken{}, &corev1.Secret{}
	if s.admin.Get(s.Context(), s.key(name), token) != nil || s.admin.Get(s.Context(), s.key(name), secret) != nil {
		return // The test ends.
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uses++
	if !meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady) {
		c.wrong = append(c.wrong, name+" is not Ready")
	}
	if answer := s.use(string(secret.Data["access_token"])); answer != 200 {
		c.wrong = append(c.wrong, fmt.Sprintf("Pipedream answers %d to the token of %s", answer, name))
	}
}

// consume lets a consumer use the tokens of the objects until the test ends.
func (s *site) consume(names []string) {
	s.Helper()
	c := &consumer{}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			for _, name := range names {
				c.use(s, name)
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	s.Cleanup(func() {
		close(stop)
		<-stopped
		if len(c.wrong) > 0 || c.uses == 0 {
			s.Errorf("the consumer has used the tokens %d times, and met: %q", c.uses, c.wrong)
		}
	})
}

// wantTakenOver checks that a new leader, once it has answered a request to renew,
// has written that and nothing else, and has asked for no other token.
func (s *site) wantTakenOver(r *replica, requested string, exchanges map[string]int) {
	s.Helper()
	s.awaitRight(requested)
	exchanges[requested]++
	for name, want := range exchanges {
		if got := s.exchanges(name); got != want {
			s.Errorf("Pipedream was asked for %d tokens of %s, want %d", got, name, want)
		}
		if wrong := s.wrong(name); wrong != "" {
			s.Errorf("%s is not right (-want +got): %s", name, wrong)
		}
	}
	want := map[string]int{"PUT secrets/" + requested: 1, "PATCH pipedreamtokens/" + requested + "/status": 1}
	if diff := cmp.Diff(want, r.written()); diff != "" {
		s.Errorf("what the new leader has written (-want +got): %s", diff)
	}
}

// TestLeaderThatGoesAway takes the leader away twice: first it is killed, and its
// lease runs out; then it is told to stop, and gives the lease back. Its successor
// does what is due, leaves alone what is good, and no consumer notices anything.
func TestLeaderThatGoesAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	exchanges := map[string]int{"a": 1, "b": 1, "c": 1, "z-first": 1, "z-second": 1}
	names := make([]string, 0, len(exchanges))
	leader := s.startReplica()
	for name := range exchanges {
		s.register(name, goodSecret)
		s.create(name)
		s.awaitRight(name)
		names = append(names, name)
	}
	s.consume(names)

	second := s.startReplica()
	leader.kill()
	killed := time.Now()
	s.requestRenewal("z-first")
	s.wantTakenOver(second, "z-first", exchanges)
	t.Logf("the second leader has taken over %v after the first was killed", time.Since(killed))

	third := s.startReplica()
	must(t, second.Process.Signal(syscall.SIGTERM))
	stopped := time.Now()
	s.requestRenewal("z-second")
	s.wantTakenOver(third, "z-second", exchanges)
	took := time.Since(stopped)
	t.Logf("the third leader has taken over %v after the second was told to stop", took)
	if took >= leaseDuration {
		t.Errorf("the third leader has taken over only after %v: the lease was not given back", took)
	}
	if code, line := second.exit(t); code != 0 {
		t.Errorf("the leader was told to stop, and ended with %d: %s", code, line)
	}
}
