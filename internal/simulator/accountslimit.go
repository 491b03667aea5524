// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// maxLimit is the greatest number of calls in a limit.
const maxLimit = 100_000

// limit limits the calls of each project or of each user: at most a number in each window of time, however the
// window is laid.
type limit struct {
	most   int // 0 for no limit
	window time.Duration
	// calls are the times of the calls in the last window, by project or by user.
	calls map[string][]time.Time
	// refused counts the calls that were too many.
	refused int
}

// SetLimit limits the calls for accounts to a number in each window of time, for each project. 0 calls remove the
// limit. Pipedream's is 2,000 calls in five minutes. It returns an error if the limit makes no sense.
func (a *Accounts) SetLimit(calls int, window time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limit.set(calls, window)
}

// set changes the limit. It returns an error if the limit makes no sense.
func (l *limit) set(calls int, window time.Duration) error {
	if calls < 0 || calls > maxLimit || calls > 0 && window <= 0 {
		return fmt.Errorf("a limit needs at most %d calls in a window longer than 0s; 0 calls mean no limit", maxLimit)
	}
	*l = limit{most: calls, window: window, calls: map[string][]time.Time{}, refused: l.refused}
	return nil
}

// take counts a call, or refuses it.
func (l *limit) take(caller string, now time.Time) *answer {
	if l.most == 0 {
		return nil
	}
	calls := l.calls[caller]
	for len(calls) > 0 && now.Sub(calls[0]) >= l.window {
		calls = calls[1:]
	}
	if len(calls) < l.most {
		l.calls[caller] = append(calls, now)
		return nil
	}
	l.calls[caller] = calls
	l.refused++
	reset := calls[0].Add(l.window)
	refused := apiError(http.StatusTooManyRequests, "Throttled")
	refused.headers["X-RateLimit-Limit"], refused.headers["X-RateLimit-Remaining"] = strconv.Itoa(l.most), "0"
	refused.headers["X-RateLimit-Reset"] = strconv.FormatInt(reset.Add(time.Second-1).Unix(), 10)
	refused.headers["Retry-After"] = strconv.FormatInt(int64((reset.Sub(now)+time.Second-1)/time.Second), 10)
	return &refused
}
