// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestExpiredTokensAreForgotten(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	live := liveTokens{byID: map[string]grant{}}
	const unexpired = 3000 // at any time
	for i := range 20 * unexpired {
		now = now.Add(time.Second)
		live.add(strconv.Itoa(i), grant{expires: now.Add(unexpired * time.Second)}, now)
		if len(live.byID) > 2*unexpired+1 {
			t.Fatalf("%d grants after %d tokens, want at most %d", len(live.byID), i, 2*unexpired)
		}
	}
	for i := 19*unexpired + 1; i < 20*unexpired; i++ {
		if _, ok := live.byID[strconv.Itoa(i)]; !ok {
			t.Fatalf("token %d was forgotten before its expiry", i)
		}
	}
}

func TestTheLogKeepsTheLatestExchanges(t *testing.T) {
	t.Parallel()
	c := newCounters(time.Now)
	for i := range int64(MaxLog + 10) {
		c.exchange("nobody", time.Unix(i, 0))
	}
	if len(c.log) != MaxLog || c.log[0].Time.Unix() != 10 || c.log[MaxLog-1].Time.Unix() != MaxLog+9 {
		t.Errorf("%d entries from %s to %s", len(c.log), c.log[0].Time, c.log[len(c.log)-1].Time)
	}
	if len(c.exchanges) != 1 {
		t.Errorf("%d clients are counted, want the unknown ones as one", len(c.exchanges))
	}
}

func TestNewPanicsOnOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Unix(0, 0) }
	tests := map[string]struct {
		options Options
		want    string
	}{
		"without a clock":          {Options{}, "Options.Now is required"},
		"with a fractional second": {Options{Now: now, TokenLifetime: time.Millisecond}, "whole seconds"},
		"with a client without id": {Options{Now: now, Clients: []Client{{Secret: "s"}}}, "id must not be empty"},
		"with a client's secret empty": {
			Options{Now: now, Clients: []Client{{ID: "a"}}}, "secret must not be empty",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, test.want) {
					t.Errorf("panic = %q, want %q in it", got, test.want)
				}
			}()
			New(test.options)
		})
	}
}
