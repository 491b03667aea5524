// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

type templates = map[string]v1alpha1.ValueTemplate

var (
	// withTokenKey and withoutTokenKey both show all values.
	withTokenKey    = templates{"token": "{{ .AccessToken }}", "all": `{{ list .TokenType .AccessToken .ExpiresAt .Scope .ProjectID | join " " }}`}
	withoutTokenKey = templates{"all": `{{ list .TokenType .AccessToken .ExpiresAt .Scope .ProjectID | join " " }}`}
	tokenAndNoMore  = templates{"header": `{{ .TokenType }} {{ .AccessToken }}`}
)

func withTeam(p *v1alpha1.PipedreamToken) {
	p.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "orders"}
}

func withData(data templates) func(*v1alpha1.PipedreamToken) {
	return func(p *v1alpha1.PipedreamToken) { p.Spec.Secret.Data = data }
}

// valuesOf returns the data of the Secret, with "TOKEN" in place of the token.
func (w *world) valuesOf(secret *corev1.Secret) map[string]string {
	values := map[string]string{}
	for key, value := range secret.Data {
		values[key] = strings.ReplaceAll(string(value), w.api.(*observedAPI).last, "TOKEN")
	}
	return values
}

// observedAPI remembers the token that was issued last, and can make tokens larger.
type observedAPI struct {
	PipedreamAPI
	last    string
	padding int
}

func (a *observedAPI) Issue(ctx context.Context, credentials pipedream.Credentials, scopes []string) (pipedream.Token, error) {
	token, err := a.PipedreamAPI.Issue(ctx, credentials, scopes)
	if err == nil {
		token.AccessToken = pipedream.NewSensitive(token.AccessToken.Reveal() + strings.Repeat("x", a.padding))
		a.last = token.AccessToken.Reveal()
	}
	return token, err
}

// newShapeWorld is a world whose Pipedream tells the test which token it has issued.
func newShapeWorld(t *testing.T) (*world, *observedAPI) {
	t.Helper()
	w := newWorld(t)
	api := &observedAPI{PipedreamAPI: w.api}
	w.api = api
	w.restart()
	return w, api
}

func TestSecretHasTheShapeThatIsAskedFor(t *testing.T) {
	tests := map[string]struct {
		secret      v1alpha1.SecretTemplate
		want        map[string]string
		wantType    corev1.SecretType
		tokenKey    string
		hasTemplate bool
	}{
		"by default": {
			want: map[string]string{
				"access_token": "TOKEN", "token_type": "Bearer", "expires_at": "2026-01-02T04:04:05Z",
				"scope": "connect:accounts:read", "project_id": "proj_abc123", "environment": "production",
			},
			wantType: corev1.SecretTypeOpaque, tokenKey: "access_token",
		},
		"as the issue shows it": {
			secret: v1alpha1.SecretTemplate{
				Labels:      map[string]v1alpha1.LabelValue{"team": "orders"},
				Annotations: map[string]v1alpha1.AnnotationValue{"reloader.stakater.com/ignore": "true"},
				Data: templates{
					"token":        "{{ .AccessToken }}",
					".env":         "PIPEDREAM_ACCESS_TOKEN={{ .AccessToken }}\nPIPEDREAM_PROJECT_ID={{ .ProjectID }}\n",
					"headers.json": `{"Authorization": {{ list "Bearer" .AccessToken | join " " | toJson }}, "x-pd-environment": {{ .Environment | toJson }}}`,
				},
			},
			want: map[string]string{
				"token":        "TOKEN",
				".env":         "PIPEDREAM_ACCESS_TOKEN=TOKEN\nPIPEDREAM_PROJECT_ID=proj_abc123\n",
				"headers.json": `{"Authorization": "Bearer TOKEN", "x-pd-environment": "production"}`,
			},
			wantType: corev1.SecretTypeOpaque, tokenKey: "token",
		},
		"without a key that holds just the token": {
			secret: v1alpha1.SecretTemplate{Type: "example.com/pipedream", Data: withoutTokenKey},
			want:   map[string]string{"all": "Bearer TOKEN 2026-01-02T04:04:05Z connect:accounts:read proj_abc123"}, wantType: "example.com/pipedream",
		},
		"for basic authentication": {
			secret:   v1alpha1.SecretTemplate{Type: "kubernetes.io/basic-auth", Data: templates{"username": "pipedream", "password": "{{ .AccessToken }}"}},
			want:     map[string]string{"username": "pipedream", "password": "TOKEN"},
			wantType: corev1.SecretTypeBasicAuth, tokenKey: "password",
		},
		"for a registry": {
			secret: v1alpha1.SecretTemplate{Type: "kubernetes.io/dockerconfigjson", Data: templates{
				".dockerconfigjson": `{"auths":{"registry.example.com":{"username":"oauth","password":{{ .AccessToken | toJson }}}}}`,
			}},
			want:     map[string]string{".dockerconfigjson": `{"auths":{"registry.example.com":{"username":"oauth","password":"TOKEN"}}}`},
			wantType: corev1.SecretTypeDockerConfigJson,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, _ := newShapeWorld(t)
			w.issued(func(p *v1alpha1.PipedreamToken) {
				test.secret.Name = "orders-pipedream"
				p.Spec.Secret, p.Spec.Environment = test.secret, v1alpha1.EnvironmentProduction
			})
			w.wantExchanges(1)
			secret := w.target()
			if diff := cmp.Diff(test.want, w.valuesOf(secret)); diff != "" {
				t.Errorf("the Secret's data (-want +got):\n%s", diff)
			}
			if secret.Type != test.wantType {
				t.Errorf("the Secret's type is %s, want %s", secret.Type, test.wantType)
			}
			if got := secret.Annotations[v1alpha1.TokenKeyAnnotation]; got != test.tokenKey {
				t.Errorf("the annotation token-key is %q, want %q", got, test.tokenKey)
			}
			for key, value := range test.secret.Labels {
				if got := secret.Labels[key]; got != string(value) {
					t.Errorf("the Secret's label %s is %q, want %q", key, got, value)
				}
			}
			for key, value := range test.secret.Annotations {
				if got := secret.Annotations[key]; got != string(value) {
					t.Errorf("the Secret's annotation %s is %q, want %q", key, got, value)
				}
			}
			w.restart()
			w.wire.reset()
			w.reconcile()
			w.wantRequests(noRequests)
			w.passUntil(w.token().Status.RenewalTime)
			w.reconcile()
			w.wantExchanges(2)
			w.wantRequests(renewalRequests)
			if got := w.valuesOf(w.target()); len(got) != len(test.want) || !strings.Contains(strings.Join(slicesOf(got), " "), "TOKEN") {
				t.Errorf("after a renewal the Secret's data are %v", got)
			}
		})
	}
}

