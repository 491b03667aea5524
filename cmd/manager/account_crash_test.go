// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// callAccount is a request for the account of a PipedreamAccount.
const callAccount = "GET /v1/connect/" + connectedProject + "/accounts/apn_$"

// accountCrash is a moment to kill a manager at that works for a PipedreamAccount, and what the world is like
// then. It is like a crash; but fetches, which says how often the operator has fetched the account, is in the place of
// exchanges.
type accountCrash struct {
	call             string
	at               moment
	fetches          int
	stored, reported bool
}

func (c accountCrash) crash() crash { return crash{call: c.call, at: c.at} }

// accountTask is what a manager is about to do for a PipedreamAccount when it is killed. It is like a task. A manager
// that nobody kills fetches the account once.
type accountTask struct {
	prepare, provoke func(s *site, name string)
	crashes          []accountCrash
}

// accountTasks are all things that a manager does in more than one step.
var accountTasks = map[string]accountTask{
	"first fetch": {
		prepare: func(s *site, name string) {
			s.register(name, goodSecret)
			s.connect(name)
		},
		provoke: (*site).createAccount,
		crashes: []accountCrash{
			{call: "GET secrets/$-client", at: before},
			{call: "GET secrets/$-client", at: unanswered},
			{call: callExchange, at: before},
			{call: callExchange, at: unanswered},
			{call: callExchange, at: answered},
			{call: callAccount, at: before},
			{call: callAccount, at: unanswered, fetches: 1},
			{call: callAccount, at: answered, fetches: 1},
			{call: "POST secrets", at: before, fetches: 1},
			{call: "POST secrets", at: unanswered, fetches: 1, stored: true},
			{call: "PATCH pipedreamaccounts/$/status", at: before, fetches: 1, stored: true},
			{call: "PATCH pipedreamaccounts/$/status", at: unanswered, fetches: 1, stored: true, reported: true},
			{call: "POST events/$", at: before, fetches: 1, stored: true, reported: true},
		},
	},
	"new credentials": {
		prepare: func(s *site, name string) {
			s.register(name, goodSecret)
			s.connect(name)
			s.createAccount(name)
			s.awaitAccountRight(name)
		},
		provoke: func(s *site, name string) {
			harness.Must(s.T, s.pipedream.Accounts.Refresh("apn_"+name))
			s.requestLook(name)
		},
		crashes: []accountCrash{
			{call: callAccount, at: before},
			{call: callAccount, at: unanswered, fetches: 1},
			{call: callAccount, at: answered, fetches: 1},
			{call: "PUT secrets/$-credentials", at: before, fetches: 1},
			{call: "PUT secrets/$-credentials", at: unanswered, fetches: 1, stored: true},
			{call: "PATCH pipedreamaccounts/$/status", at: before, fetches: 1, stored: true},
			{call: "PATCH pipedreamaccounts/$/status", at: unanswered, fetches: 1, stored: true, reported: true},
		},
	},
}

// TestManagerKilledOverAnAccount kills the manager at each step of what it does for a PipedreamAccount. The next
// one is to finish what was begun: with at most one request for the account more than it would have taken, and
// none when the credentials were stored; with one report, and none when all was reported.
func TestManagerKilledOverAnAccount(t *testing.T) {
	for doing, task := range accountTasks {
		t.Run(doing, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.start()
			for i := range task.crashes {
				task.prepare(s, fmt.Sprintf("slack-%d", i))
			}
			for i, point := range task.crashes {
				s.owner.Run(point.crash().String(), func(t *testing.T) {
					s.T = t
					if s.manager.HasEnded() {
						s.start()
					}
					s.surviveWithAccount(fmt.Sprintf("slack-%d", i), task, point)
				})
			}
		})
	}
}

func (s *site) surviveWithAccount(name string, task accountTask, point accountCrash) {
	s.Helper()
	target := name + "-credentials"
	fetches, version := s.fetches(name), s.versionOf(target)
	s.crash(name, point.crash(), task.provoke)
	made, most := s.fetches(name)-fetches, point.fetches
	if point.at == answered { // The manager may have come further before it was dead.
		most = 1
	}
	if made < point.fetches || made > most {
		s.Errorf("the account was fetched %d times before the crash, want %d", made, point.fetches)
	}
	stored, reported := s.versionOf(target) != version, s.wrongAccount(name) == ""
	if point.at != answered && (stored != point.stored || reported != point.reported) {
		s.Errorf("after the crash, the Secret is written: %v, the status right: %v; want %v, %v", stored, reported, point.stored, point.reported)
	}

	s.restartForAccounts()
	s.awaitAccountRight(name)
	fetches += made
	want := map[string]int{}
	if !stored {
		fetches++
		want["Secret"] = 1
	}
	if !reported {
		want["status"] = 1
	}
	s.wantAccountWritten(name, fetches, want)

	// Now it reads the Secret. It finds the record as it was written, and says so.
	secret := &corev1.Secret{}
	harness.Must(s.T, s.admin.Get(s.Context(), s.key(target), secret))
	change(s, secret, func(secret *corev1.Secret) { secret.Labels = map[string]string{"touched": "yes"} })
	s.awaitAccountRight(name)
	want["status"]++
	s.wantAccountWritten(name, fetches, want)
}

