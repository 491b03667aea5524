// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"net/http"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// What a clock may be off by.
const (
	smallSkew = 30 * time.Second
	bigSkew   = 5 * time.Minute
)

// apiCheck looks at Pipedream's API, and at this machine's clock.
type apiCheck struct {
	plugin *plugin
	api    *pipedream.Client
	// skew is how much this machine's clock is ahead of the API's, as far as is known.
	skew time.Duration
}

// run tries to reach the API from here, and compares the clocks.
func (c *apiCheck) run(ctx context.Context) []finding {
	before := c.plugin.Now()
	status, date, err := c.api.Reach(ctx)
	if err != nil {
		return []finding{failed("check network, DNS, firewall and proxy of this machine; the operator's own way may be another",
			"%s can't be reached from here: %v", c.api.Address(), err)}
	}
	findings := []finding{ok("%s answers (from here; the operator's own way may be another)", c.api.Address())}
	if status >= http.StatusInternalServerError {
		findings[0] = warning("look whether Pipedream, or a proxy in between, is out of order", "%s answers with HTTP status %d", c.api.Address(), status)
	}
	if date.IsZero() {
		return append(findings, unknown("", "whether this machine's clock is right: the answer has no date"))
	}
	c.skew = skewOf(before, c.plugin.Now(), date)
	return append(findings, evaluateSkew(c.skew))
}

// now is the time by the API's clock if that is known, so that a wrong clock of this
// machine is one finding, and not many.
func (c *apiCheck) now() time.Time { return c.plugin.Now().Add(-c.skew) }

// skewOf compares a date, which was read between two times of this machine's clock.
func skewOf(before, after, date time.Time) time.Duration {
	return before.Add(after.Sub(before) / 2).Sub(date).Round(time.Second)
}

func evaluateSkew(skew time.Duration) finding {
	advice := "set the clock by NTP; expiry times are compared with it, on the operator's nodes too"
	switch {
	case skew.Abs() > bigSkew:
		return failed(advice, "this machine's clock is off by %v", skew)
	case skew.Abs() > smallSkew:
		return warning(advice, "this machine's clock is off by %v", skew)
	}
	return ok("this machine's clock is right")
}
