// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/secrettemplate"
)

// Conditions repeat these errors, so that another text would be another status.
func TestTemplateErrorsOfAPipedreamToken(t *testing.T) {
	t.Parallel()
	const names = "`.AccessToken`, `.Environment`, `.ExpiresAt`, `.ProjectID`, `.Scope`, `.TokenType`"
	for template, want := range map[string]string{
		"{{ . }}":                  "line 1, column 4: `.` alone is not available: name a value, which are " + names,
		"{{ .ClientSecret }}":      "line 1, column 4: there is no value `.ClientSecret`: there are " + names,
		"{{ .AccessToken.x }}":     "line 1, column 16: there is no value `.AccessToken.x`: there are " + names,
		"{{ .ProjectID }}":         "line 1, column 4: `.ProjectID` has no value: set `spec.projectID`",
		"{{ .Environment }}":       "line 1, column 4: `.Environment` has no value: set `spec.environment`",
		"{{ if .Scope }}{{ end }}": "line 1, column 7: `if` wants a condition, such as `eq .Environment \"production\"`, not a text",
		`{{ default "x" .Environment }}`: "line 1, column 4: the function `default` is not available: " +
			"all values but those of absent fields of the spec are always there; use `if` with `eq`",
		"{{ trim .AccessToken }}": "line 1, column 4: the access token can't be compared, cut or changed in case, as `trim` would",
		`"{{ .AccessToken }}"`: "line 1, column 5: in JSON the access token must be shown by `toJson`, " +
			"as in `{{ .AccessToken | toJson }}`, without quotes around it",
		"{{ quote .AccessToken }}": "<nil>",
	} {
		values := Values(v1alpha1.PipedreamTokenSpec{}, madeUpToken("a", "").token, "*")
		_, err := Vocabulary.Render(map[string]string{"key": template}, values, "key")
		if want != "<nil>" {
			want = "key `key`, " + want
		}
		if got := fmt.Sprint(err); got != want {
			t.Errorf("the error of %s is\n%s, want\n%s", template, got, want)
		}
	}
}

func TestValuesOfAPipedreamToken(t *testing.T) {
	t.Parallel()
	issued := pipedream.Token{
		AccessToken:    pipedream.NewSensitive("eyJ0"),
		ExpirationTime: time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC),
	}
	spec := v1alpha1.PipedreamTokenSpec{ProjectID: "proj_abc123", Environment: v1alpha1.EnvironmentProduction}
	want := secrettemplate.Values{
		"AccessToken": "eyJ0", "TokenType": "Bearer", "ExpiresAt": "2026-01-02T04:04:05Z", "Scope": "connect:*",
		"ProjectID": "proj_abc123", "Environment": "production",
	}
	got := Values(spec, issued, "connect:*")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name := range got {
		if _, ok := Vocabulary.Names[name]; !ok || defaultKeys[name] == "" {
			t.Errorf("the value %s has no name in the vocabulary, or no default key", name)
		}
	}
	delete(want, "ProjectID")
	delete(want, "Environment")
	if diff := cmp.Diff(want, Values(v1alpha1.PipedreamTokenSpec{}, issued, "connect:*")); diff != "" {
		t.Errorf("without project and environment (-want +got):\n%s", diff)
	}
}
