// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

func TestANewTokenSaysThatNobodyHasSeenItYet(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	created := createToken(t, namespace, tokenNamed("orders", `{"clientSecretRef":{"name":"pipedream-oauth-client"}}`))
	shown, err := request(t, http.MethodGet, tokensIn(namespace)+"/orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	never := metav1.Unix(0, 0)
	want := v1alpha1.PipedreamTokenStatus{Conditions: []metav1.Condition{
		{
			Type:               v1alpha1.ConditionReady,
			Status:             metav1.ConditionFalse,
			Reason:             v1alpha1.ReasonNotIssued,
			Message:            "The operator has not seen this PipedreamToken yet. If this stays, check that the operator runs and watches this namespace.",
			LastTransitionTime: never,
		},
		{
			Type:               v1alpha1.ConditionRenewed,
			Status:             metav1.ConditionUnknown,
			Reason:             v1alpha1.ReasonNotAttempted,
			Message:            "The operator has not seen this PipedreamToken yet.",
			LastTransitionTime: never,
		},
	}}
	for answer, got := range map[string]v1alpha1.PipedreamTokenStatus{"create": created.Status, "get": tokenOf(t, shown).Status} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status in the answer to %s (-want +got):\n%s", answer, diff)
		}
	}
}

func TestTheColumnsOfKubectlGet(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createToken(t, namespace, tokenNamed("new", `{"clientSecretRef":{"name":"pipedream-oauth-client"}}`))
	renewed := createToken(t, namespace, tokenNamed("renewed", `{"clientSecretRef":{"name":"pipedream-oauth-client"}}`))
	renewed.Status = statusAfterAFailedRenewal()
	put(t, namespace, "renewed/status", renewed)

	result := server.Get().AbsPath(tokensIn(namespace)).
		SetHeader("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1").
		Do(t.Context())
	content, err := result.Raw()
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	decode(t, content, &table)

	var columns, wide []string
	age := 0
	for i, column := range table.ColumnDefinitions {
		if column.Name == "Age" {
			age = i
		}
		if column.Priority != 0 {
			wide = append(wide, column.Name)
			continue
		}
		columns = append(columns, column.Name)
	}
	wantColumns := []string{"Name", "Ready", "Renewed", "Secret", "Expires", "Renews", "Age"}
	if diff := cmp.Diff(wantColumns, columns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Verified", "Stalled", "Message"}, wide); diff != "" {
		t.Errorf("columns of --output=wide (-want +got):\n%s", diff)
	}
	want := [][]any{
		{"new", "False", "NotAttempted", nil, nil, nil, nil, nil, "The operator has not seen this PipedreamToken yet."},
		{
			"renewed", "True", "CredentialsRejected", "renewed", "2099-03-01T13:00:00Z", "2099-03-01T12:40:00Z",
			"TokenAccepted", "CredentialsRejected", "Pipedream rejected the client credentials.",
		},
	}
	var got [][]any
	for _, row := range table.Rows {
		got = append(got, slices.Delete(row.Cells, age, age+1)) // It grows.
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

// statusAfterAFailedRenewal has an expiry and a renewal in the future: a column of
// type date would show them as invalid.
func statusAfterAFailedRenewal() v1alpha1.PipedreamTokenStatus {
	at := func(minute int) *metav1.Time { return new(metav1.Date(2099, 3, 1, 12, minute, 0, 0, time.UTC)) }
	return v1alpha1.PipedreamTokenStatus{
		ObservedGeneration: 1,
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid, LastTransitionTime: *at(0)},
			{
				Type: v1alpha1.ConditionRenewed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonCredentialsRejected,
				Message: "Pipedream rejected the client credentials.", LastTransitionTime: *at(40),
			},
			{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonCredentialsRejected, LastTransitionTime: *at(40)},
			{Type: v1alpha1.ConditionVerified, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenAccepted, LastTransitionTime: *at(0)},
		},
		IssueTime:                   at(0),
		RenewalTime:                 at(40),
		ExpirationTime:              at(60),
		Secret:                      v1alpha1.CheckedSecret{Name: "renewed", ResourceVersion: "42"},
		ClientSecretResourceVersion: "41",
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	content, err := request(t, http.MethodGet, path.Join("/apis", v1alpha1.SchemeGroupVersion.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	var list metav1.APIResourceList
	decode(t, content, &list)
	for i := range list.APIResources {
		list.APIResources[i].Verbs = nil
		list.APIResources[i].StorageVersionHash = ""
	}
	// The API server lists them in the order in which it has come to know the CRDs.
	slices.SortFunc(list.APIResources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) })
	want := []metav1.APIResource{
		{
			Name: "pipedreamaccounts", SingularName: "pipedreamaccount", Namespaced: true, Kind: "PipedreamAccount",
			ShortNames: []string{"pda"}, Categories: []string{"pipedream"},
		},
		{Name: "pipedreamaccounts/status", Namespaced: true, Kind: "PipedreamAccount"},
		{
			Name: "pipedreamtokens", SingularName: "pipedreamtoken", Namespaced: true, Kind: "PipedreamToken",
			ShortNames: []string{"pdt"}, Categories: []string{"pipedream"},
		},
		{Name: "pipedreamtokens/status", Namespaced: true, Kind: "PipedreamToken"},
	}
	if diff := cmp.Diff(want, list.APIResources); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	t.Parallel()
	for kind := range invalidManifests {
		root := schema(t, kind)
		// The API server describes it itself, and a CRD must not.
		delete(root["properties"].(map[string]any), "metadata")
		described := 0
		walk(kind, root, func(path string, schema map[string]any) {
			if strings.HasSuffix(path, "[]") {
				return // its list is described
			}
			if description, _ := schema["description"].(string); strings.TrimSpace(description) == "" {
				t.Errorf("%s has no description: kubectl explain says nothing of it", path)
			}
			described++
		})
		if described < 25 {
			t.Errorf("found only %d fields of %s", described, kind)
		}
	}
}

func TestTheSchemaWritesNoDefaultIntoASpec(t *testing.T) {
	t.Parallel()
	for kind := range invalidManifests {
		walk(kind+".spec", property(t, schema(t, kind), "spec"), func(path string, schema map[string]any) {
			if byDefault, ok := schema["default"]; ok {
				t.Errorf("%s has the default %v: a delivering tool would find in the cluster what it did not put there", path, byDefault)
			}
		})
	}
}

func TestTheSchemeKnowsTheKinds(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for kind, object := range map[string]runtime.Object{
		"PipedreamToken":     &v1alpha1.PipedreamToken{},
		"PipedreamTokenList": &v1alpha1.PipedreamTokenList{},

		"PipedreamAccount":     &v1alpha1.PipedreamAccount{},
		"PipedreamAccountList": &v1alpha1.PipedreamAccountList{},
	} {
		kinds, _, err := scheme.ObjectKinds(object)
		if err != nil || len(kinds) != 1 || kinds[0] != v1alpha1.SchemeGroupVersion.WithKind(kind) {
			t.Errorf("%T is known as %v (%v), want %s", object, kinds, err, kind)
		}
	}
}

func TestTargetName(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ spec, want string }{
		"the name that is asked for":        {spec: `{"secret":{"name":"orders-token"}}`, want: "orders-token"},
		"without one, the PipedreamToken's": {spec: `{}`, want: "orders"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := tokenOf(t, []byte(tokenNamed("orders", test.spec)))
			if got := token.TargetName(); got != test.want {
				t.Errorf("TargetName() = %q, want %q", got, test.want)
			}
		})
	}
}

// schema returns the schema of a kind, by its plural name, as the API server has it.
func schema(t *testing.T, kind string) map[string]any {
	t.Helper()
	content, err := request(t, http.MethodGet, definitions+"/"+kind+".pipedream-operator.io", nil)
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	decode(t, content, &crd)
	if len(crd.Spec.Versions) != 1 {
		t.Fatalf("the CRD has %d versions, want 1", len(crd.Spec.Versions))
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

func property(t *testing.T, schema map[string]any, name string) map[string]any {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	found, ok := properties[name].(map[string]any)
	if !ok {
		t.Fatalf("the schema has no property %s", name)
	}
	return found
}

// walk visits a schema and all that is in it.
func walk(path string, schema map[string]any, visit func(path string, schema map[string]any)) {
	visit(path, schema)
	if items, ok := schema["items"].(map[string]any); ok {
		walk(path+"[]", items, visit)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		walk(path+"."+name, property.(map[string]any), visit)
	}
}
