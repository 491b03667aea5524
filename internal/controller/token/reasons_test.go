// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// trouble is a way in which token requests fail, and what a user must see of it.
type trouble struct {
	// begin makes the next token request fail; end lets those after it be answered.
	begin, end func(*world)
	// reason and happened are those of condition Renewed: happened is how its message
	// begins.
	reason, happened string
	// wait is the time to the next attempt; 0 for the usual one of the reason.
	wait time.Duration
}

// whatToDo is a telling part of the advice that belongs to each reason.
var whatToDo = map[string]string{
	v1alpha1.ReasonCredentialsMissing:  "`spec.clientSecretRef`",
	v1alpha1.ReasonCredentialsRejected: "`spec.clientSecretRef`",
	v1alpha1.ReasonScopeRejected:       "`spec.scopes`",
	v1alpha1.ReasonRequestRejected:     "--api-url",
	v1alpha1.ReasonSecretNotOwned:      "`spec.secret.name`",
	v1alpha1.ReasonSecretWriteRefused:  "quotas and admission policies",
	v1alpha1.ReasonRateLimited:         "--token-requests-per-second",
	v1alpha1.ReasonEndpointUnavailable: "--api-url",
	v1alpha1.ReasonMalformedResponse:   "--api-url",
	v1alpha1.ReasonClusterUnavailable:  "get, create and update Secrets",
}

// needsAPerson are the reasons of condition Stalled that it has at once.
var needsAPerson = []string{
	v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonScopeRejected, v1alpha1.ReasonRequestRejected,
	v1alpha1.ReasonSecretNotOwned, v1alpha1.ReasonSecretWriteRefused,
}

// waitAfter returns the time to the next attempt after that many failures in a row.
func (tr trouble) waitAfter(w *world, count int) time.Duration {
	switch {
	case tr.wait > 0:
		return tr.wait
	case slices.Contains(needsAPerson, tr.reason), tr.reason == v1alpha1.ReasonRateLimited:
		return time.Minute << (count - 1)
	}
	var expiry time.Time
	if status := w.token().Status; meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
		expiry = status.ExpirationTime.Time
	}
	return retry.AfterTransient(w.namespace+"/orders", count, expiry, w.clock.Now())
}

// strike is the whole story of a trouble: it strikes twice in a row before the first
// token, once when that is to be renewed, and each time it ends.
func (tr trouble) strike(w *world) {
	w.Helper()
	w.createCredentials()
	w.create()
	for _, times := range []int{2, 1} {
		w.wantFailures(tr, times)
		tr.end(w)
		w.passToNextAttempt()
		recovered := w.wantRecovery()
		w.wantAccepted()
		w.passUntil(recovered.Status.RenewalTime)
	}
}

// wantFailures has that many attempts in a row fail, and checks all that is said.
func (w *world) wantFailures(tr trouble, times int) {
	w.Helper()
	since := w.clock.Now()
	for count := 1; count <= times; count++ {
		if count > 1 {
			w.passToNextAttempt()
		}
		tr.begin(w)
		failed := w.clock.Now()
		w.reconcile()
		token := w.wantFailure(tr, since, count == 1)
		if diff := cmp.Diff(timestamp(failed.Add(tr.waitAfter(w, count))), token.Status.NextAttemptTime); diff != "" {
			w.Fatalf("nextAttemptTime after failure %d (-want +got):\n%s", count, diff)
		}
		w.wantQuietUntilNextAttempt(token)
	}
}

// wantFailure checks the status after a failed attempt, and that there was an event
// if this failure is news.
func (w *world) wantFailure(tr trouble, since time.Time, isNews bool) *v1alpha1.PipedreamToken {
	w.Helper()
	token := w.token()
	held := "The Secret holds no usable token."
	if expiry := token.Status.ExpirationTime; expiry != nil {
		held = "The current token is valid until " + show(expiry) + "."
		w.wantMessage(w.wantIn(token, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid), "valid until "+show(expiry))
	} else {
		w.wantMessage(w.wantIn(token, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued), "Condition Renewed says why.")
	}
	renewed := w.wantIn(token, v1alpha1.ConditionRenewed, metav1.ConditionFalse, tr.reason)
	begins := tr.happened + ", since " + show(timestamp(since)) + ". " + held + " "
	if !strings.HasPrefix(renewed.Message, begins) {
		w.Errorf("the message is\n%s\nwant it to begin with\n%s", renewed.Message, begins)
	}
	w.wantMessage(renewed, whatToDo[tr.reason])
	if slices.Contains(needsAPerson, tr.reason) {
		w.wantMessage(w.wantIn(token, v1alpha1.ConditionStalled, metav1.ConditionTrue, tr.reason), renewed.Message)
	} else {
		w.wantNone(token, v1alpha1.ConditionStalled)
	}
	if token.Status.ObservedGeneration != token.Generation {
		w.Errorf("observedGeneration is %d, want %d", token.Status.ObservedGeneration, token.Generation)
	}
	if isNews {
		w.wantEvents("Warning " + tr.reason + " " + renewed.Message)
	} else {
		w.wantEvents()
	}
	return token
}

