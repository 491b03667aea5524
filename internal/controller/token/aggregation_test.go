// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// may asks the API server what a user may do in the namespace.
func (w *world) may(user, verb, group, resource, subresource string) bool {
	w.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: w.namespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource,
		},
	}}
	must(w.T, w.admin.Create(w.Context(), review))
	return review.Status.Allowed
}

// TestClusterRolesForUsersAreExtended installs config/rbac/aggregated_roles.yaml, and
// asks what those may do to whom Kubernetes' own roles were given in a namespace.
func TestClusterRolesForUsersAreExtended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must(t, rbacv1.AddToScheme(w.admin.Scheme()))
	must(t, authorizationv1.AddToScheme(w.admin.Scheme()))
	file, err := os.Open(filepath.Join(harness.Root(), "config", "rbac", "aggregated_roles.yaml"))
	must(t, err)
	defer func() { _ = file.Close() }()
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		role := &rbacv1.ClusterRole{}
		err := decoder.Decode(role)
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		must(t, w.admin.Create(t.Context(), role))
	}
	for _, role := range []string{"view", "edit", "admin"} {
		must(t, w.admin.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: w.namespace + "-" + role}},
		}))
	}
	const group, resource = "pipedream-operator.io", "pipedreamtokens"
	w.eventually("the roles are extended", func() bool {
		return w.may(w.namespace+"-view", "get", group, resource, "") && w.may(w.namespace+"-edit", "create", group, resource, "") &&
			w.may(w.namespace+"-admin", "create", group, resource, "")
	})
	look, work := []string{"get", "list", "watch"}, []string{"create", "delete", "deletecollection", "patch", "update"}
	for role, mayWork := range map[string]bool{"view": false, "edit": true, "admin": true} {
		user := w.namespace + "-" + role
		got, want := map[string]bool{}, map[string]bool{"get status": true}
		for _, verb := range look {
			want[verb], got[verb] = true, w.may(user, verb, group, resource, "")
		}
		for _, verb := range work {
			want[verb], got[verb] = mayWork, w.may(user, verb, group, resource, "")
		}
		for _, verb := range []string{"patch", "update"} {
			want[verb+" status"], got[verb+" status"] = false, w.may(user, verb, group, resource, "status")
		}
		got["get status"] = w.may(user, "get", group, resource, "status")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what %s may do (-want +got): %s", role, diff)
		}
		// Who may make PipedreamTokens may have Secrets made: it must be no news to them.
		if mayWork && !w.may(user, "create", "", "secrets", "") {
			t.Errorf("%s may create PipedreamTokens, and no Secrets", role)
		}
	}
	if w.may(w.namespace+"-stranger", "get", group, resource, "") {
		t.Error("a stranger may read PipedreamTokens")
	}
}
