// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const token = "eyJ0eXAiOiJKV1QifQ.the-token-that-must-never-be-seen.c2ln"

// tokens is a vocabulary with one secret value and without fields.
var tokens = &Vocabulary{
	Names: map[string]Name{
		"AccessToken": {Secret: "the access token", IsVisibleASCII: true},
		"TokenType":   {},
		"ExpiresAt":   {},
		"Scope":       {},
		"ProjectID":   {Remedy: "set `spec.projectID`"},
		"Environment": {Remedy: "set `spec.environment`"},
	},
	Condition:        `eq .Environment "production"`,
	InsteadOfDefault: "all values but those of absent fields of the spec are always there; use `if` with `eq`",
}

var allValues = Values{
	"AccessToken": token, "TokenType": "Bearer", "ExpiresAt": "2026-01-02T04:04:05Z",
	"Scope": "connect:*", "ProjectID": "proj_abc123", "Environment": "production",
}

// with returns a copy of the values in which a name has another value.
func (v Values) with(name, value string) Values {
	changed := maps.Clone(v)
	changed[name] = value
	return changed
}

// without returns a copy of the values without some of them.
func (v Values) without(names ...string) Values {
	changed := maps.Clone(v)
	for _, name := range names {
		delete(changed, name)
	}
	return changed
}

// asError returns the *Error that Render promises.
func asError(t *testing.T, err error) *Error {
	t.Helper()
	known, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("the error is %v, want an *Error", err)
	}
	return known
}