// wantIn is wantCondition for an object that was read before.
func (w *world) wantIn(token *v1alpha1.PipedreamToken, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	w.Helper()
	got := meta.FindStatusCondition(token.Status.Conditions, kind)
	if got == nil || got.Status != status || got.Reason != reason || got.ObservedGeneration != token.Generation {
		w.Fatalf("condition %s is %+v, want %s %s of generation %d", kind, got, status, reason, token.Generation)
	}
	return *got
}

// wantNone is wantNoCondition for an object that was read before.
func (w *world) wantNone(token *v1alpha1.PipedreamToken, kind string) {
	w.Helper()
	if got := meta.FindStatusCondition(token.Status.Conditions, kind); got != nil {
		w.Errorf("condition %s is %s %s, want none", kind, got.Status, got.Reason)
	}
}

func (w *world) wantMessage(condition metav1.Condition, part string) {
	w.Helper()
	if part == "" || !strings.Contains(condition.Message, part) {
		w.Errorf("the message of %s does not say %q: %s", condition.Type, part, condition.Message)
	}
}

// wantEvents checks type, reason and message of the events since the last look.
func (w *world) wantEvents(want ...string) {
	w.Helper()
	var got []string
	for len(w.events.Events) > 0 {
		got = append(got, <-w.events.Events)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("events (-want +got):\n%s", diff)
	}
}

// wantQuietUntilNextAttempt checks that a visit before the next attempt asks
// Pipedream for nothing, and says nothing new.
func (w *world) wantQuietUntilNextAttempt(before *v1alpha1.PipedreamToken) {
	w.Helper()
	exchanges := w.exchanges()
	if last := before.Status.NextAttemptTime.Add(-time.Second); last.After(w.clock.Now()) {
		w.clock.SetTime(last)
	}
	w.reconcile()
	if after := w.token(); after.ResourceVersion != before.ResourceVersion {
		w.Errorf("a visit before the next attempt has changed the status from\n%v\nto\n%v", before.Status, after.Status)
	}
	w.wantExchanges(exchanges)
	w.wantEvents()
}

// passToNextAttempt lets pass the second of nextAttemptTime, whose fraction the
// status does not show.
func (w *world) passToNextAttempt() {
	w.Helper()
	w.passUntil(w.token().Status.NextAttemptTime)
	w.pass(time.Second)
}

