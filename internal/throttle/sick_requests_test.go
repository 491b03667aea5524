// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// Token requests that always get a 500 must not make an outage for others, again and again.
func TestSickTokenRequestsDoNotStopOthers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ clients, scopes int }{
		"five clients":               {5, 1},
		"100 clients":                {100, 1},
		"one client with 100 scopes": {1, 100},
		"2,000 clients":              {2000, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			served := func(isSick bool) (good int) {
				l := newLimiter(t, throttle.Options{PerSecond: 5, Burst: 10, InFlight: 4})
				type asker struct {
					requester throttle.Requester
					client    string
					scopes    []string
					notBefore time.Time
					wait      time.Duration
				}
				var all []*asker
				if isSick {
					for c := range test.clients {
						for s := range test.scopes {
							for i := range max(1, 20/test.clients) {
								all = append(all, &asker{inGroup(fmt.Sprintf("sick-%d", c), fmt.Sprint(s, "-", i)), fmt.Sprintf("sick-%d", c), []string{fmt.Sprintf("s%d", s)}, time.Time{}, time.Second})
							}
						}
					}
				}
				for i := range 1000 {
					all = append(all, &asker{requester: inGroup("good", fmt.Sprint(i)), client: "good"})
				}
				for ; l.now.Before(second.Add(5 * time.Minute)); l.now = l.now.Add(200 * time.Millisecond) {
					for _, a := range all {
						if l.now.Before(a.notBefore) {
							continue
						}
						lane := throttle.DueRenewal
						if a.client != "good" {
							lane = throttle.FirstToken
						}
						if !l.Reserve(a.requester, throttle.ReserveOptions{Lane: lane, CredentialReference: a.client, Scopes: a.scopes}).IsReady {
							continue
						}
						_ = l.Do(a.requester, throttle.DoOptions{Credentials: client(a.client), Scopes: a.scopes}, func() error {
							if a.client != "good" {
								a.notBefore, a.wait = l.now.Add(a.wait), min(2*a.wait, 30*time.Second)
								return errServer
							}
							a.notBefore = l.now.Add(40 * time.Minute)
							good++
							return nil
						})
					}
				}
				return good
			}
			alone := served(false)
			beside := served(true)
			t.Logf("in five minutes, %d good requests alone, and %d beside the sick ones", alone, beside)
			if beside < alone/3 {
				t.Errorf("the sick requests leave %d of %d good ones to the others", beside, alone)
			}
		})
	}
}
