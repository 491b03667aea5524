// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// FuzzLimiter makes one call of a limiter for each byte. Whatever the calls are, the limiter
// is consistent, keeps its pauses and limits, and lets all requests be sent in the end.
func FuzzLimiter(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	f.Add([]byte{0, 1, 2, 3, 4, 5, 64, 65, 66, 67, 200, 201, 128, 129, 130, 255, 254, 253, 250, 64, 65, 7, 15, 23})
	f.Add([]byte("\x00\x40\x41\x42\x80\x81\x82\x83\xc0\xc1\xc2\xd0\xd8\xe0\xe8\xf0\xf8\x00\x40\x80"))
	f.Fuzz(func(t *testing.T, calls []byte) {
		l := newLimiter(t, throttle.Options{PerSecond: 2, Burst: 3, InFlight: 2})
		outcomes := []error{nil, errScope, errUnavailable, errRefused, errTooMany, nil, errUnavailable, errRefused}
		var flights []*flight
		for _, call := range calls[:min(len(calls), 1000)] {
			name, kind := fmt.Sprint(call%8), call>>3%8
			ticket := l.Reserve(shop(name), throttle.ReserveOptions{
				Lane: throttle.Lane(kind % 4), Expiry: l.now.Add(time.Duration(call%5-2) * time.Minute),
				CredentialReference: []string{"", "a", "b"}[call%3], Scopes: []string{"x", "y"}[:call%3],
			})
			if left := ticket.PausedUntil.Sub(l.now); !ticket.PausedUntil.IsZero() && (left <= 0 || left > 15*time.Minute) {
				t.Errorf("there is a pause for another %s", left)
			}
			switch call >> 6 {
			case 0:
				_ = l.send(name, client(fmt.Sprint(call%3)), kind > 4, outcomes[kind])
			case 1:
				// Only an attempt shows whether the request is sent.
				if ticket.IsReady && len(flights) < 2 {
					if f := l.tryStart(name, client(fmt.Sprint(call%3))); f != nil {
						flights = append(flights, f)
					}
				} else if len(flights) > 0 {
					_ = flights[0].end(outcomes[kind])
					flights = flights[1:]
				}
			case 2:
				l.now = l.now.Add(time.Duration(kind*kind*kind) * time.Second / 4)
				l.ready.Next()
			case 3:
				switch kind {
				case 0:
					l.now = l.now.Add(-time.Hour)
				case 1:
					l.now = l.now.Add(time.Hour)
				case 2:
					l.Pause(l.now.Add(time.Minute))
				default:
					l.Cancel(shop(name))
				}
			}
			l.check()
		}
		for _, f := range flights {
			_ = f.end(nil)
		}
		for range 40 {
			for i := range 8 {
				if name := fmt.Sprint(i); l.hasTurn(shop(name)) {
					_ = l.send(name, client("good"), false, nil)
					l.Cancel(shop(name))
				}
			}
			l.now = l.now.Add(time.Minute)
		}
		for i := range 8 {
			l.Cancel(shop(fmt.Sprint(i)))
		}
		for range 60 {
			l.now = l.now.Add(time.Minute)
			_ = l.try("last", nil, nil)
		}
		l.wantPass("last")
		if l.Tickets() != 0 || l.InFlight() != 0 {
			t.Errorf("%d have a ticket, and %d requests are on their way, want none", l.Tickets(), l.InFlight())
		}
	})
}
