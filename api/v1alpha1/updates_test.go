// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const immutable = "spec.secret.name: Invalid value: is immutable: create another PipedreamToken for another Secret (when absent, `spec.secret.name` is the name of the PipedreamToken)"

const immutableType = "spec.secret.type: Invalid value: is immutable: create another PipedreamToken for a Secret of another type (when absent, `spec.secret.type` is `Opaque`)"

// TestSecretsThatAreAccepted has at the border what the invalid manifests have beyond.
func TestSecretsThatAreAccepted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	many := make([]string, 32)
	for i := range many {
		many[i] = fmt.Sprintf(`"example.com/%062d":"b"`, i)
	}
	full := make([]string, 32)
	for i := range full {
		full[i] = fmt.Sprintf(`"%03d%s":"{{ .AccessToken }}%s"`, i, strings.Repeat("a", 250), strings.Repeat("x", 8192-18))
	}
	tests := map[string]string{
		"basic authentication":      `{"type":"kubernetes.io/basic-auth","data":{"password":"{{ .AccessToken }}"}}`,
		"a registry's":              `{"type":"kubernetes.io/dockerconfigjson","data":{".dockerconfigjson":"{{ .AccessToken }}"}}`,
		"a type of one's own":       `{"type":"my-kubernetes.io/Some.thing_else"}`,
		"another one":               `{"type":"kubernetes.io.example.com/a"}`,
		"recommended labels":        `{"labels":{"app.kubernetes.io/name":"a","app.kubernetes.io/part-of":"b","app.kubernetes.io/component":"c"}}`,
		"recommended annotations":   `{"annotations":{"app.kubernetes.io/name":"a","reloader.stakater.com/match":"true"}}`,
		"a domain that ends alike":  `{"labels":{"notkubernetes.io/a":"b","kubernetes.io.example.com/a":""}}`,
		"a label without a domain":  `{"labels":{"kubernetes.io":"a","` + long + `":"` + long + `"}}`,
		"annotations of any value":  `{"annotations":{"a":"","b":"a, b\n{}ü","Example.com/C":"` + strings.Repeat("x", 1024) + `"}}`,
		"as many labels as allowed": `{"labels":{` + strings.Join(many, ",") + `}}`,
		"as many annotations":       `{"annotations":{` + strings.Join(many, ",") + `}}`,
		"as much data as allowed":   `{"data":{` + strings.Join(full, ",") + `}}`,
		"no labels":                 `{"labels":{}}`,
		"no annotations":            `{"name":"orders-pipedream","annotations":{}}`,
		"words that begin alike":    `{"data":{"a":"{{ .AccessToken }}{{ blockquote }}{{withal}}{{- ranges }}"}}`,
		"a loop as text":            `{"data":{"a":"{{ .AccessToken }}{{ \"{{\" }} range .Items }}"}}`,
		"keys that are files":       `{"data":{".env":"{{ .AccessToken }}",".netrc":"","a..b":"","_":""}}`,
	}
	for name, secret := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			createToken(t, namespace, tokenNamed("orders", `{"clientSecretRef":{"name":"pipedream-oauth-client"},"secret":`+secret+`}`))
		})
	}
}

