//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package upgrade_test switches from the previous version of the operator to the version in this tree and back, with live
// PipedreamTokens in every kind of state. It proves that a switch costs no token, leaves no consumer without one, loses
// nothing of a status, and writes only what is needed.
package upgrade_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// quiet is how long the managers must do nothing when nothing is due.
	quiet = 2 * time.Minute
	// leastQuietObjects and leastQuietReasons are what must be left then. Without them the quiet would mean nothing.
	leastQuietObjects, leastQuietReasons = 40, 5
)

func TestUpgrade(t *testing.T) {
	began := time.Now()
	previous, tree := buildVersions(t)
	s := newSite(t)
	s.install(previous)
	s.authenticate()
	s.forbidWrites()
	s.observe()

	running := s.start(previous)
	s.awaitLeader(running)
	s.populateMoving()
	orphans := []*object{s.orphan("adopted-by-the-tree"), s.orphan("adopted-by-the-previous")}
	s.populate("made-by-the-previous")
	s.judge("before the first switch")

	// The upgrade. For a while no manager runs, as when the cluster has no room for a second one.
	flight := s.takeOff("upgrade")
	s.stop(running)
	s.install(tree)
	adopted := s.adopt(orphans[0])
	between := s.make(moving, "made-while-no-manager-runs", &state{ready: valid, renewed: issued})
	running = s.start(tree)
	s.awaitLeader(running)
	s.wantAdopted(adopted)
	s.await(between)
	s.wantIssued(between, flight.began, 1)
	s.beginJudging(between)
	s.land(flight)
	s.wantAllAsBefore("after the upgrade")
	s.populate("made-by-the-tree")
	s.populateAccounts()

	// The way back, as a rolling update. What a version that is yet to come has written into a status must not cost a token.
	running = s.roll(running, previous, "downgrade", func() {
		s.overwriteStatus(s.find("made-by-the-tree/credentials-rejected"), v1alpha1.ConditionRenewed, v1alpha1.ConditionStalled)
		s.overwriteStatus(s.find("made-by-the-tree/credentials-rejected-with-token"), v1alpha1.ConditionRenewed, v1alpha1.ConditionStalled)
		s.overwriteStatus(s.find("made-by-the-tree/verified-once-a-day"), v1alpha1.ConditionVerified)
	})
	s.wantAdopted(s.adopt(orphans[1]))
	s.wantAllAsBefore("after the way back")
	s.wantCredentialsThatWork("after the way back")

	// The previous version knows no PipedreamAccounts: it must leave them and their Secrets to the version that does.
	running = s.roll(running, tree, "second-upgrade", func() { s.wantAccountsUntouched("while the previous version led") })
	s.wantAllAsBefore("after the second upgrade")
	s.wantAccountsResumed("after the second upgrade")

	s.keepQuiet()
	s.stop(running)
	t.Logf("the consumers used tokens %d times; at the least %s were left of one; it took %s in all",
		s.observer.uses, s.observer.leastAge.Round(time.Second), time.Since(began).Round(time.Second))
}

// roll replaces the manager that leads as a rolling update does: the next one stands by while the last one still leads.
// Just before the last one is told to stop, meanwhile is called.
func (s *site) roll(last *manager, v *version, name string, meanwhile func()) *manager {
	s.Helper()
	s.install(v)
	next := s.start(v)
	flight := s.takeOff(name)
	meanwhile()
	s.markUnknownReasons(v)
	s.stop(last)
	if last.name == "tree" {
		s.rememberAccounts()
	}
	s.isBack = v.name == "previous"
	s.awaitLeader(next)
	s.land(flight)
	return next
}

// markUnknownReasons marks the objects whose status has a reason that a version does not know. Such a version takes the
// reason for one after which it tries again.
func (s *site) markUnknownReasons(v *version) {
	s.Helper()
	known, err := os.ReadFile(filepath.Join(v.source, "api", "v1alpha1", "conditions.go"))
	harness.Must(s.T, err)
	s.observer.awaitLook()
	for _, o := range s.live() {
		token := s.observer.last(o).token
		if token == nil {
			continue
		}
		o.adapts = o.adapts || o.name == suspendedObject
		for _, condition := range token.Status.Conditions {
			if !bytes.Contains(known, []byte(strconv.Quote(condition.Reason))) {
				o.adapts = true
			}
		}
	}
}

