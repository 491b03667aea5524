// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"maps"
	"strings"
	"testing"
	"text/template"
)

// FuzzRender renders any template over two vocabularies. The cost must stay within the limits.
// An error must quote no value. The outcome must be the same for all secret values
// of one length. A template that is rendered must have the same result with Go's own package.
func FuzzRender(f *testing.F) {
	f.Add(`{"Authorization": {{ list "Bearer" .AccessToken | join " " | toJson }}}`, "production")
	f.Add(`{"key": {{ .Credentials.api_key | toJson }}, "for": {{ quote .ExternalUserID }}}`, "production")
	f.Add(`{{ if eq .Environment "production" }}{{ .Credentials.password }}{{ end }}`, "production")
	f.Fuzz(func(t *testing.T, text, environment string) {
		const secret = "eyJ0eXAi.S3cr3t-t0k3n.c2ln"
		values := allValues.with("AccessToken", secret).with("Environment", environment)
		if environment == "" {
			values = values.without("Environment")
		}
		checkErrorsRevealNothing(t, tokens, "AccessToken", text, values, tokensOfOneLength(40))
		checkRendering(t, tokens, text, values, values)

		credentials := map[string]string{"api_key": secret, "base_url": "https://example.com"}
		ofAccount := Values{
			"AccountID": "apn_abc123", "App": "slack", "ProjectID": "proj_abc123", "Environment": environment,
			"Credentials.api_key": credentials["api_key"], "Credentials.base_url": credentials["base_url"],
		}
		checkErrorsRevealNothing(t, accounts, "Credentials.api_key", text, ofAccount, secretsOfOneLength(40))
		forGo := map[string]any{"Credentials": credentials, "ExternalUserID": "", "ExpiresAt": ""}
		for name, value := range ofAccount.without("Credentials.api_key", "Credentials.base_url") {
			forGo[name] = value
		}
		checkRendering(t, accounts, text, ofAccount, forGo)
	})
}

// checkRendering renders a template, and compares the result with that of Go's own package for
// the same values.
func checkRendering(t *testing.T, vocabulary *Vocabulary, text string, values Values, forGo any) {
	t.Helper()
	templates := map[string]string{"key": text}
	checkCost(t, vocabulary, templates, values)
	before := maps.Clone(values)
	data, err := vocabulary.Render(templates, values)
	if !maps.Equal(before, values) {
		t.Errorf("the values were changed")
	}
	if err != nil {
		described := asError(t, err)
		if strings.Contains(strings.ToLower(err.Error()), "s3cr3t") && !strings.Contains(strings.ToLower(text), "s3cr3t") {
			t.Errorf("the error shows the secret: %v", err)
		}
		if described.Key != "key" || described.Detail == "" || len(err.Error()) > 500 || described.Line > strings.Count(text, "\n")+1 {
			t.Errorf("the error is %#v", described)
		}
		return
	}
	again, err := vocabulary.Render(templates, values)
	if err != nil || string(again["key"]) != string(data["key"]) {
		t.Errorf("the second time it comes to something else: %q (%v), before: %q", again["key"], err, data["key"])
	}
	var want strings.Builder
	parsed, err := template.New("key").Funcs(fromSprig).Option("missingkey=error").Parse(text)
	if err == nil {
		err = parsed.Execute(&want, forGo)
	}
	if err != nil || want.String() != string(data["key"]) {
		t.Errorf("%q comes to\n%q, with Go's own package to\n%q (%v)", text, data["key"], want.String(), err)
	}
}
