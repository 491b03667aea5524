// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// accounts is a vocabulary whose secret values are fields that differ by object.
var accounts = &Vocabulary{
	Names: map[string]Name{
		"Credentials":    {Secret: "a credential", FieldsOf: "the account"},
		"AccountID":      {},
		"App":            {},
		"ExternalUserID": {AbsentIsEmpty: true},
		"ProjectID":      {Remedy: "set `spec.projectID`"},
		"Environment":    {Remedy: "set `spec.projectID`"},
		"ExpiresAt":      {AbsentIsEmpty: true},
	},
	Condition: `eq .App "slack"`,
}

const apiKey = "-----BEGIN KEY-----\nthe \"credential\"\x01 that must never be seen\n-----END KEY-----"

var anAccount = Values{
	"Credentials.oauth_access_token": apiKey, "Credentials.base_url": "https://example.com", "Credentials.empty": "",
	"Credentials.a.b": "c", "Credentials.not-writable": "x", "Credentials.`quoted`": "x", "Credentialsx.y": "x",
	"AccountID": "apn_abc123", "App": "slack", "ProjectID": "proj_abc123", "Environment": "production",
}

func TestRenderFields(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ template, want string }{
		"a field":                           {`{{ .Credentials.oauth_access_token }}`, apiKey},
		"a field in JSON":                   {`{{ list .App .Credentials.base_url | toJson }}`, `["slack","https://example.com"]`},
		"a field that is empty":             {`<{{ .Credentials.empty }}>`, "<>"},
		"a field with a dot in its name":    {`{{ .Credentials.a.b }}`, "c"},
		"values beside the fields":          {`{{ .AccountID }} {{ .App | upper }} {{ .Environment }}`, "apn_abc123 SLACK production"},
		"an absent value that is empty":     {`<{{ .ExpiresAt }}>`, "<>"},
		"a comparison with an absent value": {`{{ if eq .ExternalUserID "" }}nobody{{ end }}`, "nobody"},
		"a field that this app has not":     {`{{ if eq .App "slack" }}{{ .Credentials.base_url }}{{ else }}{{ .Credentials.api_key }}{{ end }}`, "https://example.com"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := accounts.Render(map[string]string{"key": test.template}, anAccount)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string][]byte{"key": []byte(test.want)}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsRefusedOfFields(t *testing.T) {
	t.Parallel()
	const (
		names = "`.AccountID`, `.App`, `.Credentials.<field>`, `.Environment`, `.ExpiresAt`, `.ExternalUserID`, `.ProjectID`"
		has   = "; it has `a.b`, `base_url`, `empty`, `oauth_access_token`"
	)
	tests := map[string]struct{ template, want string }{
		"a field that the account does not have": {"x\n{{ .Credentials.api_key }}", "line 2, column 16: the account has no field `api_key`" + has},
		"a field of a field":                     {"{{ .Credentials.base_url.host }}", "line 1, column 16: the account has no field `base_url.host`" + has},
		"a field of a long name":                 {"{{ .Credentials." + strings.Repeat("a", 200) + " }}", "line 1, column 16: the account has no field `" + strings.Repeat("a", 40) + "…`" + has},
		"all fields":                             {"{{ .Credentials }}", "line 1, column 4: there is no value `.Credentials`: there are " + names},
		"a field of a value":                     {"{{ .App.Name }}", "line 1, column 8: there is no value `.App.Name`: there are " + names},
		"a value of another kind":                {"{{ .AccessToken }}", "line 1, column 4: there is no value `.AccessToken`: there are " + names},
		"all values":                             {"{{ . }}", "line 1, column 4: `.` alone is not available: name a value, which are " + names},
		"no condition":                           {"{{ if .App }}{{ end }}", "line 1, column 7: `if` wants a condition, such as `eq .App \"slack\"`, not a text"},
		"a default":                              {`{{ default "x" .App }}`, "line 1, column 4: the function `default` is not available: available are `" + strings.Join(functionNames, "`, `") + "`"},
		"a credential that is compared":          {`{{ if eq "x" .Credentials.base_url }}x{{ end }}`, "line 1, column 7: a credential can't be compared, cut or changed in case, as `eq` would"},
		"an absent credential that is compared":  {`{{ if eq "x" .Credentials.api_key }}x{{ end }}`, "line 1, column 7: a credential can't be compared, cut or changed in case, as `eq` would"},
		"a part of a text that is cut":           {`{{ list .App .Credentials.base_url | join " " | trim }}`, "line 1, column 49: a credential can't be compared, cut or changed in case, as `trim` would"},
		"a value without a remedy":               {"{{ .AccountID }}", "line 1, column 4: `.AccountID` has no value"},
		"a value with a remedy":                  {"{{ .ProjectID }}", "line 1, column 4: `.ProjectID` has no value: set `spec.projectID`"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := accounts.Render(map[string]string{"key": test.template}, anAccount.without("AccountID", "ProjectID"))
			if want := "key `key`, " + test.want; fmt.Sprint(err) != want {
				t.Errorf("the error is\n%v, want\n%s", err, want)
			}
			if data != nil {
				t.Errorf("there are data all the same: %v", data)
			}
		})
	}
}

