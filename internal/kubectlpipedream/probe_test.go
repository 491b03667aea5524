// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	probeProject = "proj_hidden1"
	// leak is in bodies and headers of the API. Nobody must see it.
	leak = "l34k3d-by-the-api"
)

// probeWorld is a Pipedream, a clock that only waiting moves, and no cluster. The credentials are in the
// environment.
type probeWorld struct {
	*world
	mu sync.Mutex
	// tokens are the tokens in the answers of the API, and credentials the values in the credentials of accounts.
	tokens, credentials []string
	// onRequest is called before each request with its number, from 1 on.
	onRequest func(number int)
	requests  int
	// onSleep is called before each wait with its number, from 1 on.
	onSleep func(number int)
	sleeps  []time.Duration
}

func newProbeWorld(t *testing.T) *probeWorld {
	t.Helper()
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := &probeWorld{world: &world{T: t, began: began, clock: clocktesting.NewFakePassiveClock(began)}}
	p.pipedream = simulator.New(simulator.Options{
		Now: p.clock.Now, Clients: []simulator.Client{{ID: clientID, Secret: clientSecret}},
	})
	p.address = harness.MustServe(t, http.HandlerFunc(p.serve))
	t.Setenv(clientIDVariable, clientID)
	t.Setenv(clientSecretVariable, clientSecret)
	t.Setenv("KUBECONFIG", os.DevNull)
	return p
}

// serve answers as the simulator does, and notes the tokens that it issues.
func (p *probeWorld) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests++
	number, onRequest := p.requests, p.onRequest
	p.mu.Unlock()
	if onRequest != nil {
		onRequest(number)
	}
	w.Header().Set("Date", p.clock.Now().UTC().Format(http.TimeFormat))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	recorded := httptest.NewRecorder()
	recorded.Header().Set("Date", w.Header().Get("Date"))
	p.pipedream.ServeHTTP(recorded, r) // It panics to cut the connection.
	p.noteCredentials(recorded.Body.Bytes())
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if r.URL.Path == "/v1/oauth/token" && json.Unmarshal(recorded.Body.Bytes(), &answer) == nil && answer.AccessToken != "" {
		p.mu.Lock()
		p.tokens = append(p.tokens, answer.AccessToken)
		p.mu.Unlock()
	}
	maps.Copy(w.Header(), recorded.Header())
	w.WriteHeader(recorded.Code)
	_, _ = w.Write(recorded.Body.Bytes())
}

// sent returns how many requests the API has got, and how many tokens it has issued.
func (p *probeWorld) sent() (requests, tokens int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests, len(p.tokens)
}

// behave changes how the API behaves.
func (p *probeWorld) behave(name, value string) {
	p.Helper()
	harness.Must(p.T, p.pipedream.SetBehavior(map[string]string{name: value}))
}

func (p *probeWorld) fault(f simulator.Fault) {
	p.Helper()
	harness.Must(p.T, p.pipedream.AddFault(f))
}

func (p *probeWorld) sleep(ctx context.Context, duration time.Duration) error {
	p.sleeps = append(p.sleeps, duration)
	if p.onSleep != nil {
		p.onSleep(len(p.sleeps))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.pass(duration)
	return nil
}

// probe calls the command without a cluster.
func (p *probeWorld) probe(arguments ...string) said {
	p.Helper()
	return p.probeWith(p.Context(), append([]string{"--yes"}, arguments...)...)
}

func (p *probeWorld) probeWith(ctx context.Context, arguments ...string) said {
	p.Helper()
	all := append([]string{"probe", "--api-url=" + p.address, "--allow-insecure-api-url"}, arguments...)
	got := callWithOptions(ctx, Options{Now: p.clock.Now, Release: "v1.2.3", Sleep: p.sleep}, &harness.Buffer{}, all...)
	p.wantNoSecret(got)
	return got
}

// hidden returns what nobody must see: tokens and parts of them, credentials, client secrets, IDs, and text of an
// answer.
func (p *probeWorld) hidden() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	hidden := append([]string{clientID, clientSecret, probeProject, probeAccount, endUser, "leakyapp", leak, "o_Simu1at", madeUp, madeUpAccount}, p.credentials...)
	for _, token := range p.tokens {
		hidden = append(hidden, token)
		if parts := strings.Split(token, "."); len(parts) == 3 && len(parts[1]) > len(leak) {
			hidden = append(hidden, parts[1:]...)
		}
	}
	return hidden
}

