// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

func TestDecideWhileSuspended(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		given func(*inputs)
		want  renewal.Decision
	}{
		"nothing is due": {
			given: func(*inputs) {},
			want:  renewal.Decision{Action: renewal.Rest},
		},
		"nothing was looked at yet": {
			given: func(s *inputs) { s.facts.Check = renewal.Unchecked },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"nothing was looked at yet, and the token has expired": {
			given: func(s *inputs) { s.facts.Check, s.facts.Record.ExpirationTime = renewal.Unchecked, now },
			want:  renewal.Decision{Action: renewal.Read},
		},
		"a token waits to be written": {
			given: func(s *inputs) { s.facts.Target, s.facts.Record, s.facts.HasPending = renewal.Absent, nil, true },
			want:  renewal.Decision{Action: renewal.Rest, Why: renewal.Missing},
		},
		"verification is due": {
			given: func(s *inputs) { s.desired.VerifyEvery = time.Minute },
			want:  renewal.Decision{Action: renewal.Rest},
		},
		"the spec has changed, so that the token is to be verified now": {
			given: func(s *inputs) { s.desired.VerifyEvery, s.facts.VerifyNow = day, true },
			want:  renewal.Decision{Action: renewal.Rest},
		},
		"the Secret is not as the spec asks": {
			given: func(s *inputs) { s.facts.Check = renewal.Drifted },
			want:  renewal.Decision{Action: renewal.Rest},
		},
		"a foreign Secret stands in the way": {
			given: func(s *inputs) { s.facts.Target, s.facts.Record = renewal.Foreign, nil },
			want:  renewal.Decision{Action: renewal.Rest, Why: renewal.NotOwned},
		},
		"the target is about to be removed": {
			given: func(s *inputs) { s.facts.Target, s.facts.CollectedBy = renewal.Terminating, later },
			want:  renewal.Decision{Action: renewal.Rest, Why: renewal.Missing, Until: later},
		},
		"there are no credentials": {
			given: func(s *inputs) { s.facts.HasCredentials = false },
			want:  renewal.Decision{Action: renewal.Rest},
		},
		"the last attempt has failed": {
			given: func(s *inputs) { s.desired.RenewRequest, s.facts.NotBefore = "2", later },
			want:  renewal.Decision{Action: renewal.Rest, Why: renewal.Requested},
		},
		"the templates are broken": {
			given: func(s *inputs) { s.facts.TemplateInvalid = true },
			want:  renewal.Decision{Action: renewal.Rest},
		},
	}
	for _, due := range dues {
		tests["a token is due: "+string(due.why)] = struct {
			given func(*inputs)
			want  renewal.Decision
		}{due.make, renewal.Decision{Action: renewal.Rest, Why: due.why}}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := nothingDue()
			s.desired.Suspended = true
			test.given(s)
			decision := s.decide()
			if diff := cmp.Diff(test.want, decision); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
			// Nothing keeps it awake: verification, above all, does not.
			if got := renewal.Sleep(s.desired, s.facts, decision, now); got < 3*time.Minute {
				t.Errorf("it sleeps %s only", got)
			}
			if renewal.VerificationDue(s.desired, s.facts, now) {
				t.Error("verification is due")
			}
		})
	}
}

func TestASuspendedTokenExpiresAtItsSecond(t *testing.T) {
	t.Parallel()
	s := nothingDue()
	s.desired.Suspended = true
	at := expires.Add(-2 * time.Minute)
	decision := renewal.Decide(s.desired, s.facts, at)
	if got := renewal.Sleep(s.desired, s.facts, decision, at); got != 2*time.Minute {
		t.Errorf("it sleeps %s, want to wake when the token expires", got)
	}
	if got := renewal.CurrentToken(s.desired, s.facts, expires); got != renewal.StateExpired {
		t.Errorf("the token is %s at its expiry", got)
	}
}
