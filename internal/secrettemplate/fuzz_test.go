// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"strings"
	"testing"
	"text/template"
)

// FuzzRender renders any template: it must be bounded, quote no value when it fails,
// fail with all tokens of one length or with none, and else come to the same as with
// Go's own package, of whose language it knows a part only.
func FuzzRender(f *testing.F) {
	f.Add(`{"Authorization": {{ list "Bearer" .AccessToken | join " " | toJson }}}`, "production")
	f.Fuzz(func(t *testing.T, text, environment string) {
		const secret = "eyJ0eXAi.S3cr3t-t0k3n.c2ln"
		values := allValues
		values.AccessToken, values.Environment = secret, environment
		templates := map[string]string{"key": text}
		checkCost(t, templates, values)
		checkErrorsTellNothing(t, text, values, 40)
		data, err := Render(templates, values)
		if err != nil {
			described := asError(t, err)
			if strings.Contains(strings.ToLower(err.Error()), "s3cr3t") && !strings.Contains(strings.ToLower(text), "s3cr3t") {
				t.Errorf("the error shows the token: %v", err)
			}
			if described.Key != "key" || described.Detail == "" || len(err.Error()) > 500 || described.Line > strings.Count(text, "\n")+1 {
				t.Errorf("the error is %#v", described)
			}
			return
		}
		again, err := Render(templates, values)
		if err != nil || string(again["key"]) != string(data["key"]) {
			t.Errorf("the second time it comes to something else: %q (%v), before: %q", again["key"], err, data["key"])
		}
		var want strings.Builder
		parsed, err := template.New("key").Funcs(fromSprig).Option("missingkey=error").Parse(text)
		if err == nil {
			err = parsed.Execute(&want, values)
		}
		if err != nil || want.String() != string(data["key"]) {
			t.Errorf("%q comes to\n%q, with Go's own package to\n%q (%v)", text, data["key"], want.String(), err)
		}
	})
}