// wantNoSecret fails if a call shows what nobody must see.
func (p *probeWorld) wantNoSecret(got said) {
	p.Helper()
	for _, one := range p.hidden() {
		if strings.Contains(got.out+got.errOut, one) {
			p.Errorf("it shows %q:\n%v", one, got)
		}
	}
}

// wantEnded fails if a token that the API has issued is still accepted, or is only not accepted yet.
func (p *probeWorld) wantEnded() {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass(time.Minute)
	for i, token := range p.tokens {
		if p.pipedream.RevokeToken(token) {
			p.Errorf("token %d of %d is still valid", i+1, len(p.tokens))
		}
	}
}

// answersOf returns the answers in a report in JSON.
func (p *probeWorld) answersOf(got said) map[string]probeAnswer {
	p.Helper()
	var report probeReport
	harness.Must(p.T, json.Unmarshal([]byte(got.out), &report))
	answers := map[string]probeAnswer{}
	for _, one := range report.Answers {
		answers[one.Name] = one
	}
	if len(answers) != len(probeQuestions) {
		p.Errorf("the report has %d answers, want %d", len(answers), len(probeQuestions))
	}
	return answers
}

func TestProbeOfAnAPIAsTheOperatorAssumes(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		requests  int
	}{
		"probe":                 {[]string{"--project=" + probeProject}, usualRequests},
		"probe-without-project": {nil, usualRequestsWithoutProject},
		"probe-json":            {[]string{"--project=" + probeProject, "--output=json"}, usualRequests},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProbeWorld(t)
			got := p.probe(test.arguments...)
			p.wantGolden(name, got)
			p.wantEnded()
			if requests, tokens := p.sent(); requests != test.requests || tokens != 3 {
				t.Errorf("it sends %d requests and gets %d tokens, want %d and 3", requests, tokens, test.requests)
			}
			for i, duration := range p.sleeps {
				if duration < probeSpacing {
					t.Errorf("wait %d is %v long", i+1, duration)
				}
			}
		})
	}
}

// probed is what a report must say about one question.
type probed struct {
	holds holds
	says  string
}

