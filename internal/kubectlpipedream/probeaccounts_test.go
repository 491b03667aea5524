// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// probeAccount is the account that --account names.
const probeAccount = "apn_h1dden"

// newAccountProbeWorld is a probeWorld with an account of the project, as changed by a function.
func newAccountProbeWorld(t *testing.T, change func(*simulator.Account)) *probeWorld {
	t.Helper()
	p := newProbeWorld(t)
	account := simulator.NewAccount(probeProject, endUser, "leakyapp")
	account.Refresh = "lead:20m"
	account.Fields = map[string]any{"field-" + leak: "value-" + leak, "base_url": "https://" + leak + ".example"}
	change(&account)
	harness.Must(t, p.pipedream.Accounts.Set(probeAccount, account))
	return p
}

// noteCredentials notes the credentials in an answer, which nobody must see.
func (p *probeWorld) noteCredentials(body []byte) {
	var found any
	if json.Unmarshal(body, &found) == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.noteTexts(found, false)
	}
}

func (p *probeWorld) noteTexts(value any, isCredential bool) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			p.noteTexts(inner, isCredential || name == "credentials")
		}
	case []any:
		for _, inner := range value {
			p.noteTexts(inner, isCredential)
		}
	case string:
		if isCredential && len(value) > 5 {
			p.credentials = append(p.credentials, value)
		}
	}
}

func TestProbeOfAnAccount(t *testing.T) {
	for name, arguments := range map[string][]string{"probe-account": nil, "probe-account-json": {"--output=json"}} {
		t.Run(name, func(t *testing.T) {
			p := newAccountProbeWorld(t, func(*simulator.Account) {})
			got := p.probe(append(arguments, "--project="+probeProject, "--account="+probeAccount)...)
			p.wantGolden(name, got)
			p.wantEnded()
			if requests, tokens := p.sent(); requests != usualRequestsWithAccount || tokens != 3 {
				t.Errorf("it sends %d requests and gets %d tokens, want %d and 3", requests, tokens, usualRequestsWithAccount)
			}
			if len(p.credentials) < 5 {
				t.Errorf("only %d values of credentials were looked for", len(p.credentials))
			}
		})
	}
}

