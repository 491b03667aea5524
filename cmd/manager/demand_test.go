// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

// TestAHighDemandIsLogged runs a manager with a token and an account, and then another manager whose rates are too
// low for them.
func TestAHighDemandIsLogged(t *testing.T) {
	s := newSite(t)
	s.register("orders", goodSecret)
	s.create("orders")
	s.register("connected", goodSecret)
	s.connect("connected")
	s.createAccount("connected")
	s.start()
	s.awaitRight("orders")
	s.awaitFetched("connected", "")
	s.manager.stop(t)

	s.manager = startManager(t, append(s.arguments(), "--token-requests-per-second=0.0001", "--account-requests-per-second=0.0001")...)
	for _, text := range []string{
		"the demand for tokens passes 80 % of the rate", "the demand for looks at the accounts of a project passes 80 % of the rate",
	} {
		if _, err := s.manager.AwaitLine(t.Context(), patience, text); err != nil {
			t.Error(err)
		}
	}
	s.manager.stop(t)
}