func slicesOf(values map[string]string) []string {
	var all []string
	for _, value := range values {
		all = append(all, value)
	}
	return all
}

// Each change is counted: what it asks of Pipedream, and of the API server.
func TestWhatEachChangeCosts(t *testing.T) {
	var (
		rewriting  = map[string]int{"GET secrets": 1, "PUT secrets": 1, "PATCH pipedreamtokens/status": 1}
		exchanging = map[string]int{"GET secrets": 2, "PUT secrets": 1, "PATCH pipedreamtokens/status": 1}
		looking    = map[string]int{"GET secrets": 1, "PATCH pipedreamtokens/status": 1}
	)
	type spec = v1alpha1.PipedreamTokenSpec
	tests := map[string]struct {
		before        templates
		change        func(*spec)
		wantExchanges int
		wantRequests  map[string]int
		want          map[string]string
		// afterRestart are the requests that a restart costs then; none for most.
		afterRestart map[string]int
	}{
		"a label": {
			change:       func(s *spec) { s.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "orders"} },
			wantRequests: rewriting,
		},
		"an annotation": {
			change: func(s *spec) {
				s.Secret.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/contact": "orders@example.com, #orders"}
			},
			wantRequests: rewriting,
		},
		"the project": {
			change: func(s *spec) { s.ProjectID = "proj_other" }, wantRequests: rewriting,
			want: map[string]string{"project_id": "proj_other"},
		},
		"the environment": {
			change: func(s *spec) { s.Environment = v1alpha1.EnvironmentDevelopment }, wantRequests: rewriting,
			want: map[string]string{"environment": "development"},
		},
		"templates in place of the default keys": {
			change: func(s *spec) { s.Secret.Data = withTokenKey }, wantRequests: rewriting,
			want: map[string]string{"token": "TOKEN", "all": "Bearer TOKEN 2026-01-02T04:04:05Z connect:accounts:read proj_abc123"},
		},
		"the default keys in place of templates": {
			before: withTokenKey,
			change: func(s *spec) { s.Secret.Data = nil }, wantRequests: rewriting,
			want: map[string]string{"access_token": "TOKEN", "token_type": "Bearer", "scope": "connect:accounts:read"},
		},
		"a template, with a key that holds the token": {
			before: withTokenKey,
			change: func(s *spec) {
				s.Secret.Data = templates{"other": "{{ .AccessToken }}", "b": "{{ .AccessToken | b64enc }} {{ .Scope }} {{ .TokenType }}"}
			},
			wantRequests: rewriting,
			want:         map[string]string{"other": "TOKEN"},
		},
		"the last key that holds the token": {
			before: withTokenKey,
			change: func(s *spec) { s.Secret.Data = withoutTokenKey }, wantRequests: rewriting,
			want: map[string]string{"all": "Bearer TOKEN 2026-01-02T04:04:05Z connect:accounts:read proj_abc123"},
		},
		"the project, with a key that holds the token": {
			before: withTokenKey,
			change: func(s *spec) { s.ProjectID = "proj_other" }, wantRequests: rewriting,
			want: map[string]string{"all": "Bearer TOKEN 2026-01-02T04:04:05Z connect:accounts:read proj_other"},
		},
		"a template, without such a key": {
			before: withoutTokenKey,
			change: func(s *spec) { s.Secret.Data = templates{"all": "x {{ .AccessToken }}"} }, wantExchanges: 1, wantRequests: exchanging,
			want: map[string]string{"all": "x TOKEN"},
		},
		"a template that comes to the same, without such a key": {
			before: withoutTokenKey,
			change: func(s *spec) {
				s.Secret.Data = templates{"all": `{{ .TokenType }} {{ .AccessToken }} {{ .ExpiresAt }} {{ .Scope }} {{ .ProjectID }}`}
			},
			wantRequests: looking,
		},
		"the project, without such a key": {
			before: withoutTokenKey,
			change: func(s *spec) { s.ProjectID = "proj_other" }, wantExchanges: 1, wantRequests: exchanging,
			want: map[string]string{"all": "Bearer TOKEN 2026-01-02T04:05:05Z connect:accounts:read proj_other"},
		},
		"the project, without such a key, when no template shows it": {
			before: tokenAndNoMore,
			change: func(s *spec) { s.ProjectID = "proj_other" }, wantRequests: looking,
		},
		"a label, without such a key": {
			before:       withoutTokenKey,
			change:       func(s *spec) { s.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "orders"} },
			wantRequests: rewriting,
		},
		"a template that can't be rendered": {
			before:       withTokenKey,
			change:       func(s *spec) { s.Secret.Data = templates{"token": "{{ .AccessToken }", "more": "{{ .AccessToken }}"} },
			wantRequests: looking, afterRestart: map[string]int{"GET secrets": 2},
		},
		"when it is renewed": {
			change: func(s *spec) { s.RenewBeforeSeconds = 1500 }, wantRequests: looking,
		},
		"the scopes": {
			change: func(s *spec) { s.Scopes = nil }, wantExchanges: 1,
			wantRequests: map[string]int{"GET secrets": 1, "PUT secrets": 1, "PATCH pipedreamtokens/status": 1},
			want:         map[string]string{"scope": "*"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, _ := newShapeWorld(t)
			w.issued(withData(test.before))
			before := w.target()
			w.pass(time.Minute)
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { test.change(&p.Spec) })
			w.reconcile()
			w.wantExchanges(1 + test.wantExchanges)
			w.wantRequests(test.wantRequests)
			got := w.valuesOf(w.target())
			for key, want := range test.want {
				if got[key] != want {
					t.Errorf("the Secret's %s is %q, want %q", key, got[key], want)
				}
			}
			if test.want == nil {
				if diff := cmp.Diff(before.Data, w.target().Data); diff != "" {
					t.Errorf("the Secret's data have changed (-before +after):\n%s", diff)
				}
			}
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)

			// Whatever has changed, nothing is left to be done, nor after a restart.
			w.wire.reset()
			w.reconcile()
			w.wantRequests(noRequests)
			w.restart()
			w.reconcile()
			w.wantRequests(test.afterRestart)
			w.wantExchanges(1 + test.wantExchanges)
		})
	}
}