// TestProbeOfEachReading is about each way in which the API may answer where its documentation says nothing.
func TestProbeOfEachReading(t *testing.T) {
	const (
		issued = `{"access_token":"a.` + leak + `.b","token_type":"Bearer",`
		opaque = `{"access_token":"` + leak + `","token_type":"Bearer",`
	)
	behavior := func(pairs ...string) func(*probeWorld) {
		return func(p *probeWorld) {
			for i := 0; i < len(pairs); i += 2 {
				p.behave(pairs[i], pairs[i+1])
			}
		}
	}
	scope := func(way simulator.ScopeAnswer) func(*probeWorld) {
		return func(p *probeWorld) { harness.Must(p.T, p.pipedream.SetScopeAnswer(way)) }
	}
	known := func(after time.Duration) func(*probeWorld) {
		return func(p *probeWorld) { harness.Must(p.T, p.pipedream.SetTokenKnownAfter(after)) }
	}
	fault := func(f simulator.Fault) func(*probeWorld) { return func(p *probeWorld) { p.fault(f) } }
	tokens := func(body string) func(*probeWorld) {
		return fault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 200, Body: body})
	}
	for name, test := range map[string]struct {
		set  func(*probeWorld)
		want map[string]probed
		// left is set if tokens can't be revoked.
		left bool
	}{
		"an unknown scope: 400 invalid_scope": {set: behavior("unknown-scope", "invalid-scope"), want: map[string]probed{"unknown-scope": {holdsYes, "400, invalid_scope, a JSON object with error"}}},
		"an unknown scope: 400 without code":  {set: behavior("unknown-scope", "bad-request"), want: map[string]probed{"unknown-scope": {holdsNo, "400, a JSON object with error"}}},
		"an unknown scope: 401":               {set: behavior("unknown-scope", "unauthorized"), want: map[string]probed{"unknown-scope": {holdsNo, "401, invalid_client"}}},
		"an unknown scope: 403":               {set: behavior("unknown-scope", "forbidden"), want: map[string]probed{"unknown-scope": {holdsNo, "403"}}},
		"an unknown scope: ignored":           {set: behavior("unknown-scope", "ignored"), want: map[string]probed{"unknown-scope": {holdsNo, "200, a token; field scope: absent"}}},
		"an unknown scope: granted":           {set: behavior("unknown-scope", "granted"), want: map[string]probed{"unknown-scope": {holdsNo, "200, a token"}}},
		"an unknown scope: ignored, and said so": {
			set:  func(p *probeWorld) { behavior("unknown-scope", "ignored")(p); scope(simulator.ScopeGranted)(p) },
			want: map[string]probed{"unknown-scope": {holdsYes, "200, a token whose scopes do not cover it"}, "scope-field": {holdsYes, "a text that covers"}},
		},

		"a wrong secret: 400": {set: behavior("wrong-secret", "bad-request"), want: map[string]probed{"wrong-secret": {holdsYes, "400, invalid_client"}}},
		"a wrong secret: 403": {set: behavior("wrong-secret", "forbidden"), want: map[string]probed{"wrong-secret": {holdsNo, "403"}}},
		"a wrong secret: 404": {set: behavior("wrong-secret", "not-found"), want: map[string]probed{"wrong-secret": {holdsNo, "404"}}},

		"field scope: a list": {set: scope(simulator.ScopeList), want: map[string]probed{"scope-field": {holdsYes, "a list that covers"}}},
		"field scope: null":   {set: scope(simulator.ScopeNull), want: map[string]probed{"scope-field": {holdsYes, "null"}}},
		"field scope: empty":  {set: scope(simulator.ScopeEmpty), want: map[string]probed{"scope-field": {holdsYes, "an empty text"}}},
		"field scope: more":   {set: scope(simulator.ScopeMore), want: map[string]probed{"scope-field": {holdsYes, "a text that covers"}}},
		"field scope: fewer":  {set: scope(simulator.ScopeFewer), want: map[string]probed{"scope-field": {holdsNo, "does not cover"}, "accounts-with-scope": {holdsUnknown, "403"}}},
		"field scope: a number": {
			set:  tokens(opaque + `"expires_in":3600,"scope":7}`),
			want: map[string]probed{"scope-field": {holdsNo, "neither a text nor a list"}}, left: false,
		},

		"a life of 10 s":      {set: tokens(issued + `"expires_in":10}`), want: map[string]probed{"expires-in": {holdsNo, "10"}}},
		"no life":             {set: tokens(issued + `"x":1}`), want: map[string]probed{"expires-in": {holdsNo, "absent"}, "created-at": {holdsYes, "absent"}}},
		"a life in a text":    {set: tokens(issued + `"expires_in":"3600"}`), want: map[string]probed{"expires-in": {holdsNo, "not a whole number"}}},
		"a JWT":               {set: behavior(), want: map[string]probed{"token-form": {holdsYes, "a JWT of "}, "created-at": {holdsYes, "present"}}},
		"an opaque token":     {set: tokens(opaque + `"expires_in":3600}`), want: map[string]probed{"token-form": {holdsYes, "opaque, of 17 characters"}, "second-token": {holdsNo, "the same token"}}},
		"a token with spaces": {set: tokens(`{"access_token":"` + leak + ` x","token_type":"Bearer","expires_in":3600}`), want: map[string]probed{"token-form": {holdsNo, "opaque"}}},

		"a second token ends the first": {
			set:  behavior("second-token", "ends-first"),
			want: map[string]probed{"second-token": {holdsYes, "another token, for 3600 s"}, "first-token": {holdsNo, "401"}, "revoked-token": {holdsYes, "401"}, "projects-with-scope": {holdsYes, "200"}},
		},
		"a second token ends all": {
			set:  behavior("second-token", "ends-all"),
			want: map[string]probed{"first-token": {holdsNo, "401"}, "projects-with-scope": {holdsUnknown, "perhaps a later token has ended this one"}, "accounts-without-scope": {holdsUnknown, "perhaps"}, "revoked-token": {holdsYes, "401"}},
		},
		"a second token is the first": {
			set:  behavior("second-token", "same"),
			want: map[string]probed{"second-token": {holdsNo, "the same token, for 3"}, "first-token": {holdsUnknown, "not asked"}, "revoked-token": {holdsYes, "401"}},
		},

		"a token is known after 3 s":  {set: known(3 * time.Second), want: map[string]probed{"new-token": {holdsYes, "3s after"}, "accounts-with-scope": {holdsYes, "200"}, "projects-with-scope": {holdsYes, "200"}, "first-token": {holdsYes, "200"}}},
		"a token is known after 10 s": {set: known(10 * time.Second), want: map[string]probed{"new-token": {holdsYes, "10s after"}, "projects-with-scope": {holdsYes, "200"}}},
		"a token is known after 1 m":  {set: known(time.Minute), want: map[string]probed{"new-token": {holdsUnknown, "not in 10s"}, "accounts-with-scope": {holdsNo, "401"}, "revoked-token": {holdsUnknown, "not accepted before"}}},
		"a token is known late, and a second one ends the first": {
			set:  func(p *probeWorld) { known(10 * time.Second)(p); behavior("second-token", "ends-first")(p) },
			want: map[string]probed{"first-token": {holdsNo, "401"}, "projects-without-scope": {holdsYes, "403"}, "revoked-token": {holdsYes, "401"}},
		},

		"a missing scope: 401": {set: behavior("missing-scope", "unauthorized"), want: map[string]probed{"accounts-without-scope": {holdsYes, "401"}, "projects-without-scope": {holdsYes, "401"}}},
		"a missing scope: 404": {set: behavior("missing-scope", "not-found"), want: map[string]probed{"accounts-without-scope": {holdsYes, "404"}}},
		"a missing scope: 200": {set: behavior("missing-scope", "ok"), want: map[string]probed{"projects-without-scope": {holdsYes, "200, a JSON object with data, page_info"}}},
		"a bad token: 404":     {set: behavior("bad-token", "not-found"), want: map[string]probed{"projects-bad-token": {holdsNo, "404"}, "accounts-bad-token": {holdsNo, "404"}, "revoked-token": {holdsNo, "404"}}},
		"a bad token: 403":     {set: behavior("bad-token", "forbidden"), want: map[string]probed{"projects-bad-token": {holdsNo, "403"}}},
		"a bad token: 404, and tokens known late": {
			set:  func(p *probeWorld) { known(time.Second)(p); behavior("bad-token", "not-found")(p) },
			want: map[string]probed{"new-token": {holdsYes, "1s after"}},
		},
		"a project of others: 404": {
			set:  fault(simulator.Fault{Endpoint: simulator.EndpointAccounts, Status: 404, Body: `{"error":"` + leak + `"}`}),
			want: map[string]probed{"accounts-with-scope": {holdsUnknown, "is --project right?"}, "projects-with-scope": {holdsYes, "200"}, "new-token": {holdsUnknown, "not in 10s"}},
		},

		"a revocation: 200, and no effect": {set: behavior("revoke", "ignored"), left: true, want: map[string]probed{"revoke": {holdsYes, "200, a JSON object without fields"}, "revoked-token": {holdsNo, "still accepted after 10s"}}},
		"a revocation: 401":                {set: behavior("revoke", "unauthorized"), left: true, want: map[string]probed{"revoke": {holdsYes, "401, invalid_client"}, "revoked-token": {holdsUnknown, "the revocation has failed"}}},
		"a revocation: 404":                {set: behavior("revoke", "not-found"), left: true, want: map[string]probed{"revoke": {holdsYes, "404"}, "revoked-token": {holdsUnknown, "the revocation has failed"}}},
		"a revocation: 500":                {set: fault(simulator.Fault{Endpoint: simulator.EndpointRevoke, Status: 500, Body: leak}), left: true, want: map[string]probed{"revoke": {holdsUnknown, "500, text that is not JSON"}}},
		"a revocation works after 2 s":     {set: behavior("revoked-after", "2s"), want: map[string]probed{"revoked-token": {holdsYes, "401, a JSON object with error, 2s after"}}},
		"a revocation works after 10 s":    {set: behavior("revoked-after", "10s"), want: map[string]probed{"revoked-token": {holdsYes, "10s after"}}},

		"a clock that is behind": {set: behavior("date-skew", "10m"), want: map[string]probed{"clock": {holdsNo, "10m0s behind the API's"}}},
		"a clock that is ahead":  {set: behavior("date-skew", "-4m"), want: map[string]probed{"clock": {holdsYes, "4m1s ahead of the API's"}}},

		"headers about rate limits": {
			set:  fault(simulator.Fault{Endpoint: simulator.EndpointToken, Headers: map[string]string{"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": leak, "X-Other": leak}}),
			want: map[string]probed{"rate-limits": {holdsYes, "token requests: X-RateLimit-Limit 60, X-RateLimit-Remaining (not a number); listings: none; accounts: none; revocations: none"}},
		},
		"a server that is out of order": {
			set:  fault(simulator.Fault{Endpoint: simulator.EndpointProjects, Status: 502, Body: "<html>" + leak}),
			want: map[string]probed{"projects-with-scope": {holdsUnknown, "502, HTML or XML"}, "projects-bad-token": {holdsUnknown, "502"}, "accounts-with-scope": {holdsYes, "200"}},
		},
		"a sign-in page": {
			set:  fault(simulator.Fault{Endpoint: simulator.EndpointProjects, Status: 200, Body: "<html>" + leak}),
			want: map[string]probed{"projects-with-scope": {holdsNo, "200, HTML or XML"}},
		},
		"a client without one of the scopes": {
			set: func(p *probeWorld) {
				harness.Must(p.T, p.pipedream.SetClientScopes(clientID, []string{"connect:projects:read"}))
			},
			want: map[string]probed{"accounts-with-scope": {holdsUnknown, "not asked: the request for a token with connect:accounts:read was answered 400, invalid_scope"}, "projects-with-scope": {holdsYes, "200"}, "revoke": {holdsYes, "200"}, "second-token": {holdsUnknown, "not asked"}},
		},
		"a client without the other scope": {
			set: func(p *probeWorld) {
				harness.Must(p.T, p.pipedream.SetClientScopes(clientID, []string{"connect:accounts:read"}))
			},
			want: map[string]probed{"accounts-with-scope": {holdsYes, "200"}, "projects-with-scope": {holdsUnknown, "not asked"}, "revoked-token": {holdsYes, "401"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProbeWorld(t)
			test.set(p)
			got := p.probe("--project="+probeProject, "--output=json")
			answers := p.answersOf(got)
			wantCode := 0
			for name, one := range answers {
				if one.Holds == holdsNo {
					wantCode = exitNo
				}
				want, ok := test.want[name]
				if ok && (one.Holds != want.holds || !strings.Contains(one.Answer, want.says)) {
					t.Errorf("%s is %s: %s; want %s and in it %q", name, one.Holds, one.Answer, want.holds, want.says)
				}
			}
			if got.code != wantCode {
				t.Errorf("the exit code is %d, want %d", got.code, wantCode)
			}
			if requests, _ := p.sent(); requests > maxRequests {
				t.Errorf("it sends %d requests", requests)
			}
			if isSaid := strings.Contains(got.out, "could not be revoked"); isSaid != test.left {
				t.Errorf("it says that tokens could not be revoked: %t, want %t:\n%v", isSaid, test.left, got)
			}
			if test.left && !strings.Contains(got.out, "it expires in 59m (2026-03-01T13:00:") {
				t.Errorf("it does not say when they expire:\n%v", got)
			}
			if !test.left {
				p.wantEnded()
			}
		})
	}
}

