// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
)

// afterFirst does something after the first answer about an account.
type afterFirst struct {
	PipedreamAPI
	once *sync.Once
	then func()
}

func (a afterFirst) Account(ctx context.Context, token pipedream.Sensitive, query pipedream.AccountQuery) (pipedream.Account, error) {
	defer a.once.Do(a.then)
	return a.PipedreamAPI.Account(ctx, token, query)
}

// TestAnOlderAnswerDoesNotReplaceANewerOne has another operator, such as the new leader, write newer credentials
// while the answer of this one is on its way to the Secret.
func TestAnOlderAnswerDoesNotReplaceANewerOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	old := w.reconciler
	w.restart()
	w.reconcile()
	next := w.reconciler
	w.reconciler = old
	must(t, w.pipedream.Accounts.Refresh(accountID))
	w.pass(15 * time.Minute)
	before, newest := string(w.target().Data["oauth_access_token"]), ""
	old.Pipedream = afterFirst{w.api, &sync.Once{}, func() {
		w.pass(time.Second)
		must(t, w.pipedream.Accounts.Refresh(accountID))
		_, err := next.Reconcile(t.Context(), ctrl.Request{NamespacedName: w.key("slack")})
		must(t, err)
		if newest = string(w.target().Data["oauth_access_token"]); newest == before {
			t.Error("the other operator has written nothing")
		}
	}}

	_, _ = w.tryReconcile()

	if got := string(w.target().Data["oauth_access_token"]); got != newest {
		t.Error("the Secret holds the credentials of an answer that is older than the answer that was written before")
	}
	fetches := w.fetches()
	w.live(time.Minute)
	w.wantFetches(fetches)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	if got := w.target(); string(got.Data["oauth_access_token"]) != newest || !w.accepted() {
		t.Error("the Secret does not hold the newest credentials any longer")
	}
	if got, want := w.account().Status, w.target(); got.Secret.ResourceVersion != want.ResourceVersion || show(got.FetchTime) != want.Annotations[v1alpha1.FetchedAtAnnotation] {
		t.Errorf("the status is %+v, and the Secret has the annotations %v", got, want.Annotations)
	}
}

// TestANewerAnswerIsWrittenAfterAConflict has somebody change a label of the Secret while the answer is on its way.
func TestANewerAnswerIsWrittenAfterAConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(eachTenMinutes)
	must(t, w.pipedream.Accounts.Refresh(accountID))
	w.pass(15 * time.Minute)
	w.reconciler.Pipedream = afterFirst{w.api, &sync.Once{}, func() {
		change(w, w.target(), func(s *corev1.Secret) { s.Labels = map[string]string{"backup": "yes"} })
	}}
	w.reconcile()
	if !w.accepted() || w.target().Labels["backup"] != "yes" {
		t.Errorf("the app accepts the access token in the Secret: %v; its labels are %v", w.accepted(), w.target().Labels)
	}
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

func TestWhichOfTwoRecordsIsOlder(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	recordOf := func(fetched, expires time.Duration) *record {
		r := &record{Record: refresh.Record{FetchTime: now.Add(fetched)}}
		if expires != 0 {
			r.ExpirationTime = now.Add(expires)
		}
		return r
	}
	for name, test := range map[string]struct {
		r, other *record
		want     bool
	}{
		"there is no other":                       {recordOf(0, time.Hour), nil, false},
		"it was fetched before":                   {recordOf(-time.Second, time.Hour), recordOf(0, time.Hour), true},
		"it was fetched after":                    {recordOf(0, time.Hour), recordOf(-time.Second, 2*time.Hour), false},
		"it expires before":                       {recordOf(0, time.Hour), recordOf(0, 2*time.Hour), true},
		"it expires after":                        {recordOf(0, 2*time.Hour), recordOf(0, time.Hour), false},
		"they expire together":                    {recordOf(0, time.Hour), recordOf(0, time.Hour), false},
		"it does not expire":                      {recordOf(0, 0), recordOf(0, time.Hour), false},
		"the clock of the other was far ahead":    {recordOf(0, time.Hour), recordOf(10*time.Minute, time.Hour), false},
		"the clock of the other was a bit faster": {recordOf(0, time.Hour), recordOf(time.Minute, time.Hour), true},
	} {
		if got := test.r.isOlderThan(test.other, now); got != test.want {
			t.Errorf("%s: it is older: %v, want %v", name, got, test.want)
		}
	}
}
