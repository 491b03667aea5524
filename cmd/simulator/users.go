// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"strings"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// userFlags are the values of the flags about users and their API keys.
type userFlags struct {
	users []string
	limit string
}

// addUserFlags adds the flags about users and their API keys.
func addUserFlags(flags *flag.FlagSet) *userFlags {
	f := &userFlags{}
	flags.Func("user", "user of Pipedream as `id=JSON`, with the JSON of PUT /_sim/users/{id}; repeat it for more", func(user string) error {
		f.users = append(f.users, user) // parsed later, because an error of package flag would repeat the API key
		return nil
	})
	flags.StringVar(&f.limit, "key-limit", "0", "the calls with the API keys of each user, as `calls/window` like 600/1m; 0 for no limit")
	return f
}

// apply tells the simulator what the flags say. Its errors do not quote a user, because the API key is a secret.
func (f *userFlags) apply(to *simulator.Users) error {
	calls, window, err := parseLimit(f.limit)
	if err == nil {
		err = to.SetLimit(calls, window)
	}
	if err != nil {
		return fmt.Errorf("--key-limit: %w", err)
	}
	for i, one := range f.users {
		id, text, _ := strings.Cut(one, "=")
		user, err := simulator.ParseUser(text)
		if err == nil {
			err = to.Set(id, user)
		}
		if err != nil {
			return fmt.Errorf("--user number %d must be id=JSON: %w", i+1, err)
		}
	}
	return nil
}