// TestProbeStopsAtTheFirst429 is about each request that may be answered so.
func TestProbeStopsAtTheFirst429(t *testing.T) {
	for number := 2; number <= usualRequests; number++ {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			p := newProbeWorld(t)
			p.onRequest = func(now int) {
				if now == number {
					p.fault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: 429, Headers: map[string]string{"Retry-After": "30"}, Calls: 1})
				}
			}
			got := p.probe("--project=" + probeProject)
			if got.code != 0 {
				t.Errorf("the exit code is %d:\n%v", got.code, got)
			}
			if said := "It stopped early: Pipedream asked for fewer requests (429)."; !strings.Contains(got.out, said) {
				t.Errorf("it does not say %q:\n%v", said, got)
			}
			requests, tokens := p.sent()
			if requests > number+tokens+1 {
				t.Errorf("it sends %d requests, and the answer to number %d is 429", requests, number)
			}
			if !strings.Contains(got.out, "could not be revoked") {
				p.wantEnded()
			}
		})
	}
}

func TestProbeRevokesNoMoreAfterA429ToARevocation(t *testing.T) {
	p := newProbeWorld(t)
	p.onRequest = func(number int) {
		if number == 3 {
			p.fault(simulator.Fault{Endpoint: simulator.EndpointAny, Status: 429})
		}
	}
	got := p.probe()
	p.wantGolden("probe-limited", got)
	if calls := p.pipedream.Counters().Calls[simulator.EndpointRevoke].Total; calls != 1 {
		t.Errorf("it sends %d revocations", calls)
	}
}

