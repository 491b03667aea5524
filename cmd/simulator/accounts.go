// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// accountFlags are the values of the flags about connected accounts.
type accountFlags struct {
	accounts []string
	answers  map[string]string
	limit    string
}

// addAccountFlags adds the flags about connected accounts.
func addAccountFlags(flags *flag.FlagSet) *accountFlags {
	f := &accountFlags{answers: map[string]string{}}
	flags.Func("account", "connected account as `id=JSON`, with the JSON of PUT /_sim/accounts/{id}; repeat it for more", func(account string) error {
		f.accounts = append(f.accounts, account) // parsed later, because an error of package flag would repeat its fields
		return nil
	})
	flags.Func("account-answer", "how to answer for accounts where Pipedream's documentation says nothing, as `name=value`; repeat it for more", func(answer string) error {
		name, value, _ := strings.Cut(answer, "=")
		f.answers[name] = value
		return nil
	})
	flags.StringVar(&f.limit, "account-limit", "0", "the calls for accounts of each project, as `calls/window` like 2000/5m; 0 for no limit")
	return f
}

// apply tells the simulator what the flags say. Its errors do not quote an account, because the fields of
// its credentials may be secrets.
func (f *accountFlags) apply(to *simulator.Accounts) error {
	if err := to.SetAnswers(f.answers); err != nil {
		return fmt.Errorf("--account-answer: %w", err)
	}
	calls, window, err := parseLimit(f.limit)
	if err == nil {
		err = to.SetLimit(calls, window)
	}
	if err != nil {
		return fmt.Errorf("--account-limit: %w", err)
	}
	for i, one := range f.accounts {
		id, text, _ := strings.Cut(one, "=")
		account, err := simulator.ParseAccount(text)
		if err == nil {
			err = to.Set(id, account)
		}
		if err != nil {
			return fmt.Errorf("--account number %d must be id=JSON: %w", i+1, err)
		}
	}
	return nil
}

func parseLimit(text string) (calls int, window time.Duration, err error) {
	count, length, hasWindow := strings.Cut(text, "/")
	calls, err = strconv.Atoi(count)
	if err == nil && hasWindow {
		window, err = time.ParseDuration(length)
	}
	if err != nil {
		return 0, 0, errors.New("must be like 2000/5m, or 0 for no limit")
	}
	return calls, window, nil
}
