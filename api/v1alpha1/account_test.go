// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// accountSpec returns the spec of a PipedreamAccount that says only what it must, and more.
func accountSpec(more string) string {
	return `{"clientSecretRef":{"name":"pipedream-oauth-client"},"projectID":"proj_abc123","accountID":"apn_WYhMlrz"` + more + `}`
}

func TestANewAccountSaysThatNobodyHasSeenItYet(t *testing.T) {
	t.Parallel()
	created := createAccount(t, newNamespace(t), accountNamed("slack", accountSpec("")))
	never := metav1.Unix(0, 0)
	want := v1alpha1.PipedreamAccountStatus{Conditions: []metav1.Condition{
		{
			Type:               v1alpha1.ConditionReady,
			Status:             metav1.ConditionFalse,
			Reason:             v1alpha1.ReasonNotFetched,
			Message:            "The operator has not seen this PipedreamAccount yet. If this stays, check that the operator runs and watches this namespace.",
			LastTransitionTime: never,
		},
		{
			Type:               v1alpha1.ConditionFetched,
			Status:             metav1.ConditionUnknown,
			Reason:             v1alpha1.ReasonNotAttempted,
			Message:            "The operator has not seen this PipedreamAccount yet.",
			LastTransitionTime: never,
		},
	}}
	if diff := cmp.Diff(want, created.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// TestTheColumnsOfKubectlGetForAccounts has credentials that expire, and credentials that do not.
func TestTheColumnsOfKubectlGetForAccounts(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	createAccount(t, namespace, accountNamed("new", accountSpec("")))
	fetched := createAccount(t, namespace, accountNamed("slack", accountSpec("")))
	at := metav1.Date(2099, 3, 1, 12, 0, 0, 0, time.UTC)
	fetched.Status = v1alpha1.PipedreamAccountStatus{
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAccountDead, LastTransitionTime: at},
			{Type: v1alpha1.ConditionFetched, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAccountDead, Message: "The account is dead.", LastTransitionTime: at},
			{Type: v1alpha1.ConditionHealthy, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonAccountDead, LastTransitionTime: at},
			{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccountDead, LastTransitionTime: at},
		},
		Account:        v1alpha1.FetchedAccount{ID: "apn_WYhMlrz", App: "slack"},
		FetchTime:      &at,
		ExpirationTime: &at,
		Secret:         v1alpha1.CheckedSecret{Name: "slack"},
	}
	if _, err := request(t, http.MethodPut, accountsIn(namespace)+"/slack/status", encode(t, fetched)); err != nil {
		t.Fatal(err)
	}
	content, err := server.Get().AbsPath(accountsIn(namespace)).
		SetHeader("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	decode(t, content, &table)
	var columns, wide []string
	for _, column := range table.ColumnDefinitions {
		if column.Priority == 0 {
			columns = append(columns, column.Name)
		} else {
			wide = append(wide, column.Name)
		}
	}
	if diff := cmp.Diff([]string{"Name", "Ready", "Fetched", "App", "Account", "Secret", "Expires", "Age"}, columns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Healthy", "Stalled", "Message"}, wide); diff != "" {
		t.Errorf("columns of --output=wide (-want +got):\n%s", diff)
	}
	want := [][]any{
		{"new", "False", "NotAttempted", nil, nil, nil, nil, nil, nil, "The operator has not seen this PipedreamAccount yet."},
		{"slack", "False", "AccountDead", "slack", "apn_WYhMlrz", "slack", "2099-03-01T12:00:00Z", "False", "AccountDead", "The account is dead."},
	}
	var got [][]any
	for _, row := range table.Rows {
		got = append(got, append(row.Cells[:7:7], row.Cells[8:]...)) // All but the age.
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

// TestAccountsThatAreAccepted has at the border what the invalid manifests have beyond it.
func TestAccountsThatAreAccepted(t *testing.T) {
	t.Parallel()
	client := `"clientSecretRef":{"name":"pipedream-oauth-client"},"projectID":"proj_abc123"`
	apiKey := `{"apiKeyRef":{"name":"pipedream-api-key"},"accountID":"apn_WYhMlrz"`
	tests := map[string]string{
		"by its ID":              accountSpec(``),
		"by its ID, with an app": accountSpec(`,"app":"google_sheets"`),
		"by its user and app":    `{` + client + `,"externalUserID":"Acme Ltd/ü@example.com","app":"slack"}`,
		"the longest texts": `{` + client + `,"externalUserID":"` + strings.Repeat("u", 250) + `","app":"` + strings.Repeat("a", 128) + `",
			"environment":"development"}`,
		"the longest ID":                          `{` + client + `,"accountID":"` + strings.Repeat("a", 64) + `"}`,
		"an ID of digits":                         `{` + client + `,"accountID":"1234"}`,
		"the shortest interval":                   accountSpec(`,"fetchIntervalSeconds":30`),
		"the longest interval":                    accountSpec(`,"fetchIntervalSeconds":86400`),
		"fetched before expiry":                   accountSpec(`,"fetchPolicy":"BeforeExpiry"`),
		"fetched at each refresh":                 accountSpec(`,"fetchPolicy":"EachRefresh","fetchIntervalSeconds":30`),
		"suspended":                               accountSpec(`,"suspend":true`),
		"with an API key":                         apiKey + `}`,
		"with an API key, an app and a workspace": apiKey + `,"app":"slack","workspaceID":"o_abc123"}`,
		"the shortest and the longest texts about an API key": `{"apiKeyRef":{"name":"k","key":"` + strings.Repeat("k", 253) + `"},"accountID":"a",
			"workspaceID":"o_` + strings.Repeat("a", 62) + `"}`,
		"the shortest workspace":   apiKey + `,"workspaceID":"o_1"}`,
		"a template":               accountSpec(`,"secret":{"data":{"SLACK_TOKEN":"{{ .Credentials.oauth_access_token }}","app":"{{ .App }}"}}`),
		"a registry's credentials": accountSpec(`,"secret":{"type":"kubernetes.io/dockerconfigjson","data":{".dockerconfigjson":"{{ .Credentials.x }}"}}`),
	}
	for name, spec := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			createAccount(t, newNamespace(t), accountNamed("slack", spec))
		})
	}
}

