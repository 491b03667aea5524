// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

// Verifications have no client credentials. Projects that always get a 500 must not make an outage of
// them for the projects that get good answers.
func TestSickProjectsDoNotStopTheVerificationsOfOthers(t *testing.T) {
	t.Parallel()
	served := func(sickGroups int) (good int) {
		l := newLimiter(t, throttle.Options{PerSecond: 5, Burst: 10, InFlight: 2})
		var all []throttle.Requester
		for g := range sickGroups {
			for i := range 20 {
				all = append(all, inGroup(fmt.Sprintf("sick-%d", g), fmt.Sprint(i)))
			}
		}
		for i := range 200 {
			all = append(all, inGroup("good", fmt.Sprint(i)))
		}
		for ; l.now.Before(second.Add(2 * time.Minute)); l.now = l.now.Add(100 * time.Millisecond) {
			for _, r := range all {
				if !l.Reserve(r, throttle.ReserveOptions{Lane: throttle.DueRenewal}).IsReady {
					continue
				}
				_ = l.Do(r, throttle.DoOptions{}, func() error {
					if r.Group != "good" {
						return errServer
					}
					good++
					return nil
				})
			}
		}
		return good
	}
	alone, beside := served(0), served(5)
	t.Logf("in two minutes, %d good verifications alone, and %d beside five sick projects", alone, beside)
	if beside < alone/12 {
		t.Errorf("five sick projects leave %d of %d verifications to the others; by turns it would be %d", beside, alone, alone/6)
	}
}
