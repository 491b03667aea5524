// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// The accounts of the tests: one that is read with an API key, and one whose app refuses a token as soon as there is a
// newer one.
const keyed, rotating = 4, 43

func TestAccountsWithAPIKeysAreOfEachKind(t *testing.T) {
	t.Parallel()
	namespaces, refreshed, count := map[string]bool{}, map[string]bool{}, 0
	for key := range keyCount {
		for _, i := range keyedBy(key) {
			spec := newAccount(i).Spec
			if spec.APIKeyRef.Name != keySecretName(key) || spec.ClientSecretRef.Name != "" || spec.AccountID != connectedID(i, 1) {
				t.Errorf("account %d is not read with API key %d by its ID: %+v", i, key, spec)
			}
			namespaces[namespaceOf(i)], refreshed[refreshingOf(i).refresh] = true, true
			count++
		}
	}
	if count < accountCount/10 || len(namespaces) != namespaceCount {
		t.Errorf("%d accounts in %d namespaces are read with API keys", count, len(namespaces))
	}
	for _, way := range append(slices.Clone(refreshings), rotatingRefreshing) {
		if !refreshed[way.refresh] {
			t.Errorf("no account that is refreshed like %q is read with an API key", way.refresh)
		}
	}
}

func TestAKeyIsReplacedForAllOfItsAccounts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		for _, a := range plan(seed, 10*time.Minute) {
			if a.kind == keyReplaced && !slices.Equal(a.objects, keyedBy(a.client)) {
				t.Errorf("seed %d: %v is not about the accounts %v", seed, a, keyedBy(a.client))
			}
		}
	}
}

func TestSnapshotsOfAccountsWithAPIKeysAreEvaluated(t *testing.T) {
	t.Parallel()
	expires := at(500)
	rejected := seenAccount(accepted, expires, v1alpha1.ReasonCredentialsValid, v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonCredentialsRejected)
	revokedAt := func(second int) func(*accountEvaluator) {
		return func(e *accountEvaluator) {
			e.promises.begin(ofAccount, keyed, at(second))
			e.sicken(keyed, locked, time.Time{}, at(second))
		}
	}
	replacedAt := func(second int) func(*accountEvaluator) {
		return func(e *accountEvaluator) {
			disturbed := e.promises.begin(ofAccount, keyed, at(0))
			e.sicken(keyed, locked, time.Time{}, at(0))
			e.keyReplaced(keyed, at(second))
			e.promises.end(disturbed, at(second))
		}
	}
	tests := map[string]struct {
		object   int
		snapshot accountSnapshot
		before   func(*accountEvaluator)
		want     map[invariant]int
	}{
		"revoked, and the status says so":    {snapshot: rejected, before: revokedAt(-100)},
		"revoked, and nobody was told":       {snapshot: goodAccount(accepted, expires), before: revokedAt(-100), want: map[invariant]int{trueStatus: 2}},
		"revoked since a moment":             {snapshot: goodAccount(accepted, expires), before: revokedAt(95)},
		"revoked, and fetches fail":          {snapshot: goodAccount(accepted, expires), before: func(e *accountEvaluator) { revokedAt(-100)(e); e.promises.touch(ofAccounts, 0, at(90)) }},
		"revoked, somebody asked for a look": {snapshot: goodAccount(accepted, expires), before: func(e *accountEvaluator) { revokedAt(80)(e); e.sicken(keyed, locked, at(80), at(80)) }, want: map[invariant]int{trueStatus: 2}},
		"replaced, and used":                 {snapshot: goodAccount(accepted, expires), before: replacedAt(20)},
		"replaced, and not used":             {snapshot: rejected, before: replacedAt(20), want: map[invariant]int{trueStatus: 1}},
		"replaced, and not used at once":     {snapshot: rejected, before: replacedAt(94 - int(keyDelay/time.Second)), want: map[invariant]int{trueStatus: 1}},
		"replaced a moment ago":              {snapshot: rejected, before: replacedAt(96)},
		"replaced, and fetches fail":         {snapshot: rejected, before: func(e *accountEvaluator) { replacedAt(20)(e); e.promises.touch(ofAccounts, 0, at(90)) }},
		"replaced, and the old ones expired": {snapshot: seenAccount(refused, at(90), v1alpha1.ReasonCredentialsExpired, v1alpha1.ReasonCredentialsRejected), before: replacedAt(20), want: map[invariant]int{liveToken: 1, trueStatus: 1}},
		"an OAuth client excuses nothing": {snapshot: seenAccount(refused, at(90), v1alpha1.ReasonCredentialsExpired, v1alpha1.ReasonAccountFetched), before: func(e *accountEvaluator) {
			for reader := range readerCount {
				e.promises.touch(ofReader, reader, at(90))
			}
		}, want: map[invariant]int{liveToken: 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReporter(io.Discard)
			e := newAccountEvaluator(&promises{}, newFetchBudget(r), r)
			if test.before != nil {
				test.before(e)
			}
			for second := 100; second <= 110; second++ {
				e.evaluate(keyed, test.snapshot, at(second))
			}
			want := test.want
			if want == nil {
				want = map[invariant]int{}
			}
			if diff := cmp.Diff(want, r.breaches); diff != "" {
				t.Errorf("breaches (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARotatingAppMayRefuseUntilTheOperatorHasLooked(t *testing.T) {
	t.Parallel()
	r := newReporter(io.Discard)
	e := newAccountEvaluator(&promises{}, newFetchBudget(r), r)
	replaced := seenAccount(refused, at(400), v1alpha1.ReasonCredentialsExpired, v1alpha1.ReasonAccountFetched)
	lapse := int(rotatingLapse / time.Second)
	for second := range lapse + 1 {
		e.evaluate(rotating, replaced, at(100+second))
	}
	if len(r.breaches) != 0 {
		t.Errorf("breaches after %v: %v", rotatingLapse, r.breaches)
	}
	e.evaluate(rotating, replaced, at(100+lapse+1))
	if diff := cmp.Diff(map[invariant]int{liveToken: 1}, r.breaches); diff != "" {
		t.Errorf("breaches after more than %v (-want +got):\n%s", rotatingLapse, diff)
	}
}

func TestFaultsOfFetchesAffectAPIKeysUnlessTheyAreOfAnOAuthClient(t *testing.T) {
	t.Parallel()
	for k := range accountFaults {
		callers := map[any]bool{}
		for _, fault := range accountFaultsOf(action{kind: k}) {
			if fault["endpoint"] == simulator.EndpointRESTAccount {
				callers[fault["client_id"]] = true
			}
		}
		want := keyCount
		if k == bearersRefused {
			want = 0
		}
		if len(callers) != want {
			t.Errorf("%s: affects the API keys of %v, want of %d users", k, callers, want)
		}
	}
}