func TestAnotherTypeIsRefusedByTheAPIServer(t *testing.T) {
	w := newWorld(t)
	w.issued()
	token := w.token()
	token.Spec.Secret.Type = "example.com/pipedream"
	err := w.admin.Update(t.Context(), token)
	if err == nil || !strings.Contains(err.Error(), "spec.secret.type: Invalid value: ") || !strings.Contains(err.Error(), "is immutable") {
		t.Errorf("the update ends with %v", err)
	}
	w.reconcile()
	w.wantExchanges(1)
	w.wantRequests(noRequests)
}

func TestLabelsAndAnnotationsOfOthersStay(t *testing.T) {
	w := newWorld(t)
	w.issued(func(p *v1alpha1.PipedreamToken) {
		p.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "orders", "tier": "backend"}
		p.Spec.Secret.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/a": "1", "example.com/b": "2"}
	})
	change(w, w.target(), func(s *corev1.Secret) {
		s.Labels["theirs"], s.Annotations["example.com/theirs"] = "yes", "yes"
	})
	w.reconcile()
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"tier": "frontend"}
		p.Spec.Secret.Annotations = nil
	})
	w.restart()
	w.reconcile()
	wantLabels := map[string]string{"theirs": "yes", "tier": "frontend"}
	if diff := cmp.Diff(wantLabels, w.target().Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	annotations := maps.Clone(w.target().Annotations)
	maps.DeleteFunc(annotations, func(key, _ string) bool { return strings.HasPrefix(key, "pipedream-operator.io/") })
	if diff := cmp.Diff(map[string]string{"example.com/theirs": "yes"}, annotations); diff != "" {
		t.Errorf("annotations of others (-want +got):\n%s", diff)
	}
	w.wantExchanges(1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestEditedLabelOrAnnotationIsPutBack(t *testing.T) {
	tests := map[string]struct {
		data templates
		edit func(*corev1.Secret)
	}{
		"another label":                     {edit: func(s *corev1.Secret) { s.Labels["team"] = "billing" }},
		"no label":                          {edit: func(s *corev1.Secret) { s.Labels = nil }},
		"another annotation":                {edit: func(s *corev1.Secret) { s.Annotations["example.com/a"] = "2" }},
		"no annotation":                     {edit: func(s *corev1.Secret) { delete(s.Annotations, "example.com/a") }},
		"another label, without a token":    {data: withoutTokenKey, edit: func(s *corev1.Secret) { s.Labels["team"] = "billing" }},
		"no annotation, without a token":    {data: withoutTokenKey, edit: func(s *corev1.Secret) { delete(s.Annotations, "example.com/a") }},
		"no label, with a token of its own": {data: withTokenKey, edit: func(s *corev1.Secret) { s.Labels = nil }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued(withData(test.data), func(p *v1alpha1.PipedreamToken) {
				p.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "orders"}
				p.Spec.Secret.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/a": "1"}
			})
			w.pass(time.Minute)
			change(w, w.target(), test.edit)
			w.wire.reset()
			w.reconcile()
			if got := w.target(); got.Labels["team"] != "orders" || got.Annotations["example.com/a"] != "1" {
				t.Errorf("the Secret has the labels %v and the annotations %v", got.Labels, got.Annotations)
			}
			// What somebody has edited is compared with the credentials, if that is possible.
			reads := 2
			if w.target().Annotations[v1alpha1.TokenKeyAnnotation] == "" {
				reads = 1
			}
			w.wantRequests(map[string]int{"GET secrets": reads, "PUT secrets": 1, "PATCH pipedreamtokens/status": 1})
			w.wantExchanges(1)
		})
	}
}

