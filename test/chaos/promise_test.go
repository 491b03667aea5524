// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

var start0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start0.Add(time.Duration(seconds) * time.Second) }

func TestAPromiseHoldsOnceWhatRegardsItHasSettled(t *testing.T) {
	t.Parallel()
	settled := int(settling / time.Second)
	tests := map[string]struct {
		scope    scope
		index    int
		object   int
		now      int
		held     bool
		reported bool
	}{
		"an outage of the cluster, just before it has settled": {ofCluster, 0, 7, 10 + settled - 1, false, false},
		"an outage of the cluster that has settled":            {ofCluster, 0, 7, 10 + settled, true, true},
		"a fault of Pipedream leaves the status to be true":    {ofPipedream, 0, 7, 12, false, true},
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
			if p.isHeld(test.object, at(settled*2)) != test.held && test.now < settled {
				t.Error("wrong while it goes on")
			}
			p.end(d, at(10))
			if got := p.isHeld(test.object, at(test.now)); got != test.held {
				t.Errorf("a token is promised: %v, want %v", got, test.held)
			}
			if got := p.isReported(at(test.now)); got != test.reported {
				t.Errorf("the status must be true: %v, want %v", got, test.reported)
			}
		})
	}
}

func TestFaultsWithoutAPauseSettleForAsLongAsTheyLasted(t *testing.T) {
	t.Parallel()
	p := &promises{}
	p.endFault(p.begin(ofPipedream, 0, at(0)), at(20))
	p.endFault(p.begin(ofPipedream, 0, at(22)), at(60))
	if got, want := p.disturbedUntil(0, at(61), ofPipedream).Add(settling), at(60+60+15); !got.Equal(want) {
		t.Errorf("after a minute of trouble settled at %v, want %v", got, want)
	}
	p.endFault(p.begin(ofPipedream, 0, at(200)), at(203))
	if got, want := p.disturbedUntil(0, at(204), ofPipedream), at(203); !got.Equal(want) {
		t.Errorf("after 3 s of new trouble disturbed until %v, want %v", got, want)
	}
}

func TestRepeatedDeedsAreAnsweredLaterAndLater(t *testing.T) {
	t.Parallel()
	s := &spacing{}
	for i, want := range []int{0, 10, 30, 70, 150, 310, 610} {
		now := at(0)
		if i > 0 {
			now = s.free.Add(-time.Second)
		}
		got := s.deed(now)
		if i == 0 {
			s.answered(got)
			continue
		}
		if !got.Equal(at(want)) {
			t.Errorf("deed %d may be answered until %v, want %v", i+1, got, at(want))
		}
		s.answered(got)
	}
}