// TestProbeRevokesAfterAnInterrupt interrupts the command during each of its waits.
func TestProbeRevokesAfterAnInterrupt(t *testing.T) {
	for number := 1; number < usualRequestsWithoutProject; number++ {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			p := newProbeWorld(t)
			ctx, cancel := context.WithCancel(t.Context())
			p.onSleep = func(now int) {
				if now == number {
					cancel()
				}
			}
			got := p.probeWith(ctx, "--yes")
			cancel()
			p.wantEnded()
			if got.code != exitError || !strings.HasSuffix(got.errOut, "kubectl pipedream: interrupted\n") && !strings.Contains(got.errOut, "not asked: interrupted") {
				t.Errorf("it says\n%v", got)
			}
			if requests, tokens := p.sent(); requests > number+tokens {
				t.Errorf("it sends %d requests after an interrupt in wait %d", requests, number)
			}
		})
	}
}

// TestProbeKeepsATokenThatIsIssuedDuringAnInterrupt interrupts the command while the API works on a request.
func TestProbeKeepsATokenThatIsIssuedDuringAnInterrupt(t *testing.T) {
	for number := 1; number <= 4; number++ {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			p := newProbeWorld(t)
			ctx, cancel := context.WithCancel(t.Context())
			p.onRequest = func(now int) {
				if now == number {
					cancel()
				}
			}
			got := p.probeWith(ctx, "--yes")
			p.wantEnded()
			if _, tokens := p.sent(); got.code != exitError || tokens == 0 || !strings.Contains(got.errOut, "interrupted: revoking the tokens that were issued") {
				t.Errorf("it has got %d tokens, and says\n%v", tokens, got)
			}
		})
	}
}