func TestFightOverALabelIsSpaced(t *testing.T) {
	w := newWorld(t)
	w.issued(func(p *v1alpha1.PipedreamToken) {
		p.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "orders"}
	})
	for range 600 {
		if w.target().Labels["team"] == "orders" {
			change(w, w.target(), func(s *corev1.Secret) { s.Labels["team"] = "billing" })
		}
		w.reconcile()
		w.pass(time.Second)
	}
	w.wire.mu.Lock()
	defer w.wire.mu.Unlock()
	// At once, and then after 10, 20, 40, 80, 160 and 300 s.
	if got := w.wire.requests["PUT secrets"]; got < 6 || got > 7 {
		t.Errorf("ten minutes of edits were answered by %d writes, want 6 or 7", got)
	}
	w.wantExchanges(1)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)

	// A wish that is new is no part of the fight.
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Secret.Labels["team"] = "third" })
	w.wire.mu.Unlock()
	w.reconcile()
	w.wire.mu.Lock()
	if got := w.target().Labels["team"]; got != "third" {
		t.Errorf("the label is %q after a change of the spec, want third", got)
	}
}

func TestEditOfWhatIsRecordedIsAnEditOfTheSecret(t *testing.T) {
	for _, name := range []string{
		v1alpha1.TokenKeyAnnotation, v1alpha1.RenderingAnnotation, v1alpha1.LabelsAnnotation, v1alpha1.AnnotationsAnnotation,
		v1alpha1.CredentialsAnnotation, v1alpha1.GrantedScopeAnnotation,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued(withData(withTokenKey))
			w.pass(time.Minute)
			change(w, w.target(), func(s *corev1.Secret) { s.Annotations[name] = "all" })
			w.reconcile()
			w.wantExchanges(2)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		})
	}
}

