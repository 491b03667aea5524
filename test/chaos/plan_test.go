// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheSameSeedDrawsTheSamePlan(t *testing.T) {
	t.Parallel()
	compare := cmp.AllowUnexported(action{})
	first := plan(123, 10*time.Minute)
	if diff := cmp.Diff(first, plan(123, 10*time.Minute), compare); diff != "" {
		t.Errorf("the second plan differs (-first +second):\n%s", diff)
	}
	if cmp.Equal(first, plan(124, 10*time.Minute), compare) {
		t.Error("another seed draws the same plan")
	}
}

func TestEveryKindIsDrawnInTenMinutes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		drawn := map[kind]int{}
		for _, a := range plan(seed, 10*time.Minute) {
			drawn[a.kind]++
		}
		for _, k := range slices.Concat(pipedreamKinds, []kind{refusedAll}, clusterKinds, peopleKinds, fetchKinds, accountKinds) {
			if drawn[k] == 0 {
				t.Errorf("seed %d never draws %s", seed, k)
			}
		}
	}
}

func TestEachCycleEndsInACalmLongerThanSettling(t *testing.T) {
	t.Parallel()
	for _, duration := range []time.Duration{minDuration, 4 * time.Minute, 10 * time.Minute, time.Hour} {
		for seed := range uint64(50) {
			last, lastBurst, longest := time.Duration(0), time.Duration(0), time.Duration(0)
			for _, a := range plan(seed, duration) {
				longest = max(longest, a.at-lastBurst)
				last = max(last, a.at+a.last)
				if a.kind != accountDied && a.kind != accountDeleted && a.kind != keyReplaced { // These go on in the calm, which suspends no other promise.
					lastBurst = max(lastBurst, a.at+a.last)
				}
			}
			if calm := duration - last; calm < settleTime+evaluatedCalm {
				t.Errorf("%v, seed %d: %v of calm at the end", duration, seed, calm)
			}
			if longest < settleTime {
				t.Errorf("%v, seed %d: no calm between two bursts is longer than %v", duration, seed, longest)
			}
		}
	}
}

func TestSickAccountsStaySoInTheCalmAndAreDisturbedByNothingElse(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		busyUntil, long := map[int]time.Duration{}, 0
		for _, a := range plan(seed, 10*time.Minute) {
			if !slices.Contains(accountKinds, a.kind) {
				continue
			}
			for _, i := range a.objects {
				if a.at < busyUntil[i] {
					t.Errorf("seed %d: %v begins before the account's last action has settled", seed, a)
				}
				busyUntil[i] = a.at + a.last + settleTime
			}
			if a.last > watchInterval+retryDelay+settleTime {
				long++
			}
		}
		if long == 0 {
			t.Errorf("seed %d: no account is dead or deleted for so long that the status must say so", seed)
		}
	}
}

func TestNoClientIsRefusedTwiceBeforeItHasSettled(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		at := map[int]time.Duration{}
		for _, a := range plan(seed, 10*time.Minute) {
			clients := a.refuses()
			if a.kind == kubernetesRotated || a.kind == pipedreamRotated {
				clients = []int{a.client}
			}
			for _, i := range clients {
				if before, ok := at[i]; ok && a.at-before < refusalWait+settleTime {
					t.Errorf("seed %d: %s is refused at %v, and again at %v", seed, clientID(i), before, a.at)
				}
				at[i] = a.at
			}
		}
	}
}
