// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// leaseDuration is how long the lease of a dead leader holds.
const leaseDuration = 15 * time.Second

// replica is one of several managers, on a wire of its own.
type replica struct {
	*manager
	wire *tripwire
	// listed is what it had listed and watched when it was ready.
	listed map[string]int
}

// startReplica starts a manager that takes part in leader election, and returns when
// it knows the cluster.
func (s *site) startReplica() *replica {
	s.Helper()
	return s.startReplicaOf(s.namespace)
}

// startReplicaOf starts a manager of an installation whose Lease is in a namespace.
func (s *site) startReplicaOf(installation string) *replica {
	s.Helper()
	r := &replica{wire: &tripwire{}}
	s.kubeconfig = writeKubeconfig(s.T, r.wire.toAPIServer(s.T, s.plane.Config))
	r.manager = startManagerIn(s.T, []string{"POD_NAMESPACE=" + installation}, append(s.arguments(), "--leader-elect")...)
	s.eventually("the manager watches", func() bool {
		made := r.wire.counted()
		return made["WATCH secrets"] > 0 && made["WATCH pipedreamtokens"] > 0
	})
	r.listed = r.lists()
	return r
}

// lists returns the lists and watches that a replica has asked for.
func (r *replica) lists() map[string]int {
	lists := r.wire.counted()
	maps.DeleteFunc(lists, func(call string, _ int) bool {
		method, resource, _ := strings.Cut(call, " ")
		return method != "GET" && method != "WATCH" || resource != "secrets" && resource != "pipedreamtokens"
	})
	return lists
}

// wantWarm checks that a replica has led without asking for all objects once more: it
// knew them while it stood by.
func (s *site) wantWarm(r *replica) {
	s.Helper()
	if diff := cmp.Diff(r.listed, r.lists()); diff != "" {
		s.Errorf("what the new leader has listed or watched since it was ready (-want +got): %s", diff)
	}
}

// written returns the writes of a replica, but for leases and events.
func (r *replica) written() map[string]int {
	written := r.wire.counted()
	maps.DeleteFunc(written, func(call string, _ int) bool {
		return strings.HasPrefix(call, "GET ") || strings.HasPrefix(call, "WATCH ") || strings.Contains(call, " leases") || strings.HasPrefix(call, "POST events")
	})
	return written
}

// consumer uses the token of an object again and again, and remembers what was wrong
// with it.
type consumer struct {
	mu    sync.Mutex
	uses  int
	wrong []string
	// issued are the times at which the tokens were issued that it has met, by the names
	// of their objects, and due is when each was to be renewed.
	issued map[string][]string
	due    map[string]string
}

func (c *consumer) use(s *site, name string) {
	token, secret := &v1alpha1.PipedreamToken{}, &corev1.Secret{}
	err := errors.Join(s.admin.Get(s.Context(), s.key(name), token), s.admin.Get(s.Context(), s.key(name), secret))
	if s.Context().Err() != nil {
		return // The test ends.
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.wrong = append(c.wrong, err.Error())
		return
	}
	c.uses++
	if issued := secret.Annotations[v1alpha1.IssuedAtAnnotation]; !slices.Contains(c.issued[name], issued) {
		c.issued[name] = append(c.issued[name], issued)
	}
	c.due[name+show(token.Status.IssueTime)] = show(token.Status.RenewalTime)
	if !meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady) {
		c.wrong = append(c.wrong, name+" is not Ready")
	}
	if answer := s.use(string(secret.Data["access_token"])); answer != 200 {
		c.wrong = append(c.wrong, fmt.Sprintf("Pipedream answers %d to the token of %s", answer, name))
	}
}

// consume lets a consumer use the tokens of the objects until the test ends.
func (s *site) consume(names []string) *consumer {
	s.Helper()
	c := &consumer{issued: map[string][]string{}, due: map[string]string{}}
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
	return c
}

// awaitRenewals waits until the consumer has met so many tokens of each object. Then
// there was an exchange for each of them and no other one, and none before it was due.
func (c *consumer) awaitRenewals(s *site, names []string, tokens int) {
	s.Helper()
	s.eventually(fmt.Sprintf("%d tokens of each object", tokens), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !slices.ContainsFunc(names, func(name string) bool { return len(c.issued[name]) < tokens })
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		issued := c.issued[name]
		if got := s.exchanges(name); got != len(issued) || len(issued) != tokens {
			s.Errorf("%d tokens of %s were issued, and %d met, want %d", got, name, len(issued), tokens)
		}
		for i := 1; i < len(issued); i++ {
			if due := c.due[name+issued[i-1]]; due == "" || issued[i] < due {
				s.Errorf("a token of %s was issued at %s, and the one before was to be renewed at %q", name, issued[i], due)
			}
		}
	}
}

// awaitNearlyDue waits until a moment before the first renewal of all.
func (s *site) awaitNearlyDue(names []string, before time.Duration) {
	s.Helper()
	var first time.Time
	for _, name := range names {
		if due := s.token(name).Status.RenewalTime.Time; first.IsZero() || due.Before(first) {
			first = due
		}
	}
	s.eventually("a renewal is nearly due", func() bool { return time.Until(first) < before })
}