// The names of fields come from outside the cluster, and everybody who can read the status sees the errors.
func TestErrorsListTenFieldsAtMost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fields []string
		want   string
	}{
		"no field":                       {nil, "the account has no field `x`; it has no field that a template can name"},
		"no field that can be named":     {[]string{"a-b", "0a", "é", "a b", "", "a\n", "a.", ".a"}, "the account has no field `x`; it has no field that a template can name"},
		"one field":                      {[]string{"a"}, "the account has no field `x`; it has `a`"},
		"ten fields":                     {strings.Split("jihgfedcba", ""), "the account has no field `x`; it has `a`, `b`, `c`, `d`, `e`, `f`, `g`, `h`, `i`, `j`"},
		"twelve fields":                  {strings.Split("jihgfedcbakl", ""), "the account has no field `x`; it has `a`, `b`, `c`, `d`, `e`, `f`, `g`, `h`, `i`, `j` and 2 more"},
		"a field of a name that is long": {[]string{strings.Repeat("a", 100)}, "the account has no field `x`; it has `" + strings.Repeat("a", 40) + "…`"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := Values{}
			for _, field := range test.fields {
				values["Credentials."+field] = apiKey
			}
			_, err := accounts.Render(map[string]string{"key": "{{ .Credentials.x }}"}, values)
			if got := asError(t, err).Detail; got != test.want {
				t.Errorf("the error is\n%s, want\n%s", got, test.want)
			}
		})
	}
}

func TestAbsentFieldCanBeEmpty(t *testing.T) {
	t.Parallel()
	lenient := &Vocabulary{Names: map[string]Name{"Credentials": {Secret: "a credential", FieldsOf: "the account", AbsentIsEmpty: true}}}
	data, err := lenient.Render(map[string]string{"key": "<{{ .Credentials.api_key }}>"}, Values{})
	if string(data["key"]) != "<>" || err != nil {
		t.Errorf("it comes to %q (%v)", data["key"], err)
	}
}

// secretsOfOneLength are different secret values of the same length. Unlike tokens, some are not text.
func secretsOfOneLength(length int) []string {
	made := tokensOfOneLength(length)
	for _, part := range []string{" ", "\n", "\x00", "\x7f", "\xff", "é", "\u2028", "\U0010ffff", "\ufeff"} {
		made = append(made, strings.Repeat(part, length)[:length])
	}
	return made
}

