// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// TestSickRequestsOfOneNamespaceDoNotStopAnother has the requests of one namespace about a project always fail, in one
// way, and the ones of another namespace about the same project always be answered.
func TestSickRequestsOfOneNamespaceDoNotStopAnother(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]error{"server errors": errServer, "no answer": errUnavailable, "refused requests": errRejected} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProjects(t, throttle.ProjectsOptions{})
			due := map[throttle.Requester]time.Time{}
			add := func(group string, count int) {
				for i := range count {
					due[throttle.Requester{Kind: "PipedreamAccount", Group: group, Name: fmt.Sprint(i)}] = p.now
				}
			}
			add("sick", 200)
			add("fine", 20)
			sent := map[string]int{}
			for began := p.now; p.now.Sub(began) < 5*time.Minute; p.now = p.now.Add(100 * time.Millisecond) {
				woken, _ := p.ready.Next()
				for requester, at := range due {
					if at.Equal(p.now) {
						woken = append(woken, requester)
					}
				}
				for _, requester := range woken {
					answer, pause := result, time.Second
					if requester.Group == "fine" {
						answer, pause = nil, 30*time.Second
					}
					if p.try("proj_a", requester, answer) {
						sent[requester.Group]++
						due[requester] = p.now.Add(pause)
					}
				}
			}
			t.Logf("sent: %v", sent)
			// Each of the 20 is due each 30 seconds: 200 in five minutes.
			wantBetween(t, "the namespace whose requests are answered", sent["fine"], 170, 220)
		})
	}
}
