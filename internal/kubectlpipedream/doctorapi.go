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

// apiCheck checks Pipedream's API and this machine's clock.
type apiCheck struct {
	plugin *plugin
	api    *pipedream.Client
	// skew is how far this machine's clock is ahead of the API's clock. It is zero while it is unknown.
	skew time.Duration
}

// run sends a request to the API from this machine, and compares the clocks.
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

// now returns the time by the API's clock, or by this machine's clock while the API's clock is unknown. A
// wrong clock of this machine then causes one finding only.
func (c *apiCheck) now() time.Time { return c.plugin.Now().Add(-c.skew) }

// skewOf returns how far this machine's clock is ahead of date. The API sent date at a time that this
// machine's clock shows as between before and after. skewOf rounds to seconds.
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