// wantRecovery has an attempt made that works, and checks that nothing is left of
// the trouble.
func (w *world) wantRecovery() *v1alpha1.PipedreamToken {
	w.Helper()
	w.reconcile()
	token := w.token()
	w.wantIn(token, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	renewed := w.wantIn(token, v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	w.wantMessage(renewed, "A token was issued at "+show(token.Status.IssueTime)+", and is renewed at "+show(token.Status.RenewalTime)+".")
	w.wantNone(token, v1alpha1.ConditionStalled)
	if got := token.Status.NextAttemptTime; got != nil {
		w.Errorf("nextAttemptTime is %v after it worked", got)
	}
	w.wantEvents("Normal Issued " + renewed.Message)
	return token
}

// answers makes the simulator give one answer in place of the usual one.
func answers(fault simulator.Fault) func(*world) {
	fault.Endpoint, fault.Calls = simulator.EndpointToken, 1
	return func(w *world) {
		w.Helper()
		must(w.T, w.pipedream.AddFault(fault))
	}
}

// answersAt is like answers, with headers that depend on the time.
func answersAt(fault simulator.Fault, headers func(now time.Time) map[string]string) func(*world) {
	return func(w *world) {
		w.Helper()
		fault := fault
		fault.Headers = headers(w.clock.Now())
		answers(fault)(w)
	}
}

func nothing(*world) {}

// tokenWith is the body of a successful answer with these fields beside a token.
func tokenWith(fields string) string {
	return `{"access_token":"eyJ0","token_type":"Bearer"` + fields + `}`
}

// A pause counts from when the answer came, and the fake clock stands still.
const halfPast = 90 * time.Second

func throttled(fault simulator.Fault, wait time.Duration, headers func(now time.Time) map[string]string) trouble {
	return trouble{
		begin:    answersAt(fault, headers),
		reason:   v1alpha1.ReasonRateLimited,
		happened: fmt.Sprintf("Pipedream limits the rate of token requests (HTTP status %d %s)", fault.Status, http.StatusText(fault.Status)),
		wait:     wait,
	}
}

func malformed(body, detail string) trouble {
	return trouble{
		begin:    answers(simulator.Fault{Status: http.StatusOK, Body: body}),
		reason:   v1alpha1.ReasonMalformedResponse,
		happened: "Pipedream's answer contains no usable token (HTTP status 200 OK, " + detail + ")",
	}
}

// rejectedAnswers are the answers by which Pipedream, or what stands before it,
// says No.
var rejectedAnswers = map[string]trouble{
	"401 with a JSON body": {
		begin:    answers(simulator.Fault{Status: 401, Body: `{"error":"invalid_client","error_description":"Client authentication failed"}`}),
		reason:   v1alpha1.ReasonCredentialsRejected,
		happened: "Pipedream rejected the client credentials (HTTP status 401 Unauthorized, error code invalid_client)",
	},
	"401 without a body": {
		begin:    answers(simulator.Fault{Status: 401}),
		reason:   v1alpha1.ReasonCredentialsRejected,
		happened: "Pipedream rejected the client credentials (HTTP status 401 Unauthorized)",
	},
	"401 with HTML": {
		begin:    answers(simulator.Fault{Status: 401, Headers: map[string]string{"Content-Type": "text/html"}, Body: "<html>invalid_scope</html>"}),
		reason:   v1alpha1.ReasonCredentialsRejected,
		happened: "Pipedream rejected the client credentials (HTTP status 401 Unauthorized)",
	},
	"400 invalid_client": {
		begin:    answers(simulator.Fault{Status: 400, Body: `{"error":"invalid_client"}`}),
		reason:   v1alpha1.ReasonCredentialsRejected,
		happened: "Pipedream rejected the client credentials (HTTP status 400 Bad Request, error code invalid_client)",
	},
	"400 unauthorized_client": {
		begin:    answers(simulator.Fault{Status: 400, Body: `{"error":"unauthorized_client"}`}),
		reason:   v1alpha1.ReasonCredentialsRejected,
		happened: "Pipedream rejected the client credentials (HTTP status 400 Bad Request, error code unauthorized_client)",
	},
	"403 unauthorized_client": {
		begin:    answers(simulator.Fault{Status: 403, Body: `{"error":"unauthorized_client"}`}),
		reason:   v1alpha1.ReasonCredentialsRejected,
		happened: "Pipedream rejected the client credentials (HTTP status 403 Forbidden, error code unauthorized_client)",
	},
	"400 invalid_scope": {
		begin:    answers(simulator.Fault{Status: 400, Body: `{"error":"invalid_scope"}`}),
		reason:   v1alpha1.ReasonScopeRejected,
		happened: "Pipedream does not grant the scopes of the spec (`connect:accounts:read`; HTTP status 400 Bad Request, error code invalid_scope)",
	},
	"400 with another code": {
		begin:    answers(simulator.Fault{Status: 400, Body: `{"error":"invalid_request"}`}),
		reason:   v1alpha1.ReasonRequestRejected,
		happened: "Pipedream refused the token request (HTTP status 400 Bad Request, error code invalid_request)",
	},
	"400 with a code that nobody knows": {
		begin:    answers(simulator.Fault{Status: 400, Body: `{"error":"moon_is_full"}`}),
		reason:   v1alpha1.ReasonRequestRejected,
		happened: "Pipedream refused the token request (HTTP status 400 Bad Request)",
	},
	"403 without a body": {
		begin:    answers(simulator.Fault{Status: 403}),
		reason:   v1alpha1.ReasonRequestRejected,
		happened: "Pipedream refused the token request (HTTP status 403 Forbidden)",
	},
	"404, for the API is elsewhere": {
		begin:    answers(simulator.Fault{Status: 404, Headers: map[string]string{"Content-Type": "text/html"}, Body: "<html>Not here</html>"}),
		reason:   v1alpha1.ReasonRequestRejected,
		happened: "Pipedream refused the token request (HTTP status 404 Not Found)",
	},
	"407, from a proxy": {
		begin:    answers(simulator.Fault{Status: 407}),
		reason:   v1alpha1.ReasonRequestRejected,
		happened: "Pipedream refused the token request (HTTP status 407 Proxy Authentication Required)",
	},
}

// throttledAnswers are those by which Pipedream wants to be asked later.
var throttledAnswers = map[string]trouble{
	"429 with all headers": throttled(
		simulator.Fault{Status: 429, Body: `{"error":"Throttled"}`}, halfPast,
		func(now time.Time) map[string]string {
			return map[string]string{
				"Retry-After": "90", "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0",
				"X-RateLimit-Reset": strconv.FormatInt(now.Add(time.Hour).Unix(), 10),
			}
		}),
	"429 with the time of its reset": throttled(
		simulator.Fault{Status: 429, Body: `{"error":"Throttled"}`}, halfPast,
		func(now time.Time) map[string]string {
			return map[string]string{"X-RateLimit-Reset": strconv.FormatInt(now.Add(halfPast).Unix(), 10)}
		}),
	"429 from the load balancer, with no body and no word of when": throttled(
		simulator.Fault{Status: 429}, 0,
		func(time.Time) map[string]string { return map[string]string{"Server": "awselb/2.0"} }),
	"503 with seconds to wait": throttled(
		simulator.Fault{Status: 503}, halfPast,
		func(time.Time) map[string]string { return map[string]string{"Retry-After": "90"} }),
	"503 with a date to wait for": throttled(
		simulator.Fault{Status: 503}, halfPast,
		func(now time.Time) map[string]string {
			return map[string]string{"Retry-After": now.Add(halfPast).UTC().Format(http.TimeFormat)}
		}),
}

// brokenAnswers are those of an API that is out of order.
func brokenAnswers() map[string]trouble {
	broken := map[string]trouble{}
	for _, status := range []int{408, 425, 500, 502, 503, 504} {
		broken[fmt.Sprintf("%d %s", status, http.StatusText(status))] = trouble{
			begin:    answers(simulator.Fault{Status: status, Body: "<html>"}),
			reason:   v1alpha1.ReasonEndpointUnavailable,
			happened: fmt.Sprintf("Pipedream's API is unreachable or returned a server error (HTTP status %d %s)", status, http.StatusText(status)),
		}
	}
	for name, drop := range map[string]simulator.Drop{
		"a connection that ends before the answer": simulator.DropBeforeAnswer,
		"a connection that ends in the answer":     simulator.DropMidBody,
	} {
		broken[name] = trouble{
			begin:    answers(simulator.Fault{Drop: drop}),
			reason:   v1alpha1.ReasonEndpointUnavailable,
			happened: "Pipedream's API is unreachable or returned a server error (the connection was closed before the answer was complete)",
		}
	}
	return broken
}

// malformedAnswers are successes without a usable token.
var malformedAnswers = map[string]trouble{
	"200 with HTML":                malformed("<html>Sign in</html>", "the answer is not a JSON object"),
	"200 with nothing":             malformed("", "the answer is not a JSON object"),
	"200 with a list":              malformed("[]", "the answer is not a JSON object"),
	"200 with an empty object":     malformed("{}", "the answer has no usable access_token"),
	"200 with a body of 1 MiB":     malformed(tokenWith(`,"expires_in":3600,"x":"`+strings.Repeat("x", 1<<20)+`"`), "the answer is longer than 64 KiB"),
	"an empty token":               malformed(`{"access_token":"","expires_in":3600}`, "the answer has no usable access_token"),
	"a token that is a number":     malformed(`{"access_token":1,"expires_in":3600}`, "the answer has no usable access_token"),
	"a token with a line feed":     malformed(`{"access_token":"eyJ0\nX-Evil: 1","expires_in":3600}`, "the answer has no usable access_token"),
	"a token with a NUL":           malformed(`{"access_token":"eyJ0\u0000","expires_in":3600}`, "the answer has no usable access_token"),
	"a token of another type":      malformed(`{"access_token":"eyJ0","token_type":"mac","expires_in":3600}`, "the answer's token_type is not Bearer"),
	"no expires_in":                malformed(tokenWith(``), "the answer's expires_in is not an integer"),
	"expires_in that is null":      malformed(tokenWith(`,"expires_in":null`), "the answer's expires_in is not an integer"),
	"expires_in that is a string":  malformed(tokenWith(`,"expires_in":"3600"`), "the answer's expires_in is not an integer"),
	"expires_in that is a list":    malformed(tokenWith(`,"expires_in":[3600]`), "the answer's expires_in is not an integer"),
	"expires_in with a fraction":   malformed(tokenWith(`,"expires_in":3599.5`), "the answer's expires_in is not an integer"),
	"expires_in with an exponent":  malformed(tokenWith(`,"expires_in":1e18`), "the answer's expires_in is not an integer"),
	"expires_in that is negative":  malformed(tokenWith(`,"expires_in":-1`), "the answer's expires_in is less than 30 seconds"),
	"expires_in that is zero":      malformed(tokenWith(`,"expires_in":0`), "the answer's expires_in is less than 30 seconds"),
	"expires_in of one second":     malformed(tokenWith(`,"expires_in":1`), "the answer's expires_in is less than 30 seconds"),
	"expires_in of 29 seconds":     malformed(tokenWith(`,"expires_in":29`), "the answer's expires_in is less than 30 seconds"),
	"expires_in that is very low":  malformed(tokenWith(`,"expires_in":-1000000000000000000000`), "the answer's expires_in is not an integer"),
	"an error code with a success": malformed(`{"error":"invalid_client"}`, "the answer has no usable access_token"),
}

func TestAnswersThatAreNoToken(t *testing.T) {
	t.Parallel()
	tests := map[string]trouble{}
	for _, some := range []map[string]trouble{rejectedAnswers, throttledAnswers, brokenAnswers(), malformedAnswers} {
		maps.Copy(tests, some)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.end = nothing // Each answer is given once.
			test.strike(newWorld(t))
		})
	}
}

