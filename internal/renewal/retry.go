// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"strconv"
	"time"
)

// Class says how a failed attempt is paced.
type Class string

// The classes of failure that are tried again at a time of their own.
const (
	// Refused: somebody has to mend something. A minute, doubling to 15.
	Refused Class = "Refused"
	// Transient: it may mend itself. A second, doubling to five minutes.
	Transient Class = "Transient"
)

// RetryAfter returns how long to wait after the count-th failure in a row, the
// first being 1. Transient failures are tried again up to a fifth earlier, by
// identity and count, so that those which fail together do not return together.
func RetryAfter(class Class, identity string, count int) time.Duration {
	if class == Refused {
		return doubled(time.Minute, 15*time.Minute, count)
	}
	wait := doubled(time.Second, 5*time.Minute, count)
	return wait - spread(identity+"/"+strconv.Itoa(count), wait/5)
}

func doubled(first, most time.Duration, count int) time.Duration {
	return min(first<<min(max(count-1, 0), 10), most)
}