func TestUpdates(t *testing.T) {
	t.Parallel()
	spec := func(more string) string {
		return `{"clientSecretRef":{"name":"pipedream-oauth-client"}` + more + `}`
	}
	tests := map[string]struct {
		before, after string
		rejected      string
	}{
		"another Secret is rejected": {
			before:   spec(`,"secret":{"name":"orders-token"}`),
			after:    spec(`,"secret":{"name":"orders-token-2"}`),
			rejected: immutable,
		},
		"a name for the Secret that had its default is rejected": {
			before:   spec(``),
			after:    spec(`,"secret":{"name":"orders-token"}`),
			rejected: immutable,
		},
		"taking away the Secret's name is rejected": {
			before:   spec(`,"secret":{"name":"orders-token"}`),
			after:    spec(``),
			rejected: immutable,
		},
		"saying the Secret's default name is accepted": {
			before: spec(``),
			after:  spec(`,"secret":{"name":"orders"}`),
		},
		"no longer saying the Secret's default name is accepted": {
			before: spec(`,"secret":{"name":"orders"}`),
			after:  spec(``),
		},
		"another type of the Secret is rejected": {
			before:   spec(`,"secret":{"type":"example.com/a"}`),
			after:    spec(`,"secret":{"type":"example.com/b"}`),
			rejected: immutableType,
		},
		"a type for the Secret that had its default is rejected": {
			before:   spec(``),
			after:    spec(`,"secret":{"type":"example.com/a"}`),
			rejected: immutableType,
		},
		"taking away the Secret's type is rejected": {
			before:   spec(`,"secret":{"name":"a","type":"example.com/a"}`),
			after:    spec(`,"secret":{"name":"a"}`),
			rejected: immutableType,
		},
		"saying the Secret's default type is accepted": {
			before: spec(``),
			after:  spec(`,"secret":{"type":"Opaque"}`),
		},
		"no longer saying the Secret's default type is accepted": {
			before: spec(`,"secret":{"type":"Opaque"}`),
			after:  spec(``),
		},
		"other labels, annotations and templates are accepted": {
			before: spec(`,"secret":{"labels":{"team":"orders"},"data":{".env":"A={{ .AccessToken }}"}}`),
			after:  spec(`,"secret":{"annotations":{"reloader.stakater.com/ignore":"true"},"data":{"a":"{{ .AccessToken }}","b":"c"}}`),
		},
		"taking away the key of a Secret's type is rejected": {
			before:   spec(`,"secret":{"type":"kubernetes.io/basic-auth","data":{"password":"{{ .AccessToken }}"}}`),
			after:    spec(`,"secret":{"type":"kubernetes.io/basic-auth","data":{"token":"{{ .AccessToken }}"}}`),
			rejected: "spec.secret.data: Invalid value: must have the key `username` or `password`",
		},
		"credentials in the written Secret are rejected": {
			before:   spec(``),
			after:    `{"clientSecretRef":{"name":"orders"}}`,
			rejected: "spec.secret.name: Invalid value: must not be the Secret that `spec.clientSecretRef` names",
		},
		"other credentials are accepted": {
			before: spec(``),
			after:  `{"clientSecretRef":{"name":"another-client","clientIDKey":"id","clientSecretKey":"secret"}}`,
		},
		"other scopes are accepted": {
			before: spec(`,"scopes":["connect:accounts:read"]`),
			after:  spec(`,"scopes":["connect:accounts:read","connect:proxy"]`),
		},
		"another project and environment are accepted": {
			before: spec(`,"projectID":"proj_abc123","environment":"development"`),
			after:  spec(`,"projectID":"proj_def456","environment":"production"`),
		},
		"turning verification on and off is accepted": {
			before: spec(`,"projectID":"proj_abc123","verification":{"intervalSeconds":60}`),
			after:  spec(`,"projectID":"proj_abc123"`),
		},
		"taking the project away from a verification is rejected": {
			before:   spec(`,"projectID":"proj_abc123","verification":{"intervalSeconds":60}`),
			after:    spec(`,"verification":{"intervalSeconds":60}`),
			rejected: "spec.projectID: Invalid value: must be set when `verification` is",
		},
		"another renewal time is accepted": {
			before: spec(`,"renewBeforeSeconds":900`),
			after:  spec(`,"renewBeforeSeconds":1800`),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			created := createToken(t, namespace, tokenNamed("orders", test.before))

			err := update(t, namespace, created.ResourceVersion, test.after)

			if test.rejected != "" {
				wantRejected(t, err, test.rejected)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheStatusIsWrittenThroughItsSubresourceOnly(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	created := createToken(t, namespace, tokenNamed("orders", `{"clientSecretRef":{"name":"pipedream-oauth-client"}}`))

	// Each of the two changes both.
	changed := created
	changed.Status.ObservedGeneration = 7
	changed.Spec.Scopes = []string{"connect:accounts:read"}
	updated := put(t, namespace, "orders", changed)
	if updated.Status.ObservedGeneration != 0 || len(updated.Spec.Scopes) != 1 || updated.Generation != 2 {
		t.Errorf("an update has changed the status, or not the spec: %+v", updated)
	}

	changed = updated
	changed.Status.ObservedGeneration = 7
	changed.Spec.Scopes = nil
	updated = put(t, namespace, "orders/status", changed)
	if updated.Status.ObservedGeneration != 7 || len(updated.Spec.Scopes) != 1 || updated.Generation != 2 {
		t.Errorf("an update of the status has changed the spec, or not the status: %+v", updated)
	}
}

func TestAStatusMustSaySomething(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ status, want string }{
		"without conditions": {
			status: `{"conditions":[]}`,
			want:   "status.conditions: Invalid value: 0: conditions in body should have at least 1 items",
		},
		"two conditions of one type": {
			status: `{"conditions":[` + readyCondition + `,` + readyCondition + `]}`,
			want:   "status.conditions[1]: Duplicate value: ",
		},
		"a Secret without name": {
			status: `{"secret":{"resourceVersion":"1"}}`,
			want:   "status.secret.name: Required value",
		},
		"generation 0": {
			status: `{"observedGeneration":0}`,
			want:   "status.observedGeneration: Invalid value: 0: observedGeneration in body should be greater than or equal to 1",
		},
		"a time that is none": {
			status: `{"expirationTime":"tomorrow"}`,
			want:   `status.expirationTime: Invalid value: "tomorrow": expirationTime in body must be of type date-time: "tomorrow"`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			createToken(t, namespace, tokenNamed("orders", `{"clientSecretRef":{"name":"pipedream-oauth-client"}}`))
			_, err := request(t, http.MethodPatch, tokensIn(namespace)+"/orders/status", []byte(`{"status":`+test.status+`}`))
			wantRejected(t, err, test.want)
		})
	}
}

const readyCondition = `{"type":"Ready","status":"True","reason":"TokenValid","message":"","lastTransitionTime":"2026-03-01T12:00:00Z"}`

func TestATokenThatSaysOnlyWhatItMustIsStoredAsItIs(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	token := v1alpha1.PipedreamToken{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "PipedreamToken"},
		ObjectMeta: metav1.ObjectMeta{Name: "orders"},
		Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: v1alpha1.ClientSecretReference{Name: "pipedream-oauth-client"}},
	}
	created := createToken(t, namespace, string(encode(t, token)))
	if diff := cmp.Diff(token.Spec, created.Spec); diff != "" {
		t.Errorf("the API server has changed the spec (-sent +stored):\n%s", diff)
	}
}