func TestUpdatesOfAccounts(t *testing.T) {
	t.Parallel()
	another := "spec.secret.name: Invalid value: is immutable: create another PipedreamAccount for another Secret"
	anotherType := "spec.secret.type: Invalid value: is immutable: create another PipedreamAccount for a Secret of another type"
	tests := map[string]struct{ before, after, rejected string }{
		"another Secret is rejected": {
			before: `,"secret":{"name":"a"}`, after: `,"secret":{"name":"b"}`, rejected: another,
		},
		"a name for the Secret that had its default is rejected": {
			after: `,"secret":{"name":"b"}`, rejected: another,
		},
		"saying the Secret's default name is accepted": {after: `,"secret":{"name":"slack"}`},
		"a type for the Secret that had its default is rejected": {
			after: `,"secret":{"type":"example.com/a"}`, rejected: anotherType,
		},
		"saying the Secret's default type is accepted": {after: `,"secret":{"type":"Opaque"}`},
		"another interval is accepted":                 {before: `,"fetchIntervalSeconds":60`, after: ``},
		"another fetch policy is accepted":             {before: `,"fetchPolicy":"EachRefresh"`, after: `,"fetchPolicy":"BeforeExpiry"`},
		"the default fetch policy is accepted":         {before: `,"fetchPolicy":"EachRefresh"`, after: ``},
		"resuming is accepted":                         {before: `,"suspend":true`, after: ``},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			created := createAccount(t, namespace, accountNamed("slack", accountSpec(test.before)))
			manifest := parse(t, []byte(accountNamed("slack", accountSpec(test.after))))
			manifest.SetResourceVersion(created.ResourceVersion)

			_, err := request(t, http.MethodPut, accountsIn(namespace)+"/slack", encode(t, manifest.Object))

			if test.rejected != "" {
				wantRejected(t, err, test.rejected)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAnotherAccountOfTheSameObjectIsAccepted lets a user's old account be replaced by a new one.
func TestAnotherAccountOfTheSameObjectIsAccepted(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	created := createAccount(t, namespace, accountNamed("slack", accountSpec("")))
	created.Spec.AccountID, created.Spec.ExternalUserID, created.Spec.App = "", "acme-prod", "slack"
	created.Spec.Environment = v1alpha1.EnvironmentDevelopment
	content, err := request(t, http.MethodPut, accountsIn(namespace)+"/slack", encode(t, created))
	if err != nil {
		t.Fatal(err)
	}
	if updated := accountOf(t, content); updated.TargetEnvironment() != v1alpha1.EnvironmentDevelopment || updated.Generation != 2 {
		t.Errorf("the update is stored as %+v", updated)
	}
}

// TestAnAccountChangesBetweenAClientAndAKey changes how Pipedream is asked, there and back.
func TestAnAccountChangesBetweenAClientAndAKey(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	changed := createAccount(t, namespace, accountNamed("slack", accountSpec("")))
	before := changed.Spec
	for _, spec := range []v1alpha1.PipedreamAccountSpec{
		{APIKeyRef: v1alpha1.APIKeyReference{Name: "pipedream-api-key"}, WorkspaceID: "o_abc123", AccountID: "apn_WYhMlrz"}, before,
	} {
		changed.Spec = spec
		content, err := request(t, http.MethodPut, accountsIn(namespace)+"/slack", encode(t, changed))
		if err != nil {
			t.Fatal(err)
		}
		changed = accountOf(t, content)
		if diff := cmp.Diff(spec, changed.Spec); diff != "" {
			t.Errorf("the spec that is stored (-want +got):\n%s", diff)
		}
	}
}

func TestWhatAbsentFieldsOfAnAccountMean(t *testing.T) {
	t.Parallel()
	account := accountOf(t, []byte(accountNamed("slack", accountSpec(""))))
	named := accountOf(t, []byte(accountNamed("slack", accountSpec(`,"fetchPolicy":"EachRefresh","secret":{"name":"slack-credentials","type":"example.com/slack"}`))))
	withKey := accountOf(t, []byte(accountNamed("slack", `{"apiKeyRef":{"name":"pipedream-api-key"},"accountID":"apn_WYhMlrz"}`)))
	got := []string{
		account.TargetName(), account.TargetType(), string(account.TargetEnvironment()), string(account.TargetFetchPolicy()), account.OwnerKind().Kind,
		account.CredentialsSecretName(),
		named.TargetName(), named.TargetType(), string(named.TargetFetchPolicy()),
		string(withKey.TargetEnvironment()), withKey.CredentialsSecretName(),
	}
	want := []string{
		"slack", "Opaque", "production", "BeforeExpiry", "PipedreamAccount", "pipedream-oauth-client",
		"slack-credentials", "example.com/slack", "EachRefresh",
		"", "pipedream-api-key",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("effective values (-want +got):\n%s", diff)
	}
}