func TestRender(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ template, want string }{
		"nothing":                     {template: "", want: ""},
		"a text":                      {template: "machine api.pipedream.com\n", want: "machine api.pipedream.com\n"},
		"the token":                   {template: "{{ .AccessToken }}", want: token},
		"each value":                  {template: "{{.TokenType}} {{.ExpiresAt}} {{.Scope}} {{.ProjectID}} {{.Environment}}", want: "Bearer 2026-01-02T04:04:05Z connect:* proj_abc123 production"},
		"white space that is trimmed": {template: "a {{- /* why */ -}} b {{- .TokenType -}} c", want: "abBearerc"},
		"a text in quotes":            {template: `{{ "{{" }} {{ ` + "`raw`" + ` }}`, want: "{{ raw"},
		"headers in JSON":             {template: `{"Authorization": {{ list "Bearer" .AccessToken | join " " | toJson }}}`, want: `{"Authorization": "Bearer ` + token + `"}`},
		"a list in JSON":              {template: `{{ list .TokenType "<a>" | toJson }}`, want: `["Bearer","\u003ca\u003e"]`},
		"basic authorization":         {template: `{{ list "user" .ProjectID | join ":" | b64enc }}`, want: "dXNlcjpwcm9qX2FiYzEyMw=="},
		"upper and lower case":        {template: "{{ upper .Environment }} {{ .TokenType | lower }}", want: "PRODUCTION bearer"},
		"a prefix and a suffix":       {template: `{{ .ProjectID | trimPrefix "proj_" | trimSuffix "123" }}`, want: "abc"},
		"white space of a value":      {template: `{{ trim "  a\n" }}`, want: "a"},
		"a text that is quoted":       {template: `{{ quote "a\"b" }}`, want: `"a\"b"`},
		"a condition that holds":      {template: `{{ if eq .Environment "production" }}live{{ else }}test{{ end }}`, want: "live"},
		"a condition that does not":   {template: `{{ if ne .Environment "production" }}live{{ else }}test{{ end }}`, want: "test"},
		"a condition without else":    {template: `{{ if not (eq .Environment "production") }}live{{ end }}`, want: ""},
		"conditions in a row":         {template: `{{ if eq .Scope "a" }}a{{ else if eq .Scope "connect:*" }}b{{ else }}c{{ end }}`, want: "b"},
		"conditions together":         {template: `{{ if and (eq .Scope "connect:*") (or (eq .Environment "a") (ne .TokenType "b")) }}yes{{ end }}`, want: "yes"},
		"parentheses":                 {template: `{{ (((list (.TokenType | lower) ("x")))) | join "-" }}`, want: "bearer-x"},
		"a branch that is not rendered needs no values": {template: `{{ if eq .Environment "development" }}{{ list .AccessToken | join "," }}{{ end }}`, want: ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tokens.Render(map[string]string{"key": test.template}, allValues)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string][]byte{"key": []byte(test.want)}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	const names = "`.AccessToken`, `.Environment`, `.ExpiresAt`, `.ProjectID`, `.Scope`, `.TokenType`"
	const available = "`and`, `b64enc`, `eq`, `join`, `list`, `lower`, `ne`, `not`, `or`, `quote`, `toJson`, `trim`, `trimPrefix`, `trimSuffix`, `upper`"
	tests := map[string]struct{ template, want string }{
		"range":                               {"a\n{{ range .Scope }}x{{ end }}", "line 2, column 10: `range` is not available: there are no loops; name each value"},
		"range over an integer":               {"{{range 1000000000}}{{range 1000000000}}x{{end}}{{end}}", "line 1, column 9: `range` is not available: there are no loops; name each value"},
		"range with variables":                {"{{range $i, $x := .Scope}}x{{end}}", "line 1, column 9: `range` is not available: there are no loops; name each value"},
		"break":                               {"{{break}}", "line 1: `break` and `continue` are not available: there are no loops"},
		"continue":                            {"{{continue}}", "line 1: `break` and `continue` are not available: there are no loops"},
		"with":                                {"{{with .Scope}}x{{end}}", "line 1, column 8: `with` is not available: name the value where it is used"},
		"define":                              {`{{define "x"}}x{{end}}`, "`define` and `block` are not available: write the text where it belongs"},
		"define without a name":               {`{{define ""}}x{{end}}`, "`define` and `block` are not available: write the text where it belongs"},
		"define of nothing":                   {`{{define "key"}}{{end}}`, "`define` and `block` are not available: write the text where it belongs"},
		"block":                               {`{{block "x" .}}x{{end}}`, "`define` and `block` are not available: write the text where it belongs"},
		"template":                            {`{{template "x"}}`, "line 1, column 12: `template` and `block` are not available: write the text where it belongs"},
		"a template that calls itself":        {`{{template "` + mainName[:100] + `"}}`, "line 1, column 12: `template` and `block` are not available: write the text where it belongs"},
		"a variable":                          {"{{$x := .Scope}}", "line 1, column 3: variables are not available: name the value where it is used"},
		"a variable in a condition":           {`{{if $x := eq .Scope "a"}}{{end}}`, "line 1, column 6: variables are not available: name the value where it is used"},
		"a variable that is not there":        {"{{$x}}", "line 1: variables are not available: name the value where it is used"},
		"all values":                          {"{{ . }}", "line 1, column 4: `.` alone is not available: name a value, which are " + names},
		"all values by a variable":            {"{{ $ }}", "line 1, column 4: variables and `$` are not available: name the value where it is used"},
		"a value by a variable":               {"{{ $.AccessToken }}", "line 1, column 5: variables and `$` are not available: name the value where it is used"},
		"a value that is not there":           {"{{ .ClientSecret }}", "line 1, column 4: there is no value `.ClientSecret`: there are " + names},
		"a field of a value":                  {"{{ .AccessToken.Value }}", "line 1, column 16: there is no value `.AccessToken.Value`: there are " + names},
		"a field of an expression":            {`{{ (list "a").Len }}`, "line 1, column 14: a text has no fields"},
		"a long name":                         {"{{ ." + strings.Repeat("A", 200) + " }}", "line 1, column 4: there is no value `." + strings.Repeat("A", 40) + "…`: there are " + names},
		"printf":                              {`{{ printf "%1000000000d" .Scope }}`, "line 1, column 4: the function `printf` is not available: write texts and values side by side, or use `list` and `join`"},
		"html":                                {`{{ html .Scope }}`, "line 1, column 4: the function `html` is not available: use `toJson` or `quote`"},
		"default":                             {`{{ .Scope | default "x" }}`, "line 1, column 13: the function `default` is not available: all values but those of absent fields of the spec are always there; use `if` with `eq`"},
		"the environment":                     {`{{ env "PATH" }}`, "line 1, column 4: the function `env` is not available: available are " + available},
		"a function in a branch not taken":    {`{{ if eq .Scope "x" }}{{ now }}{{ end }}`, "line 1, column 26: the function `now` is not available: available are " + available},
		"a number":                            {"{{ 1 }}", "line 1, column 4: only values, texts in quotes and functions are available, no numbers, `true`, `false` or `nil`"},
		"a condition that is shown":           {`{{ eq .Scope "x" }}`, "line 1, column 4: a condition can't be shown: make it a text"},
		"a list that is shown":                {`{{ list "x" }}`, "line 1, column 4: a list can't be shown: make it a text"},
		"a list of lists":                     {`{{ list (list "a") | join "," }}`, "line 1, column 4: argument 1 of `list` must be a text"},
		"a condition that is a text":          {`{{ if .ProjectID }}x{{ end }}`, "line 1, column 7: `if` wants a condition, such as `eq .Environment \"production\"`, not a text"},
		"a separator that is computed":        {`{{ list "a" "b" | join (upper "x") }}`, "line 1, column 19: argument 1 of `join` must be a text of at most 16 bytes in quotes"},
		"a separator that is a value":         {`{{ list "a" "b" | join .AccessToken }}`, "line 1, column 19: argument 1 of `join` must be a text of at most 16 bytes in quotes"},
		"a long separator":                    {`{{ list "a" "b" | join "12345678901234567" }}`, "line 1, column 19: argument 1 of `join` must be a text of at most 16 bytes in quotes"},
		"too few arguments":                   {"{{ eq .Scope }}", "line 1, column 4: `eq` wants 2 arguments, and has 1"},
		"too many arguments":                  {`{{ "x" | toJson .Scope }}`, "line 1, column 10: `toJson` wants 1 arguments, and has 2"},
		"no argument where it may be several": {`{{ list | join "," }}`, "line 1, column 4: `list` wants 1 arguments, and has 0"},
		"an argument of a value":              {`{{ .Scope "x" }}`, "line 1, column 4: this is no function, and takes no arguments"},
		"an argument for a value":             {`{{ "x" | .Scope }}`, "line 1, column 10: this is no function, and takes no arguments"},
		"an argument for a text":              {`{{ .Scope | "x" }}`, "line 1: only a function can take what stands before a `|`"},
		"an action that is open":              {"a\nb {{ .Scope", "line 2: an action is not closed with `}}`"},
		"a condition that is open":            {`{{ if eq .Scope "x" }}`, "line 1: an `if` has no `{{ end }}`"},
		"a quote that is open":                {"{{ \"the-text }}", "line 1: a text in quotes is not closed"},
		"an empty action":                     {"{{ }}", "line 1: an action is empty"},
		"a text that the parser would quote":  {`{{ .Scope "hunter2" := }}`, "line 1: the template can't be parsed"},
		"an absent project":                   {"x\n  é{{ .ProjectID }}", "line 2, column 7: `.ProjectID` has no value: set `spec.projectID`"},
		"an absent environment":               {`{{ if eq .Environment "x" }}{{ end }}`, "line 1, column 10: `.Environment` has no value: set `spec.environment`"},
		"a template that is too long":         {strings.Repeat("é", MaxTemplate/2) + "x", "the template is longer than 8192 bytes"},
		"an end of nothing":                   {"a\n{{ end }}", "line 2: an `{{ end }}` has no `if`"},
		"an else of nothing":                  {"{{ else }}", "line 1: an `{{ else }}` has no `if`"},
		"an open action of many lines":        {"a\n{{ .Scope\nb\nc", "line 2: an action is not closed with `}}`"},
		"a function before its arguments":     {"{{ index .Scope 0 }}", "line 1, column 4: the function `index` is not available: available are " + available},
		"a token that is compared":            {`{{ if eq "x" .AccessToken }}x{{ end }}`, "line 1, column 7: the access token can't be compared, cut or changed in case, as `eq` would"},
		"a part of a text that is compared":   {`{{ if not (ne (list "a" (b64enc .AccessToken) | join "" | toJson) "x") }}x{{ end }}`, "line 1, column 12: the access token can't be compared, cut or changed in case, as `ne` would"},
		"a token that cuts":                   {`{{ .Scope | trimPrefix .AccessToken }}`, "line 1, column 13: the access token can't be compared, cut or changed in case, as `trimPrefix` would"},
		"a token that is cut":                 {`{{ .AccessToken | trimSuffix "x" }}`, "line 1, column 19: the access token can't be compared, cut or changed in case, as `trimSuffix` would"},
		"a token without white space":         {`{{ .AccessToken | trim }}`, "line 1, column 19: the access token can't be compared, cut or changed in case, as `trim` would"},
		"a token in lower case":               {`{{ .AccessToken | lower }}`, "line 1, column 19: the access token can't be compared, cut or changed in case, as `lower` would"},
		"a token in upper case":               {`{{ .AccessToken | quote | upper }}`, "line 1, column 27: the access token can't be compared, cut or changed in case, as `upper` would"},
		"no UTF-8":                            {"\xff", "the template is not valid UTF-8"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values := allValues.without("ProjectID", "Environment")
			want := "key `headers.json`, " + test.want
			if !strings.HasPrefix(test.want, "line") {
				want = "key `headers.json`: " + test.want
			}
			data, err := tokens.Render(map[string]string{"headers.json": test.template, "z": "{{"}, values)
			if err == nil || err.Error() != want {
				t.Errorf("the error is\n%v, want\n%s", err, want)
			}
			if data != nil {
				t.Errorf("there are data all the same: %v", data)
			}
		})
	}
}