func TestErrorsDoNotTellOfAField(t *testing.T) {
	t.Parallel()
	templates := worst()
	for parts := 1; parts < 8; parts++ {
		templates[fmt.Sprint("JSON in JSON of ", parts)] = "{{.AccessToken" + strings.Repeat("|toJson", parts) + "}}"
		templates[fmt.Sprint("quotes in quotes of ", parts)] = "{{.AccessToken" + strings.Repeat("|quote", parts) + "}}"
		templates[fmt.Sprint("the Secret of ", parts*30)] = strings.Repeat("{{toJson .AccessToken}}", parts*30)
	}
	for name, template := range templates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			template := strings.ReplaceAll(template, ".AccessToken", ".Credentials.oauth_access_token")
			template = strings.ReplaceAll(template, ".Scope", ".App")
			checkErrorsRevealNothing(t, accounts, "Credentials.oauth_access_token", template, anAccount, secretsOfOneLength(500))
		})
	}
}

// `quote` writes Go's escapes. For visible ASCII only, they are also escapes of JSON.
func TestJSONQuotesEachCredential(t *testing.T) {
	t.Parallel()
	refused := func(column int) string {
		return fmt.Sprintf("key `key`, line 1, column %d: in JSON a credential must be shown by `toJson`, "+
			"as in `{{ .Credentials.oauth_access_token | toJson }}`, without quotes around it", column)
	}
	tests := map[string]struct{ template, want string }{
		"by toJson":             {`{"a": {{ .Credentials.oauth_access_token | toJson }}}`, "<nil>"},
		"by toJson in a list":   {`{"a": {{ list "x" .Credentials.oauth_access_token | toJson }}}`, "<nil>"},
		"in Base64 in quotes":   {`{"a": {{ .Credentials.oauth_access_token | b64enc | toJson }}}`, "<nil>"},
		"quoted, then as JSON":  {`{"a": {{ .Credentials.oauth_access_token | quote | toJson }}}`, "<nil>"},
		"another value, quoted": {`{"a": {{ .App | quote }}}`, "<nil>"},
		"as it is":              {`{"a":"{{ .Credentials.oauth_access_token }}"}`, refused(10)},
		"by quote":              {`{"a": {{ .Credentials.oauth_access_token | quote }}}`, refused(10)},
		"as JSON, then quoted":  {`{"a": {{ .Credentials.oauth_access_token | toJson | quote }}}`, refused(10)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := accounts.Render(map[string]string{"key": test.template, "other": "{{ .Credentials.base_url }}"}, anAccount, "key")
			if got := fmt.Sprint(err); got != test.want {
				t.Errorf("the error is\n%s, want\n%s", got, test.want)
			}
			checkErrorsRevealNothing(t, accounts, "Credentials.oauth_access_token", test.template, anAccount, secretsOfOneLength(40))
		})
	}
	mixed := &Vocabulary{Names: map[string]Name{"Token": {Secret: "the token", IsVisibleASCII: true}, "Password": {Secret: "the password"}}}
	for template, wantsError := range map[string]bool{
		`{{ list .Token .Token | join " " | quote }}`:        false,
		`{{ list .Token .Password | join " " | quote }}`:     true,
		`{{ list .Password .Token | join " " | quote }}`:     true,
		`{{ list .Password .Token "x" | join "" | toJson }}`: false,
	} {
		if _, err := mixed.Render(map[string]string{"key": template}, Values{"Token": "t", "Password": "p"}, "key"); (err != nil) != wantsError {
			t.Errorf("%s: the error is %v", template, err)
		}
	}
}

func TestKeyShowingAField(t *testing.T) {
	t.Parallel()
	templates := map[string]string{
		"a": "Bearer {{ .Credentials.api_key }}", "b": "{{ .Credentials.api_key_2 }}", "c": "{{ .Credentials }}",
		"d": "{{- .Credentials.api_key -}}", "e": "{{ .Credentials.api_key }}", "f": "{{ .Credentials.api.key }}",
	}
	for name, want := range map[string]string{
		"Credentials.api_key": "d", "Credentials.api_key_2": "b", "Credentials.api.key": "f", "Credentials.other": "", "AccountID": "", "": "",
	} {
		if got := KeyShowing(name, templates); got != want {
			t.Errorf("the key that shows %q is %q, want %q", name, got, want)
		}
	}
}
