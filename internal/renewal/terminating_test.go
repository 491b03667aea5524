// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// terminatings are the ways in which a token is on its way out.
var terminatings = map[string]func(*inputs){
	"the Secret is being deleted":      func(s *inputs) { s.facts.Target = renewal.Terminating },
	"the owner is being deleted":       func(s *inputs) { s.facts.OwnerTerminating = true },
	"both are being deleted":           func(s *inputs) { s.facts.Target, s.facts.OwnerTerminating = renewal.Terminating, true },
	"the owner's Secret is somebody's": func(s *inputs) { s.facts.Target, s.facts.Record, s.facts.OwnerTerminating = renewal.Foreign, nil, true },
	"the owner's Secret is gone":       func(s *inputs) { s.facts.Target, s.facts.Record, s.facts.OwnerTerminating = renewal.Absent, nil, true },
	"the owner has a predecessor's": func(s *inputs) {
		s.facts.Target, s.facts.Record, s.facts.CollectedBy, s.facts.OwnerTerminating = renewal.Terminating, nil, later, true
	},
	"the Secret has no readable record": func(s *inputs) { s.facts.Target, s.facts.Record = renewal.Terminating, nil },
}

// TestNothingIsAskedForOrWrittenOnTheWayOut combines each way out with everything that makes a token due,
// and with everything that makes a write due.
func TestNothingIsAskedForOrWrittenOnTheWayOut(t *testing.T) {
	t.Parallel()
	wishes := map[string]func(*inputs){
		"all is well":                 func(*inputs) {},
		"a token waits to be stored":  func(s *inputs) { s.facts.HasPending = true },
		"the Secret has drifted":      func(s *inputs) { s.facts.Check = renewal.Drifted },
		"there are no credentials":    func(s *inputs) { s.facts.HasCredentials = false },
		"the last attempt failed":     func(s *inputs) { s.facts.NotBefore = later },
		"the templates are invalid":   func(s *inputs) { s.facts.TemplateInvalid = true },
		"the Secret has another type": func(s *inputs) { s.facts.OtherType = true },
	}
	for _, due := range dues {
		if due.why != renewal.Missing { // There would be no Secret that is being deleted.
			wishes[string(due.why)] = func(s *inputs) {
				if s.facts.Record != nil {
					due.make(s)
				}
			}
		}
	}
	for way, leave := range terminatings {
		for wish, make := range wishes {
			t.Run(way+", "+wish, func(t *testing.T) {
				t.Parallel()
				s := nothingDue()
				leave(s)
				make(s)
				if diff := cmp.Diff(renewal.Decision{Action: renewal.Blocked, Why: renewal.BeingDeleted}, s.decide()); diff != "" {
					t.Errorf("Decide (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestWorthOfATokenOnTheWayOutIsFoundOut(t *testing.T) {
	t.Parallel()
	blocked := renewal.Decision{Action: renewal.Blocked, Why: renewal.BeingDeleted}
	verify := func(s *inputs) { s.desired.VerifyEvery, s.facts.LastVerified = time.Minute, now.Add(-2*time.Minute) }
	tests := map[string]struct {
		given func(*inputs)
		want  renewal.Decision
	}{
		"a Secret that has changed is read": {
			given: func(s *inputs) { s.facts.Target, s.facts.Check = renewal.Terminating, renewal.Unchecked },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"a Secret that has changed is read for an owner that is being deleted": {
			given: func(s *inputs) { s.facts.OwnerTerminating, s.facts.Check = true, renewal.Unchecked },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"a Secret without a record is not read": {
			given: func(s *inputs) {
				s.facts.Target, s.facts.Check, s.facts.Record = renewal.Terminating, renewal.Unchecked, nil
			},
			want: blocked,
		},
		"the token of a Secret that is being deleted is verified": {
			given: func(s *inputs) { s.facts.Target = renewal.Terminating; verify(s) },
			want:  renewal.Decision{Action: renewal.Verify},
		},
		"the expired token of a Secret that is being deleted is not verified": {
			given: func(s *inputs) {
				s.facts.Target, s.facts.Record.ExpirationTime = renewal.Terminating, now
				verify(s)
			},
			want: blocked,
		},
		"the token of an owner that is being deleted is not verified": {
			given: func(s *inputs) { s.facts.OwnerTerminating = true; verify(s) },
			want:  blocked,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			test.given(s)
			if diff := cmp.Diff(test.want, s.decide()); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSleepOnTheWayOut checks that a token that is due for verification, and is not verified any longer,
// does not keep the operator busy, and that the expiry is not slept over.
func TestSleepOnTheWayOut(t *testing.T) {
	t.Parallel()
	for way, leave := range terminatings {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			leave(s)
			if s.facts.OwnerTerminating {
				s.desired.VerifyEvery, s.facts.LastVerified = time.Minute, now.Add(-2*time.Minute)
			}
			want := 5 * time.Minute
			if s.facts.Record != nil {
				s.facts.Record.ExpirationTime, want = now.Add(20*time.Second), 20*time.Second
			}
			if got := renewal.Sleep(s.desired, s.facts, s.decide(), now); got != want {
				t.Errorf("Sleep = %s, want %s", got, want)
			}
		})
	}
}