func TestAGeneratedNameIsTheSecretsName(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	manifest := parse(t, []byte(tokenNamed("", `{"clientSecretRef":{"name":"pipedream-oauth-client"}}`)))
	manifest.SetGenerateName("orders-")
	created := createToken(t, namespace, string(encode(t, manifest.Object)))

	// The name that it was given is the one that may be said, and no other.
	created.Spec.Secret.Name = created.Name
	stored := put(t, namespace, created.Name, created)
	stored.Spec.Secret.Name = "orders"
	_, err := request(t, http.MethodPut, tokensIn(namespace)+"/"+created.Name, encode(t, stored))
	wantRejected(t, err, immutable)
}

// update replaces the spec of the PipedreamToken orders.
func update(t *testing.T, namespace, resourceVersion, spec string) error {
	t.Helper()
	manifest := parse(t, []byte(tokenNamed("orders", spec)))
	manifest.SetResourceVersion(resourceVersion)
	_, err := request(t, http.MethodPut, tokensIn(namespace)+"/orders", encode(t, manifest.Object))
	return err
}

// put replaces a PipedreamToken, or a subresource of it, and returns what is stored.
func put(t *testing.T, namespace, path string, token v1alpha1.PipedreamToken) v1alpha1.PipedreamToken {
	t.Helper()
	stored, err := request(t, http.MethodPut, tokensIn(namespace)+"/"+path, encode(t, token))
	if err != nil {
		t.Fatal(err)
	}
	return tokenOf(t, stored)
}