// restartForAccounts is restart for PipedreamAccounts.
func (s *site) restartForAccounts() {
	s.Helper()
	const last = "z-last"
	s.createAccount(last)
	s.wire.reset()
	s.start()
	s.eventually("the new manager has reconciled "+last, func() bool {
		return missesCredentials(s.account(last).Status.Conditions, v1alpha1.ConditionFetched)
	})
	harness.Must(s.T, s.admin.Delete(s.Context(), s.account(last)))
}

// requestLook asks for a look at the account now.
func (s *site) requestLook(name string) {
	s.Helper()
	change(s, s.account(name), func(p *v1alpha1.PipedreamAccount) {
		p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "please"}
	})
}

// fetches returns how often the credentials of the account of a PipedreamAccount were fetched.
func (s *site) fetches(name string) int {
	return s.pipedream.Accounts.Counters().Accounts["apn_"+name].Fetches
}

func (s *site) awaitAccountRight(name string) {
	s.Helper()
	harness.Wait{Patience: patience}.Eventually(s.T, name+" to come right (-want +got)", func() string { return s.wrongAccount(name) })
}

// wrongAccount says what is wrong with a PipedreamAccount that should have its credentials; nothing if all is well:
// a Secret with credentials that the app accepts, and a status that says what the Secret's record says.
func (s *site) wrongAccount(name string) string {
	s.Helper()
	account, secret := &v1alpha1.PipedreamAccount{}, &corev1.Secret{}
	for key, object := range map[string]client.Object{name: account, name + "-credentials": secret} {
		if err := s.admin.Get(s.Context(), s.key(key), object); err != nil {
			harness.Must(s.T, client.IgnoreNotFound(err))
			return err.Error()
		}
	}
	status := account.Status
	want := map[string]string{
		"Ready":              v1alpha1.ReasonCredentialsValid,
		"Fetched":            v1alpha1.ReasonAccountFetched,
		"generation":         fmt.Sprint(account.Generation),
		"Secret's version":   secret.ResourceVersion,
		"account":            secret.Annotations[v1alpha1.AccountAnnotation],
		"fetch time":         secret.Annotations[v1alpha1.FetchedAtAnnotation],
		"expiration time":    secret.Annotations[v1alpha1.ExpiresAtAnnotation],
		"in the Secret":      secret.Annotations[v1alpha1.ExpiresAtAnnotation],
		"look asked for":     account.Annotations[v1alpha1.RenewRequestAnnotation],
		"answer of the app":  "200",
		"next attempt after": "none",
	}
	got := map[string]string{
		"Ready":              reasonOf(account, v1alpha1.ConditionReady),
		"Fetched":            reasonOf(account, v1alpha1.ConditionFetched),
		"generation":         fmt.Sprint(status.ObservedGeneration),
		"Secret's version":   status.Secret.ResourceVersion,
		"account":            status.Account.ID,
		"fetch time":         show(status.FetchTime),
		"expiration time":    show(status.ExpirationTime),
		"in the Secret":      string(secret.Data["expires_at"]),
		"look asked for":     secret.Annotations[v1alpha1.RenewRequestAnnotation],
		"answer of the app":  fmt.Sprint(s.useAtApp(string(secret.Data["oauth_access_token"]))),
		"next attempt after": show(status.NextAttemptTime),
	}
	return cmp.Diff(want, got)
}

func reasonOf(account *v1alpha1.PipedreamAccount, kind string) string {
	if condition := meta.FindStatusCondition(account.Status.Conditions, kind); condition != nil {
		return condition.Reason
	}
	return ""
}

// useAtApp uses the access token of an account as its consumer does, and returns the status of the answer. It does
// not pass the tripwire.
func (s *site) useAtApp(accessToken string) int {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "/_app/slack/me", http.NoBody)
	harness.Must(s.T, err)
	request.Header.Set("Authorization", "Bearer "+accessToken)
	answer := httptest.NewRecorder()
	s.pipedream.ServeHTTP(answer, request)
	return answer.Code
}

// wantAccountWritten checks how often the account of a PipedreamAccount was ever fetched, and what a manager has
// written for it since it was started.
func (s *site) wantAccountWritten(name string, fetches int, want map[string]int) {
	s.Helper()
	if got := s.fetches(name); got != fetches {
		s.Errorf("the account was fetched %d times, want %d", got, fetches)
	}
	written := map[string]int{}
	for call, count := range s.wire.counted() {
		switch {
		case call == "PATCH pipedreamaccounts/"+name+"/status":
			written["status"] += count
		case call == "POST secrets", strings.HasSuffix(call, " secrets/"+name+"-credentials") && !strings.HasPrefix(call, "GET "):
			written["Secret"] += count
		}
	}
	if diff := cmp.Diff(want, written); diff != "" {
		s.Errorf("what the new manager has written (-want +got): %s", diff)
	}
}