func TestTemplateThatFailsCostsNoToken(t *testing.T) {
	tests := map[string]struct {
		secret v1alpha1.SecretTemplate
		want   string
	}{
		"it can't be parsed": {
			v1alpha1.SecretTemplate{Data: templates{"a": "{{ .AccessToken }}", "b": "\n{{ .AccessToken"}},
			"key `b`, line 2: an action is not closed with `}}`",
		},
		"a function that is not available": {
			v1alpha1.SecretTemplate{Data: templates{"a": `{{ printf "%s" .AccessToken }}`}},
			"key `a`, line 1, column 4: the function `printf` is not available: write texts and values side by side, or use `list` and `join`",
		},
		"a value that is absent": {
			v1alpha1.SecretTemplate{Data: templates{"a": "{{ .AccessToken }} {{ .Environment }}"}},
			"key `a`, line 1, column 23: `.Environment` has no value: set `spec.environment`",
		},
		"it would be too large": {
			v1alpha1.SecretTemplate{Data: templates{"a": v1alpha1.ValueTemplate(strings.Repeat("{{ .AccessToken }}", 400))}},
			"the Secret could have more than 256 KiB",
		},
		"the token is in a comment only": {
			v1alpha1.SecretTemplate{Data: templates{"a": "{{/* .AccessToken */}}"}},
			"no template shows the token: `{{ .AccessToken }}` must be in at least one of them",
		},
		"the token is compared": {
			v1alpha1.SecretTemplate{Data: templates{"a": `{{ if eq .AccessToken "x" }}y{{ end }}`}},
			"key `a`, line 1, column 7: the access token can't be compared, cut or changed in case, as `eq` would",
		},
		"a registry's configuration that depends on the token": {
			v1alpha1.SecretTemplate{Type: "kubernetes.io/dockerconfigjson", Data: templates{".dockerconfigjson": `{"auths": {"x": "{{ .AccessToken }}"} }`}},
			"key `.dockerconfigjson`, line 1, column 21: in JSON the access token must be shown by `toJson`",
		},
		"a registry's configuration that is none": {
			v1alpha1.SecretTemplate{Type: "kubernetes.io/dockerconfigjson", Data: templates{".dockerconfigjson": `{"auths": {{ .AccessToken | toJson }}`}},
			"key `.dockerconfigjson`: the value must be a JSON object, for that is what the Secret's type asks for",
		},
		"a registry's configuration that is null": {
			v1alpha1.SecretTemplate{Type: "kubernetes.io/dockerconfigjson", Data: templates{".dockerconfigjson": "null", "token": "{{ .AccessToken }}"}},
			"key `.dockerconfigjson`: the value must be a JSON object, for that is what the Secret's type asks for",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.createCredentials()
			w.create(func(p *v1alpha1.PipedreamToken) {
				test.secret.Name = "orders-pipedream"
				p.Spec.Secret = test.secret
			})
			for range 3 {
				w.reconcile()
				w.pass(time.Hour)
			}
			w.wantExchanges(0)
			renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonTemplateInvalid)
			if !strings.Contains(renewed.Message, test.want) {
				t.Errorf("the message is\n%s\nwant in it\n%s", renewed.Message, test.want)
			}
			w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonTemplateInvalid)
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
			w.restart()
			w.wire.reset()
			w.reconcile()
			w.wantRequests(noRequests)

			change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
				p.Spec.Secret.Data = templates{".dockerconfigjson": `{"auths": { {{ toJson .AccessToken }}: {} } }`}
			})
			w.reconcile()
			w.wantExchanges(1)
			w.wantNoCondition(v1alpha1.ConditionStalled)
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
		})
	}
}

func TestTemplateThatFailsLeavesTheHeldToken(t *testing.T) {
	w := newWorld(t)
	w.issued(withData(withTokenKey))
	before := w.target()
	w.pass(time.Minute)
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
		p.Spec.Secret.Data = templates{"token": "{{ .AccessToken }}{{ .Environment }}"}
	})
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonTemplateInvalid)
	w.passUntil(w.token().Status.RenewalTime)
	w.reconcile()
	w.passUntil(w.token().Status.ExpirationTime)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenExpired)
	w.wantExchanges(1)
	if got := w.target(); got.ResourceVersion != before.ResourceVersion {
		t.Error("the Secret was written")
	}
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Environment = v1alpha1.EnvironmentProduction })
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

// hugeTemplates are small enough with a token of the usual size.
var hugeTemplates = templates{"a": v1alpha1.ValueTemplate(strings.Repeat("{{ .AccessToken }}", 200))}

func TestTemplateThatFailsWithTheIssuedTokenOnlyLosesNoToken(t *testing.T) {
	w, api := newShapeWorld(t)
	api.padding = 4096
	w.createCredentials()
	w.create(withData(hugeTemplates))
	w.reconcile()
	w.wantExchanges(1)
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonTemplateInvalid)
	if !strings.Contains(renewed.Message, "with the issued token, key `a`, line 1, column ") || strings.Contains(renewed.Message, "xxxx") {
		t.Errorf("the message is %s", renewed.Message)
	}
	w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonTemplateInvalid)
	for range 3 {
		w.pass(5 * time.Minute)
		w.reconcile()
	}
	w.wantExchanges(1)
	change(w, w.token(), withData(withTokenKey))
	w.reconcile()
	w.wantExchanges(1) // It was kept, and is stored now.
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	if got := w.valuesOf(w.target())["token"]; got != "TOKEN" {
		t.Errorf("the Secret's token is %q", got)
	}
}

func TestTemplateThatFailsWithTheIssuedTokenIsNotTriedAgainAfterARestart(t *testing.T) {
	w, api := newShapeWorld(t)
	api.padding = 4096
	w.createCredentials()
	w.create(withData(hugeTemplates))
	for range 3 {
		w.reconcile()
		w.restart()
		w.pass(time.Hour)
	}
	w.wantExchanges(1)
	// It is known from the status only, and says as much as it did, also when it is said anew.
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Annotations = map[string]string{"a": "b"} })
	w.reconcile()
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonTemplateInvalid)
	if want := "(with the issued token, key `a`, line 1, column "; strings.Count(renewed.Message, want) != 1 || strings.Count(renewed.Message, ", since ") != 1 {
		t.Errorf("the message is\n%s\nwant in it\n%s", renewed.Message, want)
	}
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Secret.Data = withoutTokenKey })
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestTemplateThatFailsWithTheHeldTokenOnlyLeavesItThere(t *testing.T) {
	w, api := newShapeWorld(t)
	api.padding = 4096
	w.issued(withData(withTokenKey))
	before := w.target()
	w.pass(time.Minute)
	change(w, w.token(), withData(hugeTemplates))
	for range 3 {
		w.reconcile()
		w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonTemplateInvalid)
		w.restart()
	}
	w.wantExchanges(1)
	if got := w.target(); got.ResourceVersion != before.ResourceVersion {
		t.Error("the Secret was written")
	}
}