func TestProbeSaysWhatItCouldNotAsk(t *testing.T) {
	for name, test := range map[string]struct {
		set      func(*probeWorld)
		requests int
		want     string
	}{
		"a wrong client secret": {func(p *probeWorld) { p.Setenv(clientSecretVariable, "another") }, 1, "refused the client ID and the client secret in the environment variables"},
		"an impossible secret":  {func(p *probeWorld) { p.Setenv(clientSecretVariable, "a\x7fb") }, 0, "the client secret in the environment variables PIPEDREAM_CLIENT_ID and PIPEDREAM_CLIENT_SECRET contains a character that is not visible ASCII"},
		"a 429 at once":         {func(p *probeWorld) { p.fault(simulator.Fault{Endpoint: "any", Status: 429}) }, 1, "asked for fewer requests (HTTP status 429 Too Many Requests): try again later"},
		"an outage":             {func(p *probeWorld) { p.fault(simulator.Fault{Endpoint: "any", Status: 503}) }, 1, "issued no token (HTTP status 503"},
		"no answer":             {func(p *probeWorld) { p.fault(simulator.Fault{Endpoint: "any", Drop: simulator.DropBeforeAnswer}) }, 1, "Token requests without a complete answer: 1."},
		"another API":           {func(p *probeWorld) { p.fault(simulator.Fault{Endpoint: "any", Status: 404, Body: leak}) }, 1, "issued no token (HTTP status 404 Not Found)"},
		"a page":                {func(p *probeWorld) { p.fault(simulator.Fault{Endpoint: "any", Status: 200, Body: "<html>" + leak}) }, 1, "the answer is not a JSON object"},
		"neither scope": {func(p *probeWorld) {
			harness.Must(p.T, p.pipedream.SetClientScopes(clientID, []string{"connect:proxy"}))
		}, 2, "issued no token, neither with connect:accounts:read nor with connect:projects:read"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProbeWorld(t)
			test.set(p)
			got := p.probe()
			if got.code != exitError || got.out != "" || !strings.Contains(got.errOut, test.want) {
				t.Errorf("it says\n%v\nwant exit code %d and in it %q", got, exitError, test.want)
			}
			if requests, _ := p.sent(); requests != test.requests {
				t.Errorf("it sends %d requests, want %d", requests, test.requests)
			}
		})
	}
}