// crew starts a leader and a standby, and has tokens of a short life issued.
func (s *site) crew(life time.Duration) (leader, standby *replica, names []string) {
	s.Helper()
	harness.Must(s.T, s.pipedream.SetTokenLifetime(life))
	names = []string{"a", "b", "c", "d", "e", "f"}
	leader = s.startReplica()
	for _, name := range names {
		s.register(name, goodSecret)
		s.create(name)
		s.awaitRight(name)
	}
	return leader, s.startReplica(), names
}

// end tells a replica to stop, as a kubelet does.
func (s *site) end(r *replica) {
	s.Helper()
	r.stop(s.T)
}

// TestLeaderKilledBeforeRenewals kills the leader a moment before the renewals of tokens
// that live a minute. The lease of a dead leader holds for less than the third of their
// life that is left then: no consumer notices anything.
func TestLeaderKilledBeforeRenewals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	leader, standby, names := s.crew(time.Minute)
	c := s.consume(names)
	s.awaitNearlyDue(names, time.Second)
	leader.Kill()
	killed := time.Now()
	c.awaitRenewals(s, names, 2)
	t.Logf("all is renewed %v after the leader was killed", time.Since(killed))
	s.wantWarm(standby)
	want := map[string]int{}
	for _, name := range names {
		s.awaitRight(name)
		want["PUT secrets/"+name], want["PATCH pipedreamtokens/"+name+"/status"] = 1, 1
	}
	if diff := cmp.Diff(want, standby.written()); diff != "" {
		t.Errorf("what the standby has written (-want +got): %s", diff)
	}
}

// TestRollingUpdate does what the controller of Deployments does with two replicas, in
// the seconds in which tokens that live half a minute are renewed: a new one is
// started, and when it is ready, an old one is told to stop.
func TestRollingUpdate(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	leader, standby, names := s.crew(30 * time.Second)
	c := s.consume(names)
	s.awaitNearlyDue(names, 4*time.Second)
	third := s.startReplica()
	s.end(leader)
	fourth := s.startReplica()
	s.end(standby)
	c.awaitRenewals(s, names, 2)
	s.wantWarm(third)
	s.wantWarm(fourth)
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
	s.wantWarm(r)
	want := map[string]int{"PUT secrets/" + requested: 1, "PATCH pipedreamtokens/" + requested + "/status": 1}
	if diff := cmp.Diff(want, r.written()); diff != "" {
		s.Errorf("what the new leader has written (-want +got): %s", diff)
	}
}

// TestLeaderThatStops tells the leader to stop: it gives the lease back. Its successor
// does what is due, leaves alone what is good, and no consumer notices anything.
func TestLeaderThatStops(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	leader, standby, names := s.crew(time.Hour)
	s.consume(names)
	exchanges := map[string]int{}
	for _, name := range names {
		exchanges[name] = 1
	}
	stopped := time.Now()
	s.end(leader)
	s.eventually("the standby takes the lease", func() bool { return standby.wire.counted()["PUT leases/pipedream-operator"] > 0 })
	took := time.Since(stopped)
	t.Logf("the standby has taken over %v after the leader was told to stop", took)
	if took >= leaseDuration {
		t.Errorf("the standby has taken over only after %v: the lease was not given back", took)
	}
	s.requestRenewal("c")
	s.wantTakenOver(standby, "c", exchanges)
}

// TestTwoInstallations has managers of two installations watch one namespace: they renew by turns, and
// do not issue each token twice.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	harness.Must(t, s.pipedream.SetTokenLifetime(30*time.Second))
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "other-"}}
	harness.Must(t, s.admin.Create(t.Context(), other))
	s.startReplica()
	s.startReplicaOf(other.Name)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		s.register(name, goodSecret)
		s.create(name)
		s.awaitRight(name)
	}
	c := s.consume(names)
	const renewals = 3
	writers := map[string]bool{}
	s.within(2*patience, "all is renewed some times", func() bool {
		for _, name := range names {
			secret := &corev1.Secret{}
			harness.Must(t, s.admin.Get(t.Context(), s.key(name), secret))
			writers[secret.Annotations[v1alpha1.OperatorAnnotation]] = true
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return !slices.ContainsFunc(names, func(name string) bool { return len(c.issued[name]) <= renewals })
	})
	for _, name := range names {
		// The first token twice, and one more until each of them knows of the other one.
		if got := s.exchanges(name); got > renewals+1+2 {
			t.Errorf("%d renewals of %s cost %d exchanges", renewals, name, got)
		}
	}
	want := map[string]bool{s.namespace + "/" + leaseName: true, other.Name + "/" + leaseName: true}
	if diff := cmp.Diff(want, writers); diff != "" {
		t.Errorf("the operators that the Secrets name (-want +got): %s", diff)
	}
}