// Without the token nothing can tell what it was issued for, but the version of the
// credentials.
func TestNewClientSecretIsUsedWithoutAKeyThatHoldsTheToken(t *testing.T) {
	tests := map[string]struct {
		data          templates
		touch         func(*world)
		wantExchanges int
	}{
		"rotated": {
			data: withoutTokenKey, wantExchanges: 2,
			touch: func(w *world) {
				must(w.T, w.pipedream.SetClient(clientID, "rotated"))
				change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("rotated") })
			},
		},
		"in another key": {
			data: withoutTokenKey, wantExchanges: 3,
			touch: func(w *world) {
				change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Data["other"] = s.Data["client_secret"] })
				w.reconcile()
				w.pass(time.Minute)
				change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.ClientSecretRef.ClientSecretKey = "other" })
			},
		},
		"merely touched": {
			data: withoutTokenKey, wantExchanges: 2,
			touch: func(w *world) {
				change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Labels = map[string]string{"a": "b"} })
			},
		},
		"merely touched, with such a key": {
			data: withTokenKey, wantExchanges: 1,
			touch: func(w *world) {
				change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Labels = map[string]string{"a": "b"} })
			},
		},
		"merely touched, and then the templates have no such key any more": {
			data: withTokenKey, wantExchanges: 1,
			touch: func(w *world) {
				change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Labels = map[string]string{"a": "b"} })
				w.reconcile()
				change(w, w.token(), withData(withoutTokenKey))
				w.reconcile()
				change(w, w.target(), func(s *corev1.Secret) { s.Labels = map[string]string{"theirs": "yes"} })
			},
		},
		"gone, and back": {
			data: withoutTokenKey, wantExchanges: 2,
			touch: func(w *world) {
				must(w.T, w.admin.Delete(w.Context(), w.secret("credentials")))
				w.reconcile()
				w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
				w.createCredentials()
			},
		},
	}
	for name, test := range tests {
		for _, restarts := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t)
				w.issued(withData(test.data))
				w.pass(time.Minute)
				test.touch(w)
				for range 3 {
					if restarts {
						w.restart()
					}
					w.reconcile()
				}
				w.wantExchanges(test.wantExchanges)
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
				w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
			})
		}
	}
}

func TestChangesOfTemplatesAreSpacedWithoutAKeyThatHoldsTheToken(t *testing.T) {
	w := newWorld(t)
	w.issued(withData(withoutTokenKey))
	for i := range 600 {
		change(w, w.token(), withData(templates{"a": v1alpha1.ValueTemplate("{{ .AccessToken }}" + strings.Repeat("x", i+1))}))
		w.reconcile()
		w.pass(time.Second)
	}
	if got := w.exchanges(); got < 6 || got > 7 {
		t.Errorf("ten minutes of changes cost %d tokens, want 6 or 7", got)
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestVerificationWantsAKeyThatHoldsTheToken(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification, withData(withoutTokenKey))
	calls := func() int { return w.pipedream.Counters().Calls["accounts"].Total }
	for range 3 {
		w.pass(time.Minute)
		w.reconcile()
		verified := w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionUnknown, v1alpha1.ReasonVerificationInconclusive)
		if verified.Message != noTokenKeyMessage {
			t.Errorf("the message is %q", verified.Message)
		}
		w.restart()
	}
	if got := calls(); got != 0 {
		t.Errorf("Pipedream was called %d times", got)
	}
	w.pass(time.Minute)
	change(w, w.token(), withData(templates{"t": "{{ .AccessToken }}"}))
	w.reconcile()
	w.wantExchanges(2)
	w.pass(time.Minute)
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
	if got := calls(); got != 1 {
		t.Errorf("Pipedream was called %d times, want once", got)
	}
}

func TestRevocationIsSeenWithTemplates(t *testing.T) {
	w := newWorld(t)
	w.issued(withVerification, withData(withTokenKey))
	w.pipedream.RevokeAll()
	w.pass(time.Minute)
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionVerified, metav1.ConditionTrue, v1alpha1.ReasonTokenAccepted)
}

func TestSecretOfAnotherTypeIsLeftUntouched(t *testing.T) {
	w := newWorld(t)
	w.issued()
	before := w.target()
	must(t, w.admin.Delete(t.Context(), w.token(), client.PropagationPolicy(metav1.DeletePropagationOrphan)))
	w.eventually("the PipedreamToken is gone", func() bool {
		err := w.admin.Get(t.Context(), w.key("orders"), &v1alpha1.PipedreamToken{})
		return apierrors.IsNotFound(err)
	})
	w.pass(time.Minute)
	w.create(func(p *v1alpha1.PipedreamToken) { p.Spec.Secret.Type = "example.com/pipedream" })
	w.restart()
	for range 3 {
		w.reconcile()
		w.pass(time.Minute)
	}
	renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
	if !strings.Contains(renewed.Message, "spec.secret.type") {
		t.Errorf("the message is %s", renewed.Message)
	}
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	if got := w.target(); got.UID != before.UID || got.Type != corev1.SecretTypeOpaque {
		t.Errorf("the Secret is now %s of type %s", got.UID, got.Type)
	}
	w.wantExchanges(1)
	must(t, w.admin.Delete(t.Context(), w.target()))
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	if got := w.target(); got.Type != "example.com/pipedream" {
		t.Errorf("the new Secret is of type %s", got.Type)
	}
}