// worst holds templates that need far more memory than their own length. The limits must refuse them.
func worst() map[string]string {
	repeat := strings.Repeat
	fill := func(begin, part, end string) string {
		return begin + repeat(part, (MaxTemplate-len(begin)-len(end))/len(part)) + end
	}
	return map[string]string{
		"JSON in JSON":               fill(`{{"\""`, "|toJson", "}}"),
		"JSON of control characters": fill(`{{"`, `\x01`, `"|toJson}}`),
		"quotes in quotes":           fill(`{{"\""`, "|quote", "}}"),
		"base64 in base64":           fill(`{{.AccessToken`, "|b64enc", "}}"),
		"capitals that grow":         fill(`{{"`, "ɐ", `"|upper}}`),
		"one value again and again":  fill("", "{{.AccessToken}}", ""),
		"one value in a list":        fill("{{list", " .AccessToken", ` | join "1234567890123456" | toJson}}`),
		"a list of nothing":          fill("{{list", ` ""`, ` | join "1234567890123456"}}`),
		"a list of lists in JSON":    fill(`{{list "\""`, `|toJson|list "<"|join "<"`, "}}"),
		"parentheses":                fill("{{", "(", ".Scope"+repeat(")", MaxTemplate/2-20)+"}}"),
		"open parentheses":           fill("{{", "(", ""),
		"conditions in conditions":   fill("", `{{if eq .Scope .Scope}}`, ""),
		"conditions in a row":        fill(`{{if eq .Scope "x"}}`, `{{else if eq .Scope "x"}}`, "{{end}}"),
		"negations":                  fill(`{{if `, "not(", `eq "a" "b"`+repeat(")", 1500)+`}}x{{end}}`),
		"comparisons of long values": fill("{{if and", " (eq .AccessToken .AccessToken)", "}}x{{end}}"),
		"text":                       repeat("x", MaxTemplate),
	}
}

