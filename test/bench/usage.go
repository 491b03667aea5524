// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"
)

// usage is what a manager has used, and asked for.
type usage struct {
	cpu time.Duration
	// exchanges counts the exchanges with the OAuth clients of a fleet, whoever made them, and refused counts
	// the refused ones among them. fetches counts all requests for one account.
	exchanges, refused, fetches int
	// memory and peak are in MiB.
	memory, peak float64
	// requests are those since usage was last looked at.
	requests requests
}

// use returns what was used until now. Without a manager, only what was asked for.
func (b *bench) use(ctx context.Context, m *manager, f *fleet) (used usage, err error) {
	calls, callsErr := b.pipedream.calls(ctx, f.clients)
	requests, requestsErr := b.audit.take()
	used.exchanges, used.refused, used.fetches = calls.exchanges.Total, calls.exchanges.Refused, calls.fetches.Total
	used.requests = requests
	if err := errors.Join(callsErr, requestsErr); err != nil || m == nil {
		return used, err
	}
	var cpuErr, memoryErr, peakErr error
	used.cpu, cpuErr = m.cpu()
	used.memory, memoryErr = m.memory(resident)
	used.peak, peakErr = m.memory(peakResident)
	return used, errors.Join(cpuErr, memoryErr, peakErr)
}

// useSince returns what was used since.
func (b *bench) useSince(ctx context.Context, m *manager, f *fleet, before usage) (used usage, err error) {
	used, err = b.use(ctx, m, f)
	used.cpu -= before.cpu
	used.exchanges -= before.exchanges
	used.refused -= before.refused
	used.fetches -= before.fetches
	return used, err
}

// cpuPer returns the CPU time in milliseconds per so many.
func (u *usage) cpuPer(count float64) float64 { return u.cpu.Seconds() * 1000 / count }
