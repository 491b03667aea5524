// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

func TestTheBudgetAllowsTheNeededExchangesAndFewMore(t *testing.T) {
	t.Parallel()
	b := &budget{}
	for range 40 {
		b.addAge(1, 10*time.Minute, meanInterval)
	}
	b.trigger(1, 40)
	b.allowCrash(1, 5)
	ideal, issued, failed := b.bounds(1)
	if want := 40.0 * 600 / 37; ideal < want || ideal > want+41 {
		t.Errorf("ideal %.0f, want about %.0f and 40 triggers", ideal, want)
	}
	if most := 1.2*40*600/37 + 40 + 40 + 10 + 5 + 1; issued > most {
		t.Errorf("%.0f may be issued, want at most %.0f", issued, most)
	}
	if failed != 0 {
		t.Errorf("%.0f may fail without a fault", failed)
	}
	b.allowFault(1, 5*time.Second)
	if _, _, failed := b.bounds(1); failed < 10 || failed > 80 {
		t.Errorf("%.0f of 40 objects' exchanges may fail in 5 s, want some of them, and not all twice", failed)
	}
	if other, _, _ := b.bounds(2); other != 0 {
		t.Errorf("another client is allowed %.0f tokens", other)
	}
}