// The test counts the bytes that functions return and templates write. It does not measure time.
func TestTheWorstTemplatesAreBounded(t *testing.T) {
	t.Parallel()
	// Longer than any token: the operator reads only shorter answers.
	values := allValues.with("AccessToken", strings.Repeat(`<"\`, 20<<10))
	for name, template := range worst() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(template) > MaxTemplate {
				t.Fatalf("the template has %d bytes", len(template))
			}
			templates := map[string]string{}
			for i := range MaxKeys {
				templates[fmt.Sprintf("key-%02d", i)] = template
			}
			checkCost(t, tokens, templates, values)
		})
	}
}

// checkCost renders as Render does. It checks that functions return and templates write no more
// than the package has counted before, and that this is within the limits.
func checkCost(t *testing.T, vocabulary *Vocabulary, templates map[string]string, values Values) {
	t.Helper()
	r := newRenderer(vocabulary, values)
	for _, key := range slices.Sorted(maps.Keys(templates)) {
		left := r.budget.secretBytes
		_, err := r.render(key, templates[key], false)
		if len(r.written) > min(left, left-r.budget.secretBytes) {
			t.Fatalf("%d bytes were written, with %d left, of which %d were reserved", len(r.written), left, left-r.budget.secretBytes)
		}
		if err != nil {
			break
		}
		if r.budget.secretBytes < 0 || r.budget.functionBytes < 0 {
			t.Fatalf("it is rendered with %d bytes left to write, and %d to return", r.budget.secretBytes, r.budget.functionBytes)
		}
	}
}

// The package counts the maximum length of a function's result. No result may be longer.
func TestFunctionsReturnNoMoreThanIsCounted(t *testing.T) {
	t.Parallel()
	worst := []string{"", "\x01", "\xff", "<", `"`, `\`, "\u00ad", "\u2028", "ɐ", "K", "ŉ", "\U0010ffff", " "}
	text := func(value string) expression {
		return expression{kind: aText, isLiteral: true, literal: value, maxBytes: len(value), value: func() (any, *Error) { return value, nil }}
	}
	for name, called := range functions {
		if called.maxBytes == nil {
			continue
		}
		for _, part := range worst {
			for _, times := range []int{0, 1, 2, 3, 100} {
				value := strings.Repeat(part, times)
				all := []any{value, value, value}
				listed := expression{kind: aList, maxBytes: 3 * len(value), elements: 3}
				args, values := []expression{}, []any{}
				for i, parameter := range called.parameters {
					switch {
					case parameter == aList || parameter == textOrList && times%2 == 0:
						args, values = append(args, listed), append(values, all)
					case i == 0 && len(called.parameters) > 1:
						args, values = append(args, text(part)), append(values, part)
					default:
						args, values = append(args, text(value)), append(values, value)
					}
				}
				got, ok := called.call(values).(string)
				if most := called.maxBytes(args); ok && len(got) > most {
					t.Errorf("%s of %q returns %d bytes, and %d are counted", name, values, len(got), most)
				}
			}
		}
	}
}

func TestSecretThatWouldBeTooLarge(t *testing.T) {
	t.Parallel()
	values := allValues.with("AccessToken", strings.Repeat("x", 64<<10))
	templates := map[string]string{"a": "{{ .AccessToken }}", "b": "{{ .AccessToken }}", "c": "{{ .AccessToken }}", "d": "x\n{{ .AccessToken }}"}
	_, err := tokens.Render(templates, values)
	want := &Error{Key: "d", Line: 2, Column: 4, Detail: "the Secret could have more than 256 KiB"}
	if diff := cmp.Diff(want, asError(t, err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	delete(templates, "d")
	if _, err := tokens.Render(templates, values); err != nil {
		t.Errorf("192 KiB are refused: %v", err)
	}
}

func TestFunctionsThatReturnTooMuch(t *testing.T) {
	t.Parallel()
	_, err := tokens.Render(map[string]string{"k": worst()["JSON in JSON"]}, allValues)
	if got := asError(t, err); got.Line != 1 || got.Column < 10 || got.Detail != "the functions of all templates together could return more than 1024 KiB" {
		t.Errorf("the error is %v", got)
	}
}

func TestTooManyKeys(t *testing.T) {
	t.Parallel()
	templates := map[string]string{}
	for i := range MaxKeys + 1 {
		templates[fmt.Sprint(i)] = ""
	}
	_, err := tokens.Render(templates, allValues)
	if got := asError(t, err).Error(); got != "there are more than 32 keys" {
		t.Errorf("the error is %q", got)
	}
}

// The result of each function must depend on its arguments only. Check that before you add a function.
func TestFunctionsAreThoseThatAreDocumented(t *testing.T) {
	t.Parallel()
	want := []string{"and", "b64enc", "eq", "join", "list", "lower", "ne", "not", "or", "quote", "toJson", "trim", "trimPrefix", "trimSuffix", "upper"}
	if diff := cmp.Diff(want, functionNames); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// tokensOfOneLength are different tokens of the same length.
func tokensOfOneLength(length int) []string {
	made := []string{}
	for _, part := range []string{"a", "A", "0", `"`, `\`, "<", "'", "}", ",", "ey.J0", "x "} {
		made = append(made, strings.Repeat(strings.TrimSpace(part), length)[:length])
	}
	return made
}

// Everybody who can read the status sees whether there is an error, and which error.
func TestErrorsDoNotTellOfTheToken(t *testing.T) {
	t.Parallel()
	templates := worst()
	// Near the limits, the length of a result would reveal how many characters are escaped.
	for parts := 1; parts < 8; parts++ {
		templates[fmt.Sprint("JSON in JSON of ", parts)] = "{{.AccessToken" + strings.Repeat("|toJson", parts) + "}}"
		templates[fmt.Sprint("quotes in quotes of ", parts)] = "{{.AccessToken" + strings.Repeat("|quote", parts) + "}}"
		templates[fmt.Sprint("the Secret of ", parts*30)] = strings.Repeat("{{toJson .AccessToken}}", parts*30)
	}
	for name, template := range templates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkErrorsRevealNothing(t, tokens, "AccessToken", template, allValues, tokensOfOneLength(500))
		})
	}
}

// checkErrorsRevealNothing renders a template with different secret values of a name. The outcome must always be the same.
func checkErrorsRevealNothing(t *testing.T, vocabulary *Vocabulary, name, template string, values Values, secrets []string) {
	t.Helper()
	for _, jsonKeys := range [][]string{nil, {"key"}} {
		outcomes := map[string]string{}
		for _, secret := range secrets {
			data, err := vocabulary.Render(map[string]string{"key": template}, values.with(name, secret), jsonKeys...)
			outcome := fmt.Sprint(err)
			if jsonKeys != nil && err == nil {
				outcome = fmt.Sprint("is JSON: ", json.Valid(data["key"]))
			}
			outcomes[outcome] = secret
		}
		if len(outcomes) != 1 {
			t.Errorf("the outcome of %q depends on the secret value: %v", template, outcomes)
		}
	}
}

func TestJSONQuotesTheToken(t *testing.T) {
	t.Parallel()
	const refused = "key `key`, line 1, column 10: in JSON the access token must be shown by `toJson`, as in `{{ .AccessToken | toJson }}`, without quotes around it"
	tests := map[string]struct{ template, want string }{
		"by toJson":            {`{"a": {{ .AccessToken | toJson }}}`, "<nil>"},
		"by toJson in a list":  {`{"a": {{ list "x" .AccessToken | toJson }}}`, "<nil>"},
		"by quote":             {`{"a": {{ quote .AccessToken }}}`, "<nil>"},
		"in Base64 in quotes":  {`{"a": {{ .AccessToken | b64enc | toJson }}}`, "<nil>"},
		"not at all":           {`{"a": {{ .Scope }}}`, "<nil>"},
		"as it is":             {`{"a":"{{ .AccessToken }}"}`, refused},
		"in Base64":            {`{"a":"{{ .AccessToken | b64enc }}"}`, refused},
		"in a text":            {`{"a":"{{ list "x" .AccessToken | join " " }}"}`, refused},
		"quoted, then encoded": {`{"a":"{{ .AccessToken | toJson | b64enc }}"}`, refused},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tokens.Render(map[string]string{"key": test.template, "other": "{{ .AccessToken }}"}, allValues, "key")
			if got := fmt.Sprint(err); got != test.want {
				t.Errorf("the error is\n%s, want\n%s", got, test.want)
			}
			if test.want == "<nil>" {
				checkErrorsRevealNothing(t, tokens, "AccessToken", test.template, allValues, tokensOfOneLength(40))
			}
		})
	}
}

func TestTokenKeyIsThatOfATemplateWithTheTokenOnly(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]bool{
		"{{ .AccessToken }}":                   true,
		"{{.AccessToken}}":                     true,
		" \n{{- .AccessToken -}} \n":           true,
		"{{/* why */}}{{ .AccessToken }}":      true,
		"":                                     false,
		"{{ .AccessToken }}\n":                 false,
		"x{{ .AccessToken }}":                  false,
		"{{ .AccessToken }}{{ .AccessToken }}": false,
		"{{ .AccessToken | b64enc }}":          false,
		"{{ .AccessToken.X }}":                 false,
		"{{ .Scope }}":                         false,
		"{{ $x := .AccessToken }}":             false,
		`{{ if eq .Scope "x" }}{{ .AccessToken }}{{ end }}`: false,
		"{{ .AccessToken": false,
	} {
		got := KeyShowing("AccessToken", map[string]string{"b": template, "c": "{{ .AccessToken }}", "a": "x {{ .AccessToken }}"})
		if (got == "b") != want || !want && got != "c" {
			t.Errorf("with %q the key is %q", template, got)
		}
		if data, err := tokens.Render(map[string]string{"k": template}, allValues); want && (err != nil || string(data["k"]) != token) {
			t.Errorf("%q comes to %q (%v), which is not the token", template, data["k"], err)
		}
	}
	if got := KeyShowing("AccessToken", map[string]string{"a": "{{ .Scope }}"}); got != "" {
		t.Errorf("without one the key is %q", got)
	}
}