// TestProbeCountsATokenThatNobodyReceived is about an answer that is cut.
func TestProbeCountsATokenThatNobodyReceived(t *testing.T) {
	p := newProbeWorld(t)
	p.onRequest = func(number int) {
		if number == 4 {
			p.fault(simulator.Fault{Endpoint: simulator.EndpointToken, Drop: simulator.DropBeforeAnswer, Calls: 1})
		}
	}
	got := p.probe()
	if got.code != 0 || !strings.Contains(got.out, "Token requests without a complete answer: 1.") || !strings.Contains(got.out, "no answer: the connection was closed before the answer was complete") {
		t.Errorf("it says\n%v", got)
	}
	p.wantEnded()
}

func TestProbeEndsWhenTheAPIIsAway(t *testing.T) {
	p := newProbeWorld(t)
	p.onRequest = func(number int) {
		if number == 3 {
			p.fault(simulator.Fault{Endpoint: simulator.EndpointAny, Drop: simulator.DropBeforeAnswer})
		}
	}
	got := p.probe()
	if got.code != 0 || !strings.Contains(got.out, "It stopped early: 2 requests had no answer.") || strings.Count(got.out, "A token could not be revoked") != 2 {
		t.Errorf("it says\n%v", got)
	}
	if requests, _ := p.sent(); requests > 4+2 {
		t.Errorf("it sends %d requests", requests)
	}
}

func TestProbeSendsNothingWithoutConfirmation(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		unset     string
		want      string
	}{
		"no terminal":            {nil, "", "there is no terminal to ask for confirmation on: add --yes"},
		"no client ID":           {[]string{"--yes"}, clientIDVariable, "name the Secret with the credentials with --client-secret"},
		"no client secret":       {[]string{"--yes"}, clientSecretVariable, "name the Secret with the credentials with --client-secret"},
		"a client secret":        {[]string{"--yes", "--client-secret=" + leak + "_"}, "", "--client-secret takes the name of a Secret"},
		"a key without a Secret": {[]string{"--yes", "--client-id-key=id"}, "", "need --client-secret"},
		"an unknown format":      {[]string{"--yes", "--output=wide"}, "", "--output=wide: there is json"},
		"an unknown environment": {[]string{"--yes", "--environment=test"}, "", "--environment must be production or development"},
		"an argument":            {[]string{"--yes", "orders"}, "", "unknown command"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProbeWorld(t)
			if test.unset != "" {
				t.Setenv(test.unset, "")
			}
			got := p.probeWith(t.Context(), test.arguments...)
			if requests, _ := p.sent(); got.code != exitUsage || !strings.Contains(got.errOut, test.want) || requests != 0 {
				t.Errorf("it sends %d requests and says\n%v\nwant exit code %d and in it %q", requests, got, exitUsage, test.want)
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "Yes \n": true, "\n": false, "": false, "no\n": false, "yesterday\n": false} {
		asked := &harness.Buffer{}
		err := confirm(t.Context(), strings.NewReader(answer), asked)
		if (err == nil) != want || asked.String() != "Go on? [y/N] " {
			t.Errorf("%q: the error is %v after %q", answer, err, asked)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	reader, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	if err := confirm(ctx, reader, io.Discard); err == nil {
		t.Error("an interrupt confirms")
	}
}

// TestOnlyADeviceIsATerminal is about scripts, which must not be asked.
func TestOnlyADeviceIsATerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "answers"))
	harness.Must(t, err)
	defer func() { _ = file.Close() }()
	reader, writer, err := os.Pipe()
	harness.Must(t, err)
	defer func() { _ = reader.Close() }()
	defer func() { _ = writer.Close() }()
	for name, in := range map[string]io.Reader{"a file": file, "a pipe": reader, "a text": strings.NewReader("y\n")} {
		if isTerminal(in) {
			t.Errorf("%s is a terminal", name)
		}
	}
}