func TestUnusualAnswersThatAreGoodEnough(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want time.Duration
	}{
		"the type in lower case":           {`{"access_token":"eyJ0","token_type":"bearer","expires_in":3600}`, time.Hour},
		"no type":                          {`{"access_token":"eyJ0","expires_in":3600}`, time.Hour},
		"the shortest life":                {tokenWith(`,"expires_in":30`), 30 * time.Second},
		"a year":                           {tokenWith(`,"expires_in":31536000`), 30 * 24 * time.Hour},
		"an absurd life":                   {tokenWith(`,"expires_in":1000000000000000000`), 30 * 24 * time.Hour},
		"a life that no computer can hold": {tokenWith(`,"expires_in":1000000000000000000000000000000`), 30 * 24 * time.Hour},
		"a scope of an unknown shape":      {tokenWith(`,"expires_in":3600,"scope":{"a":1}`), time.Hour},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			answers(simulator.Fault{Status: http.StatusOK, Body: test.body})(w)
			status := w.wantRecovery().Status
			if got := status.ExpirationTime.Sub(status.IssueTime.Time); got != test.want {
				t.Errorf("the token lives %s, want %s", got, test.want)
			}
			data := w.target().Data
			if got, want := string(data["token_type"])+" "+string(data["access_token"])+" "+string(data["scope"]), "Bearer eyJ0 connect:accounts:read"; got != want {
				t.Errorf("the Secret holds %q, want %q", got, want)
			}
		})
	}
}

// A lifetime of a second is named, and makes no storm.
func TestLifetimeThatIsTooShortToWorkWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, w.pipedream.SetTokenLifetime(time.Second))
	w.createCredentials()
	w.create()
	begin := w.clock.Now()
	for w.clock.Now().Sub(begin) < 10*time.Minute {
		w.pass(w.reconcile().RequeueAfter)
	}
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonMalformedResponse)
	w.wantMessage(renewed, "less than 30 seconds")
	w.wantEvents("Warning " + v1alpha1.ReasonMalformedResponse + " " + renewed.Message)
	// 1, 2, 4, 8, 16, 30, 30, ... s apart, and up to a fifth less, because there is no token.
	if got := w.exchanges(); got < 24 || got > 30 {
		t.Errorf("in ten minutes Pipedream was asked for %d tokens, want about 27", got)
	}
	must(t, w.pipedream.SetTokenLifetime(lifetime))
	w.passToNextAttempt()
	w.wantRecovery()
}