// TestProbeOfEachReadingOfAccounts is about each way in which the API may answer for accounts.
func TestProbeOfEachReadingOfAccounts(t *testing.T) {
	account := func(change func(*simulator.Account)) func(*probeWorld) {
		return func(p *probeWorld) { harness.Must(p.T, p.pipedream.Accounts.Change(probeAccount, change)) }
	}
	answers := func(pairs ...string) func(*probeWorld) {
		return func(p *probeWorld) {
			for i := 0; i < len(pairs); i += 2 {
				harness.Must(p.T, p.pipedream.Accounts.SetAnswers(map[string]string{pairs[i]: pairs[i+1]}))
			}
		}
	}
	fault := func(body string) func(*probeWorld) {
		return func(p *probeWorld) {
			p.fault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: 200, Body: body})
		}
	}
	const id = `{"id":"` + probeAccount + `",`
	for name, test := range map[string]struct {
		set  func(*probeWorld)
		want map[string]probed
	}{
		"bare": {answers("single", "bare", "listing", "bare"), map[string]probed{
			"account-form": {holdsYes, "an account; id, "}, "accounts-listing": {holdsYes, "a list; the first account: id, "}, "account-by-user": {holdsYes, "the same account"},
		}},
		"in data":          {answers("single", "data"), map[string]probed{"account-form": {holdsYes, "data: an account; id, "}}},
		"in a list":        {answers("single", "list"), map[string]probed{"account-form": {holdsYes, "data: a list; id, "}}},
		"in data.accounts": {answers("listing", "accounts"), map[string]probed{"accounts-listing": {holdsYes, "data: a field accounts with a list"}}},
		"filters that are ignored": {answers("filters", "none"), map[string]probed{
			"account-by-user": {holdsYes, "200, the same account, with credentials"},
		}},
		"no external_id": {answers("external-id", "absent"), map[string]probed{
			"account-by-user": {holdsUnknown, "not asked: the answer names no end user"}, "account-again": {holdsYes, "the same"},
		}},
		"another scope for credentials": {answers("credentials-scope", "connect:proxy"), map[string]probed{
			"account-credentials": {holdsNo, "403"}, "account-times": {holdsUnknown, "not known"}, "account-again": {holdsUnknown, "not asked"},
		}},
		"credentials that are null":   {account(func(a *simulator.Account) { a.Credentials = simulator.CredentialsNull }), map[string]probed{"account-credentials": {holdsYes, "200, credentials: null; auth_type: oauth"}, "account-again": {holdsUnknown, "not asked"}}},
		"credentials that are empty":  {account(func(a *simulator.Account) { a.Credentials = simulator.CredentialsEmpty }), map[string]probed{"account-credentials": {holdsYes, "200, credentials: an object without fields"}}},
		"credentials that are absent": {account(func(a *simulator.Account) { a.Credentials = simulator.CredentialsAbsent }), map[string]probed{"account-credentials": {holdsYes, "200, credentials: absent"}}},
		"keys": {account(isKeys), map[string]probed{
			"account-credentials": {holdsYes, "an object with api_key, base_url, 1 other fields; auth_type: keys"}, "account-times": {holdsYes, "expires_at: null; next_refresh_at: null"},
		}},
		"a refresh at each request": {account(func(a *simulator.Account) { a.Refresh = "force" }), map[string]probed{"account-again": {holdsYes, "other credentials"}}},
		"a dead account":            {account(func(a *simulator.Account) { a.Dead, a.Healthy = new(true), nil }), map[string]probed{"account-health": {holdsYes, "healthy: null; dead: a boolean"}, "account-credentials": {holdsYes, "200"}}},
		"another account":           {account(func(a *simulator.Account) { a.ProjectID = "proj_another" }), map[string]probed{"account-credentials": {holdsUnknown, "404, a JSON object with error (is --account right?)"}}},
		"an account of another environment": {account(func(a *simulator.Account) { a.Environment = "development" }), map[string]probed{
			"account-credentials": {holdsUnknown, "is --account right?"},
		}},
		"a time that is no time": {fault(id + `"credentials":{"a":"` + leak + `"},"expires_at":"` + leak + `"}`), map[string]probed{
			"account-times": {holdsNo, "expires_at: a text that is no time in RFC 3339"}, "account-credentials": {holdsNo, "an object with 1 other fields"},
		}},
		"a number and an object among the credentials": {fault(id + `"credentials":{"api_key":17,"b":{"c":"` + leak + `"}},"healthy":1,"expires_at":"2026-01-01T00:00:00Z"}`), map[string]probed{
			"account-credentials": {holdsYes, "an object with api_key, 1 other fields; 2 of the values are no texts"}, "account-health": {holdsNo, "healthy: of another type; dead: absent"},
			"account-times": {holdsYes, "expires_at: a time in RFC 3339, past; next_refresh_at: absent"},
		}},
		"no account": {fault(`{"` + leak + `":1}`), map[string]probed{"account-credentials": {holdsNo, "200, a JSON object with 1 other fields"}, "unknown-account": {holdsNo, "200"}}},
		"an unknown account that is an empty listing": {fault(`{"data":[]}`), map[string]probed{"unknown-account": {holdsYes, "200, a JSON object with data"}}},
		"an outage": {func(p *probeWorld) {
			p.fault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: 503, Body: leak})
		}, map[string]probed{"account-credentials": {holdsUnknown, "503"}, "unknown-account": {holdsUnknown, "503"}, "revoke": {holdsYes, "200"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newAccountProbeWorld(t, func(*simulator.Account) {})
			test.set(p)
			got := p.probe("--project="+probeProject, "--account="+probeAccount, "--output=json")
			found := p.answersOf(got)
			for name, want := range test.want {
				if one := found[name]; one.Holds != want.holds || !strings.Contains(one.Answer, want.says) {
					t.Errorf("%s is %s: %s; want %s and in it %q", name, one.Holds, one.Answer, want.holds, want.says)
				}
			}
			if requests, _ := p.sent(); requests > maxRequests {
				t.Errorf("it sends %d requests", requests)
			}
			p.wantEnded()
		})
	}
}

func TestProbeNamesABadAccount(t *testing.T) {
	for want, arguments := range map[string][]string{
		"--account needs --project":                                  {"--account=" + probeAccount},
		"--account takes the ID of an account, such as apn_abc123: ": {"--account=no/" + leak, "--project=" + probeProject},
	} {
		p := newProbeWorld(t)
		got := p.probe(arguments...)
		if requests, _ := p.sent(); got.code != exitUsage || !strings.Contains(got.errOut, want) || requests != 0 {
			t.Errorf("%v sends %d requests and says\n%v\nwant in it %q", arguments, requests, got, want)
		}
	}
}

// TestTheLeakSearchFindsAPlantedValue shows that wantNoSecret looks for credentials.
func TestTheLeakSearchFindsAPlantedValue(t *testing.T) {
	p := newAccountProbeWorld(t, func(*simulator.Account) {})
	p.noteCredentials([]byte(`{"data":[{"id":"a","credentials":{"api_key":"a-planted-value"}}]}`))
	if len(p.credentials) != 1 || !bytes.Contains([]byte(strings.Join(p.hidden(), " ")), []byte("a-planted-value")) {
		t.Errorf("the search is for %q", p.hidden())
	}
}
