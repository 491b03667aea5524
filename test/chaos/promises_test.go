// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

var start0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start0.Add(time.Duration(seconds) * time.Second) }

func TestAPromiseHoldsAfterTheDisturbancesThatAffectIt(t *testing.T) {
	t.Parallel()
	settled := int(settleTime / time.Second)
	tests := map[string]struct {
		scope  scope
		index  int
		object int
		now    int
		token  bool
		status bool
	}{
		"an outage of the cluster, just before it has settled": {ofCluster, 0, 7, 10 + settled - 1, false, false},
		"an outage of the cluster that has settled":            {ofCluster, 0, 7, 10 + settled, true, true},
		"a fault of Pipedream does not affect the status":      {ofPipedream, 0, 7, 12, false, true},
		"the object's client":                                  {ofClient, clientOf(7), 7, 12, false, true},
		"another client":                                       {ofClient, clientOf(7) + 1, 7, 12, true, true},
		"the object itself":                                    {ofObject, 7, 7, 12, false, true},
		"another object":                                       {ofObject, 8, 7, 12, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &promises{}
			d := p.begin(test.scope, test.index, at(0))
			if p.isTokenPromised(test.object, at(settled*2)) != test.token && test.now < settled {
				t.Error("the promise is wrong during the disturbance")
			}
			p.end(d, at(10))
			if got := p.isTokenPromised(test.object, at(test.now)); got != test.token {
				t.Errorf("a token is promised: %v, want %v", got, test.token)
			}
			if got := p.isStatusPromised(at(test.now)); got != test.status {
				t.Errorf("the status is promised: %v, want %v", got, test.status)
			}
		})
	}
}

func TestAfterFaultsWithoutAPauseSettlingTakesAsLongAsTheFaults(t *testing.T) {
	t.Parallel()
	p := &promises{}
	p.endFault(p.begin(ofPipedream, 0, at(0)), at(20))
	p.endFault(p.begin(ofPipedream, 0, at(22)), at(60))
	if got, want := p.disturbedUntil(0, at(61), ofPipedream).Add(settleTime), at(60+60+15); !got.Equal(want) {
		t.Errorf("after a minute of failures settled at %v, want %v", got, want)
	}
	{
		d := p.begin(ofAccounts, 0, at(60))
		p.endFault(d, at(63))
		if want := at(63); !d.until.Equal(want) {
			t.Errorf("faults of another scope count: disturbed until %v, want %v", d.until, want)
		}
	}
	p.endFault(p.begin(ofPipedream, 0, at(200)), at(203))
	if got, want := p.disturbedUntil(0, at(204), ofPipedream), at(203); !got.Equal(want) {
		t.Errorf("after 3 s of new failures disturbed until %v, want %v", got, want)
	}
}

func TestRepeatedTriggersAreAnsweredLaterAndLater(t *testing.T) {
	t.Parallel()
	s := &minimumInterval{}
	for i, want := range []int{0, 10, 30, 70, 150, 310, 610} {
		now := at(0)
		if i > 0 {
			now = s.free.Add(-time.Second)
		}
		got := s.trigger(now)
		if i == 0 {
			s.answered(got)
			continue
		}
		if !got.Equal(at(want)) {
			t.Errorf("trigger %d may be answered until %v, want %v", i+1, got, at(want))
		}
		s.answered(got)
	}
}