// TestProbeTakesTheCredentialsFromASecret is about the cluster, which no other test of the command needs.
func TestProbeTakesTheCredentialsFromASecret(t *testing.T) {
	p := newProbeWorld(t)
	t.Setenv(clientIDVariable, "")
	w := newWorld(t, "probe")
	w.letLook()
	w.createSecret("other-keys", map[string]string{"id": clientID, "key": clientSecret + "\n"})
	w.createSecret("half", map[string]string{"client_id": clientID})
	w.createSecret("empty", map[string]string{"client_id": clientID, "client_secret": " "})
	w.createSecret("binary", map[string]string{"client_id": clientID, "client_secret": "\x00" + clientSecret})
	for name, test := range map[string]struct {
		arguments []string
		code      int
		want      string
	}{
		"the usual keys":    {[]string{"--client-secret=credentials"}, 0, "with the OAuth client in Secret credentials of namespace probe:"},
		"other keys":        {[]string{"--client-secret=other-keys", "--client-id-key=id", "--client-secret-key=key"}, 0, "in Secret other-keys"},
		"a missing key":     {[]string{"--client-secret=half"}, exitError, "there is no key client_secret in Secret half of namespace probe"},
		"an empty secret":   {[]string{"--client-secret=empty"}, exitError, "the client ID or the client secret in Secret empty of namespace probe is empty"},
		"a NUL byte":        {[]string{"--client-secret=binary"}, exitError, "the client secret in Secret binary of namespace probe contains a NUL byte"},
		"no such Secret":    {[]string{"--client-secret=" + leak}, exitError, "namespace probe has no Secret of the name that --client-secret gives"},
		"no permission":     {[]string{"--client-secret=" + leak, "--as=looker"}, exitError, "you may not read the Secret that --client-secret names in namespace probe"},
		"no API server":     {[]string{"--client-secret=" + leak, "--server=https://127.0.0.1:1"}, exitError, "the API server can't be reached"},
		"no such namespace": {[]string{"--client-secret=credentials", "--namespace=nowhere"}, exitError, "namespace nowhere has no Secret"},
	} {
		t.Run(name, func(t *testing.T) {
			all := append([]string{"--yes", "--kubeconfig=" + kubeconfig, "--namespace=probe"}, test.arguments...)
			before, _ := p.sent()
			got := p.probeWith(t.Context(), all...)
			if got.code != test.code || !strings.Contains(got.errOut, test.want) {
				t.Errorf("it says\n%v\nwant exit code %d and in it %q", got, test.code, test.want)
			}
			if after, _ := p.sent(); (after > before) != (test.code == 0) {
				t.Errorf("it sends %d requests", after-before)
			}
		})
	}
	p.wantEnded()
}

// TestTheReportHidesAnotherAddress is about the address, which may name a host of a company.
func TestTheReportHidesAnotherAddress(t *testing.T) {
	p := newProbeWorld(t)
	if got := p.probe(); strings.Contains(got.out, p.address) || !strings.Contains(got.out, "of another address, with") {
		t.Errorf("the report is\n%v", got)
	}
	plugin := newPlugin(Options{IOStreams: genericiooptions.NewTestIOStreamsDiscard(), Now: p.clock.Now})
	for address, want := range map[string]bool{"https://api.pipedream.com": true, "https://API.pipedream.com:443/": true, "https://api.pipedream.com:8443": false} {
		api := apiOptions{url: address}
		client, err := api.client(plugin)
		harness.Must(t, err)
		if got := api.isDefault(client); got != want {
			t.Errorf("%s is Pipedream's own: %t", address, got)
		}
	}
}

// TestTheDocsNameEachQuestion keeps docs/kubectl-plugin.md complete.
func TestTheDocsNameEachQuestion(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "kubectl-plugin.md"))
	harness.Must(t, err)
	names := []string{}
	for _, question := range probeQuestions {
		if !strings.Contains(string(content), "`"+question.name+"`") {
			t.Errorf("docs/kubectl-plugin.md does not name `%s`", question.name)
		}
		names = append(names, question.name)
	}
	if unique := slices.Compact(slices.Sorted(slices.Values(names))); len(unique) != len(names) {
		t.Errorf("a name is there twice: %v", cmp.Diff(unique, names))
	}
}