// find returns an object by its name.
func (s *site) find(name string) *object {
	s.Helper()
	for _, o := range s.objects {
		if o.String() == name {
			return o
		}
	}
	s.Fatalf("there is no object %s", name)
	return nil
}

// wantAllAsBefore checks after a switch that all objects are in their states, that no Secret was written for an object
// for which no token was issued, and that applying the same manifests again changes nothing.
func (s *site) wantAllAsBefore(during string) {
	s.Helper()
	s.observer.awaitLook()
	for _, o := range s.live() {
		if !o.adapts && !o.judgedFrom.IsZero() {
			s.await(o)
		}
	}
	for _, o := range s.live() {
		seen := s.observer.last(o)
		if o.baseline == nil || seen.secret == nil || o.baseline.secret == nil {
			continue
		}
		if s.issuedSince(o, o.baselineAt) == 0 && seen.secret.ResourceVersion != o.baseline.secret.ResourceVersion {
			s.Errorf("%s: the Secret of %s was written, and no token was issued for it", during, o)
		}
		if seen.token == nil || seen.token.DeletionTimestamp != nil {
			continue
		}
		if generation := s.apply(o); generation != seen.token.Generation {
			s.Errorf("%s: applying the manifest of %s again has changed its spec: the generation went from %d to %d", during, o, seen.token.Generation, generation)
		}
	}
	s.judge(during)
	s.wantFewVerifications(during)
	s.touchSome(strings.ReplaceAll(during, " ", "-"))
}

// wantFewVerifications checks that a token is not tried at each start.
func (s *site) wantFewVerifications(during string) {
	s.Helper()
	for _, o := range s.live() {
		interval := time.Duration(o.manifest.Spec.Verification.IntervalSeconds) * time.Second
		tries := s.pipedream.verificationsOf(o.client())
		if interval == 0 || len(tries) == 0 {
			continue
		}
		// The first try may come at any time, and a token that replaces a refused one is tried at once.
		if most := int(time.Since(tries[0])/interval) + 2; len(tries) > most {
			s.Errorf("%s: the token of %s was tried %d times, want at most %d with an interval of %s", during, o, len(tries), most, interval)
		}
	}
}

// keepQuiet deletes each object that has something due in the next minutes, and checks that for the others the managers
// then only follow objects and hold the lease.
func (s *site) keepQuiet() {
	s.Helper()
	s.observer.awaitLook()
	until := time.Now().Add(quiet + 3*aftermath)
	reasons := map[string]int{}
	for _, o := range s.live() {
		seen := s.observer.last(o)
		// While nothing is known of a token, it is verified within an hour, also when the interval is a day.
		interval, isUnknown := o.manifest.Spec.Verification.IntervalSeconds, seen.condition(v1alpha1.ConditionVerified).Status == metav1.ConditionUnknown
		verifies := interval > 0 && (interval < day || isUnknown)
		if verifies || dueFrom(seen).Before(until) {
			o.retired.Store(true)
			s.deleteToken(o, "Background")
			s.releaseToken(o)
			continue
		}
		renewed := seen.condition(v1alpha1.ConditionRenewed)
		reasons[renewed.Reason]++
	}
	s.Logf("%s: nothing is due for %d objects: %v", time.Now().Format(time.TimeOnly), len(s.live()), reasons)
	if len(s.live()) < leastQuietObjects || len(reasons) < leastQuietReasons {
		s.Errorf("of the objects only %d are left with nothing due, in these states: %v", len(s.live()), strings.Join(slices.Sorted(maps.Keys(reasons)), ", "))
	}
	s.keepAccountsQuiet()
	time.Sleep(aftermath)
	s.judge("before the quiet time")
	offset, from := s.judgedUntil, time.Now()
	time.Sleep(quiet)
	s.observer.awaitLook()
	s.judgeQuiet(offset, from, from.Add(quiet))
	s.wantAccountsUntouched("in the quiet time")
	s.wantCredentialsThatWork("in the quiet time")
	s.judge("in the quiet time")
}
