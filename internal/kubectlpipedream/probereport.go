// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/cli-runtime/pkg/printers"
)

// probeQuestion is a question to the API.
type probeQuestion struct {
	// name is the question's name in JSON.
	name string
	text string
	// assumption is what the operator assumes.
	assumption string
}

// probeQuestions are all questions, in the order of the report.
var probeQuestions = []probeQuestion{
	{"wrong-secret", "a wrong client secret", "401, or 400 or 403 with invalid_client or unauthorized_client"},
	{"unknown-scope", "an unknown scope", "400 with invalid_scope, or a field scope that does not cover it"},
	{"scope-field", "field scope of the answer", "absent, empty, or it covers the requested scopes"},
	{"expires-in", "field expires_in", "a whole number of seconds, at least 30"},
	{"created-at", "field created_at", "nothing: it is not read"},
	{"token-form", "the token", "visible ASCII characters"},
	{"second-token", "a second token with the same scope", "another token"},
	{"first-token", "the first token, after the second", "still accepted"},
	{"new-token", "a new token is accepted", "at most 10s after its issue"},
	{"clock", "this machine's clock", "at most 5m off"},
	{"accounts-with-scope", "accounts, with connect:accounts:read", "a listing"},
	{"accounts-without-scope", "accounts, without this scope", "nothing: such a token is not verified"},
	{"accounts-bad-token", "accounts, with a made-up token", "401"},
	{"accounts-listing", "form of the listing of accounts", "a list, alone, in data or in data.accounts"},
	{"unknown-account", "a made-up account", "404, or no account in the answer"},
	{"account-credentials", "an account, with its credentials", "the account; its credentials may be absent, null or empty"},
	{"account-form", "form of an account", "an account, or a list with it, alone or in data"},
	{"account-times", "times of an account", "expires_at: a time in RFC 3339, null or absent"},
	{"account-health", "health of an account", "booleans, null or absent"},
	{"account-again", "the account again", "nothing: Pipedream decides when it refreshes"},
	{"account-by-user", "the account, by its end user and app", "the same account"},
	{"account-without-scope", "the account, without connect:accounts:read", "nothing: the operator asks with the scope"},
	{"projects-with-scope", "projects, with connect:projects:read", "a listing"},
	{"projects-without-scope", "projects, without this scope", "nothing: such a token is not verified"},
	{"projects-bad-token", "projects, with a made-up token", "401"},
	{"revoke", "a revocation", "nothing: the operator revokes no token"},
	{"revoked-token", "a revoked token", "401, at most 10s after the revocation"},
	{"rate-limits", "headers about rate limits", "nothing: without them, it waits longer after each 429"},
	{"http-version", "version of HTTP", "nothing: HTTP/1.1 and HTTP/2 work"},
}

// probeReport is what the command has found. It holds nothing that must not be published.
type probeReport struct {
	Plugin string    `json:"plugin"`
	Time   time.Time `json:"time"`
	// API is the address of the API if it is Pipedream's own. Another address is not shown.
	API      string `json:"api"`
	Requests int    `json:"requests"`
	// Stopped says why the command stopped early; empty if it did not.
	Stopped string        `json:"stopped,omitempty"`
	Answers []probeAnswer `json:"answers"`
	Tokens  probeTokens   `json:"tokens"`
}

// probeAnswer is a question with its answer.
type probeAnswer struct {
	Name       string `json:"name"`
	Question   string `json:"question"`
	Answer     string `json:"answer"`
	Assumption string `json:"assumption"`
	Holds      holds  `json:"holds"`
}

// probeTokens says how many tokens were issued and revoked.
type probeTokens struct {
	Issued  int `json:"issued"`
	Revoked int `json:"revoked"`
	// Left has a sentence for each token that may still be valid.
	Left []string `json:"left,omitempty"`
}

// newProbeReport returns what was found. isPipedream says whether the API is at Pipedream's own address.
func newProbeReport(s *probeSender, answers probeAnswers, isPipedream bool) probeReport {
	report := probeReport{
		Plugin: s.plugin.version(), Time: s.plugin.Now().UTC().Truncate(time.Second), API: "another address",
		Requests: s.sent, Stopped: s.stopped, Tokens: probeTokens{Issued: len(s.issued), Left: s.left()},
	}
	if isPipedream {
		report.API = defaultAPIURL
	}
	for _, one := range s.issued {
		if one.isEnded {
			report.Tokens.Revoked++
		}
	}
	for _, question := range probeQuestions {
		found, ok := answers[question.name]
		if !ok {
			found = answerRow{text: "not asked", holds: holdsUnknown}
		}
		report.Answers = append(report.Answers, probeAnswer{
			Name: question.name, Question: question.text, Answer: oneLine(found.text),
			Assumption: question.assumption, Holds: found.holds,
		})
	}
	return report
}

// hasNo reports whether an assumption does not hold.
func (r probeReport) hasNo() bool {
	for _, one := range r.Answers {
		if one.Holds == holdsNo {
			return true
		}
	}
	return false
}

// write writes the report as JSON or as a table.
func (r probeReport) write(to io.Writer, format string) error {
	if format == formatJSON {
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(r)
	}
	out := printers.GetNewTabWriter(to)
	_, _ = fmt.Fprintln(out, strings.Join([]string{"HOLDS", "QUESTION", "ANSWER", "THE OPERATOR ASSUMES"}, "\t"))
	for _, one := range r.Answers {
		_, _ = fmt.Fprintln(out, strings.Join([]string{string(one.Holds), one.Question, one.Answer, one.Assumption}, "\t"))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("show the table: %w", err)
	}
	_, err := fmt.Fprint(to, r.summary())
	return err
}

// summary returns the lines after the table.
func (r probeReport) summary() string {
	lines := []string{
		"",
		fmt.Sprintf("Asked with version %s of the plugin at %s, of %s, with %d requests.", r.Plugin, r.Time.Format(time.RFC3339), r.API, r.Requests),
		fmt.Sprintf("%d tokens were issued, and %d of them were revoked.", r.Tokens.Issued, r.Tokens.Revoked),
	}
	lines = append(lines, r.Tokens.Left...)
	if r.Stopped != "" {
		lines = append(lines, "It stopped early: "+r.Stopped+".")
	}
	return strings.Join(lines, "\n") + "\n"
}