func TestKeptTokenIsStoredInTheShapeThatIsAskedForMeanwhile(t *testing.T) {
	w, _ := newShapeWorld(t)
	w.createCredentials()
	w.create()
	w.failWrites("POST secrets")
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
	w.wire.cut(nil)
	change(w, w.token(), withData(withoutTokenKey))
	w.reconcile()
	w.wantExchanges(1)
	want := map[string]string{"all": "Bearer TOKEN 2026-01-02T04:04:05Z connect:accounts:read proj_abc123"}
	if diff := cmp.Diff(want, w.valuesOf(w.target())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKeptTokenIsNotStoredForOtherKeysOfTheCredentials(t *testing.T) {
	w := newWorld(t)
	credentials := credentialsNamed(w, "credentials")
	credentials.StringData["other"] = "another-client-secret"
	must(t, w.admin.Create(t.Context(), credentials))
	w.create()
	w.failWrites("POST secrets")
	w.reconcile()
	w.wire.cut(nil)
	must(t, w.pipedream.SetClient(clientID, "another-client-secret"))
	change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.ClientSecretRef.ClientSecretKey = "other" })
	w.pass(time.Minute)
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

func TestOutcomeOfAWriteThatIsUnknownIsSettledWithoutAKeyThatHoldsTheToken(t *testing.T) {
	w := newWorld(t)
	w.issued(withData(withoutTokenKey))
	w.passUntil(w.token().Status.RenewalTime)
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		response, err := forward()
		if call == "PUT secrets" {
			if err == nil {
				must(t, response.Body.Close())
			}
			return nil, errCut
		}
		return response, err
	})
	if _, err := w.tryReconcile(); err == nil {
		t.Error("the visit ends well, though the answer was lost")
	}
	w.wire.cut(nil)
	w.pass(time.Minute)
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
}

// What the answer says was granted is no part of a template's data, and must survive.
func TestGrantedScopeSurvivesARestart(t *testing.T) {
	w := newWorld(t)
	must(t, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointToken, Status: http.StatusOK, Calls: 1,
		Body: `{"access_token":"eyJ0eXAi.b.c","token_type":"bearer","expires_in":3600,"scope":"connect:accounts:read granted:more"}`,
	}))
	w.issued(withData(templates{"token": "{{ .AccessToken }}"}))
	w.restart()
	w.pass(time.Minute)
	change(w, w.token(), withData(templates{"all": "{{ .AccessToken }} {{ .TokenType }} {{ .Scope }} {{ .ExpiresAt }}"}))
	w.reconcile()
	w.wantExchanges(1)
	want := "eyJ0eXAi.b.c Bearer connect:accounts:read granted:more 2026-01-02T04:04:05Z"
	if got := string(w.target().Data["all"]); got != want {
		t.Errorf("the Secret's data are %q, want %q", got, want)
	}
}

// Whatever stands in the way of the next token, the one that is held is good, and its
// Secret gets the shape that is asked for.
func TestShapeIsWrittenWhileNoTokenCanBeHad(t *testing.T) {
	tests := map[string]struct {
		breaks func(*world)
		want   string
	}{
		"because Pipedream is out of order": {
			breaks: func(w *world) {
				must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: http.StatusServiceUnavailable}))
			}, want: v1alpha1.ReasonEndpointUnavailable,
		},
		"because the credentials are rejected": {
			breaks: func(w *world) { must(w.T, w.pipedream.SetClient(clientID, "rotated")) }, want: v1alpha1.ReasonCredentialsRejected,
		},
		"because the credentials are missing": {
			breaks: func(w *world) { must(w.T, w.admin.Delete(w.Context(), w.secret("credentials"))) }, want: v1alpha1.ReasonCredentialsMissing,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.issued()
			test.breaks(w)
			w.passUntil(w.token().Status.RenewalTime)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, test.want)
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
				withTeam(p)
				p.Spec.ProjectID = "proj_other"
			})
			for range 2 {
				w.reconcile()
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
				w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, test.want)
			}
			if got := w.target(); got.Labels["team"] != "orders" || string(got.Data["project_id"]) != "proj_other" {
				t.Errorf("the Secret has the labels %v and the project %s", got.Labels, got.Data["project_id"])
			}
		})
	}
}

func TestRewriteDoesNotHideMissingCredentials(t *testing.T) {
	w := newWorld(t)
	w.issued()
	must(t, w.admin.Delete(t.Context(), w.secret("credentials")))
	w.reconcile()
	w.pass(5 * time.Minute)
	w.reconcile()
	since := w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsMissing).LastTransitionTime
	change(w, w.token(), withTeam)
	for range 2 {
		w.reconcile()
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonCredentialsMissing)
		stalled := w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCredentialsMissing)
		if !stalled.LastTransitionTime.Equal(&since) {
			t.Errorf("Stalled is True since %s, want it since %s", stalled.LastTransitionTime, since)
		}
	}
	if got := w.target().Labels["team"]; got != "orders" {
		t.Errorf("the label is %q", got)
	}
}

// Anybody can compute a digest of the content, but `inputs` only who knows the client
// secret.
func TestForgedTokenIsReplaced(t *testing.T) {
	tests := map[string]func(*corev1.Secret){
		"the token":             func(s *corev1.Secret) { s.Data["token"] = []byte("forged") },
		"the key that holds it": func(s *corev1.Secret) { s.Annotations[v1alpha1.TokenKeyAnnotation] = "other" },
	}
	for name, forge := range tests {
		for _, restarts := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarts %t", name, restarts), func(t *testing.T) {
				w, _ := newShapeWorld(t)
				w.issued(withData(templates{"token": "{{ .AccessToken }}", "other": "x {{ .AccessToken }}"}))
				w.pass(time.Minute)
				change(w, w.target(), func(s *corev1.Secret) {
					forge(s)
					s.Annotations[v1alpha1.ContentAnnotation] = layout.Digest(s.Annotations, s.Data)
				})
				if restarts {
					w.restart()
				}
				w.reconcile()
				w.wantExchanges(2)
				if got := w.valuesOf(w.target()); got["token"] != "TOKEN" || got["other"] != "x TOKEN" {
					t.Errorf("the Secret holds %v", got)
				}
			})
		}
	}
}

func TestSecretOfAnotherTypeCostsNoToken(t *testing.T) {
	w := newWorld(t)
	w.issued()
	must(t, w.admin.Delete(t.Context(), w.token(), client.PropagationPolicy(metav1.DeletePropagationOrphan)))
	w.eventually("the PipedreamToken is gone", func() bool {
		return apierrors.IsNotFound(w.admin.Get(t.Context(), w.key("orders"), &v1alpha1.PipedreamToken{}))
	})
	w.pass(time.Minute)
	w.create(func(p *v1alpha1.PipedreamToken) { p.Spec.Secret.Type = "example.com/pipedream" })
	for i := range 6 {
		if i%2 == 1 {
			w.restart()
		}
		w.reconcile()
		w.pass(20 * time.Second)
		w.reconcile()
		renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
		if want := "of another type than `spec.secret.type`"; !strings.Contains(renewed.Message, want) {
			t.Errorf("the message is\n%s\nwant in it\n%s", renewed.Message, want)
		}
		w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretWriteRefused)
		w.pass(30 * time.Minute)
	}
	w.wantExchanges(1)
	must(t, w.admin.Delete(t.Context(), w.target()))
	w.reconcile()
	w.wantExchanges(2)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantNoCondition(v1alpha1.ConditionStalled)
	if got := w.target().Type; got != "example.com/pipedream" {
		t.Errorf("the Secret's type is %s", got)
	}
}

// Who may edit a PipedreamToken and see its status may not be allowed to read Secrets.
// They must not learn of the token whether it begins as they guess.
func TestStatusDoesNotTellOfTheToken(t *testing.T) {
	tests := map[string]string{
		"a branch that fails":           `{{ .AccessToken }}{{ if ne .AccessToken (trimPrefix "GUESS" .AccessToken) }}{{ .Environment }}{{ end }}`,
		"a key that may hold the token": `{{ if ne .AccessToken (trimPrefix "GUESS" .AccessToken) }}{{ .AccessToken }}{{ else }}x {{ .AccessToken }}{{ end }}`,
		"a value that may not change":   `{{ .AccessToken | trimPrefix "GUESS" }}`,
	}
	for name, template := range tests {
		t.Run(name, func(t *testing.T) {
			w, api := newShapeWorld(t)
			w.issued(withVerification, withData(withTokenKey))
			told := map[string]string{}
			for _, guess := range []string{api.last[:8], "wrong"} {
				change(w, w.token(), withData(templates{"token": "{{ .AccessToken }}"}))
				w.reconcile()
				before := w.target().ResourceVersion
				change(w, w.token(), withData(templates{"token": v1alpha1.ValueTemplate(strings.ReplaceAll(template, "GUESS", guess))}))
				w.reconcile()
				outcome := fmt.Sprintf("the Secret was written: %v", w.target().ResourceVersion != before)
				for _, condition := range w.token().Status.Conditions {
					outcome += fmt.Sprintf("\n%s %s %s", condition.Type, condition.Reason, columns.ReplaceAllString(condition.Message, "column"))
				}
				told[outcome] = guess
			}
			if len(told) != 1 {
				t.Errorf("the status tells which guess is right: %v", told)
			}
		})
	}
}

// columns differ with the length of a guess.
var columns = regexp.MustCompile(`column \d+`)
