// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// generatedRules returns the rules of config/rbac/role.yaml, by the names of their
// roles.
func generatedRules(t *testing.T) map[string][]rbacv1.PolicyRule {
	t.Helper()
	file, err := os.Open(filepath.Join(harness.Root(), "config", "rbac", "role.yaml"))
	harness.Must(t, err)
	defer func() { _ = file.Close() }()
	rules := map[string][]rbacv1.PolicyRule{}
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		role := &rbacv1.ClusterRole{} // A Role looks the same.
		err := decoder.Decode(role)
		if errors.Is(err, io.EOF) {
			break
		}
		harness.Must(t, err)
		rules[role.Name] = role.Rules
	}
	for _, name := range []string{"manager", "metrics-auth", "leader-election"} {
		if len(rules[name]) == 0 {
			t.Fatalf("config/rbac/role.yaml has no rules for %s", name)
		}
	}
	return rules
}

// permissionsOf returns one by one what rules permit in a namespace.
func permissionsOf(t *testing.T, namespace string, rules []rbacv1.PolicyRule) []permission {
	t.Helper()
	var permissions []permission
	for _, rule := range rules {
		if len(rule.NonResourceURLs)+len(rule.ResourceNames) > 0 || slices.Contains(slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs), "*") {
			t.Fatalf("this rule is none that the tests understand: %+v", rule)
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					permissions = append(permissions, permission{namespace, group, resource, verb})
				}
			}
		}
	}
	return permissions
}

// account is the ServiceAccount of a manager, in a namespace of its own, and what it
// was granted.
type account struct {
	*site
	system, user string
	granted      []permission
	// without is left out of what is granted.
	without permission
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{site: newSite(t)}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "system-"}}
	harness.Must(t, a.admin.Create(t.Context(), namespace))
	a.system = namespace.Name
	service := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.system, Name: "manager"}}
	harness.Must(t, a.admin.Create(t.Context(), service))
	a.user = "system:serviceaccount:" + a.system + ":manager"
	a.kubeconfig = cluster.MustAccountKubeconfig(t, a.system, service.Name)
	return a
}

// grant grants generated rules: in a namespace by a Role, and in the whole cluster by
// a ClusterRole when it is empty. The manager's rules are the same in both: whoever
// runs it with --namespaces grants them by a Role in each of these.
func (a *account) grant(namespace, name string) {
	a.Helper()
	permissions := slices.DeleteFunc(permissionsOf(a.T, namespace, generatedRules(a.T)[name]), func(p permission) bool { return p == a.without })
	a.granted = append(a.granted, permissions...)
	rules := make([]rbacv1.PolicyRule, 0, len(permissions))
	for _, p := range permissions {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{p.group}, Resources: []string{p.resource}, Verbs: []string{p.verb}})
	}
	metadata := metav1.ObjectMeta{Namespace: namespace, Name: a.system + "-" + name}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: a.system, Name: "manager"}}
	if namespace == "" {
		harness.Must(a.T, a.admin.Create(a.Context(), &rbacv1.ClusterRole{ObjectMeta: metadata, Rules: rules}))
		harness.Must(a.T, a.admin.Create(a.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metadata, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: metadata.Name},
		}))
		return
	}
	harness.Must(a.T, a.admin.Create(a.Context(), &rbacv1.Role{ObjectMeta: metadata, Rules: rules}))
	harness.Must(a.T, a.admin.Create(a.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metadata, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: metadata.Name},
	}))
}

// startReplica starts a manager under the account, which takes part in leader
// election.
func (a *account) startReplica(environment []string, arguments ...string) *manager {
	a.Helper()
	return startManagerIn(a.T, append(environment, "POD_NAMESPACE="+a.system),
		append([]string{"--kubeconfig=" + a.kubeconfig, "--api-url=" + a.apiURL, "--allow-insecure-api-url", "--leader-elect"}, arguments...)...)
}

// wholeJob has the manager do all that it is for, and checks that it has done it.
func (a *account) wholeJob() {
	a.Helper()
	// Credentials that come late, which is told in an event.
	a.create("early")
	a.awaitReason("early", v1alpha1.ReasonCredentialsMissing)
	a.eventually("an event", func() bool {
		events := &eventsv1.EventList{}
		harness.Must(a.T, a.admin.List(a.Context(), events, client.InNamespace(a.namespace)))
		return slices.ContainsFunc(events.Items, func(event eventsv1.Event) bool {
			return event.Regarding.Name == "early" && event.Reason == v1alpha1.ReasonCredentialsMissing
		})
	})
	a.register("early", goodSecret)

	// A renewal, a conflict with another writer, and a Secret that is deleted, on
	// objects whose tokens have lived long enough to be replaced at once.
	names := []string{"renewed", "edited", "deleted"}
	for _, name := range names {
		a.register(name, goodSecret)
		a.create(name)
	}
	versions := map[string]string{}
	for _, name := range names {
		a.awaitRight(name)
		versions[name] = a.versionOf(name)
	}
	a.requestRenewal("renewed")
	for _, name := range []string{"edited", "deleted"} {
		secret := &corev1.Secret{}
		harness.Must(a.T, a.admin.Get(a.Context(), a.key(name), secret))
		if name == "deleted" {
			harness.Must(a.T, a.admin.Delete(a.Context(), secret))
			continue
		}
		change(a.site, secret, func(secret *corev1.Secret) { secret.Data["access_token"] = []byte("edited") })
	}
	for _, name := range names {
		a.awaitRight(name)
		if a.versionOf(name) == versions[name] || a.exchanges(name) != 2 {
			a.Errorf("%s: %d tokens were issued, want another one", name, a.exchanges(name))
		}
	}
	a.awaitRight("early")
	a.wholeJobForAccounts()
}

func (a *account) awaitReason(name, reason string) {
	a.Helper()
	a.eventually(reason, func() bool {
		renewed := meta.FindStatusCondition(a.token(name).Status.Conditions, v1alpha1.ConditionRenewed)
		return renewed != nil && renewed.Reason == reason
	})
}

// awaitLeader waits until a manager holds the lease, and has said so in an event.
func (a *account) awaitLeader() {
	a.Helper()
	a.eventually("a leader", func() bool {
		leases, events := &coordinationv1.LeaseList{}, &corev1.EventList{}
		harness.Must(a.T, a.admin.List(a.Context(), leases, client.InNamespace(a.system)))
		harness.Must(a.T, a.admin.List(a.Context(), events, client.InNamespace(a.system)))
		return len(leases.Items) == 1 && len(events.Items) > 0
	})
}

// wantNeeded checks that each permission that was granted was made use of, and that
// no other one was asked for.
func (a *account) wantNeeded() {
	a.Helper()
	used, denied := audited(a.T, a.user)
	for p, times := range denied {
		a.Errorf("the manager was %d times denied to %s", times, p)
	}
	for _, p := range a.granted {
		isUse := func(other permission) bool {
			return p.group == other.group && p.resource == other.resource && p.verb == other.verb &&
				(p.namespace == "" || p.namespace == other.namespace)
		}
		var uses int
		for other, times := range used {
			if isUse(other) {
				uses += times
			}
		}
		if uses == 0 {
			a.Errorf("the manager does its whole job without being allowed to %s: take it out of the generated rules", p)
		}
	}
}

// wantForbidden checks with the manager's own credentials what it may not do.
func (a *account) wantForbidden(elsewhere bool) {
	a.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", a.kubeconfig)
	harness.Must(a.T, err)
	manager, err := client.New(config, client.Options{Scheme: a.admin.Scheme()})
	harness.Must(a.T, err)
	secret := func(namespace string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "renewed"}}
	}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`))
	token := &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "renewed"}}
	attempts := map[string]func(context.Context) error{
		"delete a Secret": func(ctx context.Context) error { return manager.Delete(ctx, secret(a.namespace)) },
		"delete all Secrets": func(ctx context.Context) error {
			return manager.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(a.namespace))
		},
		"patch a Secret":          func(ctx context.Context) error { return manager.Patch(ctx, secret(a.namespace), patch) },
		"change a PipedreamToken": func(ctx context.Context) error { return manager.Patch(ctx, token, patch) },
		"delete a PipedreamToken": func(ctx context.Context) error { return manager.Delete(ctx, token) },
		"read the pods":           func(ctx context.Context) error { return manager.List(ctx, &corev1.PodList{}) },
		"read its own roles": func(ctx context.Context) error {
			return manager.List(ctx, &rbacv1.RoleList{}, client.InNamespace(a.system))
		},
		"delete the lease": func(ctx context.Context) error {
			return manager.DeleteAllOf(ctx, &coordinationv1.Lease{}, client.InNamespace(a.system))
		},
		"take a lease elsewhere": func(ctx context.Context) error {
			return manager.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-scheduler"}})
		},
	}
	maps.Copy(attempts, a.forbiddenToAccounts(manager, patch))
	if elsewhere {
		attempts["list the PipedreamAccounts of all namespaces"] = func(ctx context.Context) error {
			return manager.List(ctx, &v1alpha1.PipedreamAccountList{})
		}
		attempts["read a Secret of another namespace"] = func(ctx context.Context) error {
			return manager.Get(ctx, client.ObjectKeyFromObject(secret("default")), &corev1.Secret{})
		}
		attempts["create a Secret in another namespace"] = func(ctx context.Context) error { return manager.Create(ctx, secret("default")) }
		attempts["read a Secret of its own namespace"] = func(ctx context.Context) error {
			return manager.Get(ctx, client.ObjectKeyFromObject(secret(a.system)), &corev1.Secret{})
		}
		attempts["list all Secrets"] = func(ctx context.Context) error { return manager.List(ctx, &corev1.SecretList{}) }
		attempts["list the PipedreamTokens of all namespaces"] = func(ctx context.Context) error {
			return manager.List(ctx, &v1alpha1.PipedreamTokenList{})
		}
	}
	for what, try := range attempts {
		if err := try(a.Context()); !apierrors.IsForbidden(err) {
			a.Errorf("the manager was not forbidden to %s: %v", what, err)
		}
	}
}

// TestWholeClusterUnderTheGeneratedRules runs two replicas for the whole cluster under
// the rules of config/rbac, with metrics. It is not parallel: they look after the
// objects of all other tests too.
func TestWholeClusterUnderTheGeneratedRules(t *testing.T) {
	a := newAccount(t)
	a.grant("", "manager")
	a.grant("", "metrics-auth")
	a.grant(a.system, "leader-election")
	metrics := harness.MustFreeAddress(t)
	first := a.startReplica(nil, "--health-probe-bind-address=0", "--metrics-bind-address="+metrics)
	a.awaitLeader()
	scraper := serviceAccountToken(t, "scraper")
	a.eventually("metrics", func() bool {
		status, body := get(t, "https://"+metrics+"/metrics", scraper)
		return status == 200 && strings.Contains(body, "leader_election_master_status")
	})
	a.underOtherLists(first)
	a.wholeJob()
	a.wantNeeded()
	a.wantForbidden(false)
}

// TestNamespacesUnderRolesOnly runs two replicas for two namespaces, under Roles in
// these and in their own namespace, and nothing in the cluster. Without a
// ClusterRole nobody can be let in to see metrics.
func TestNamespacesUnderRolesOnly(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.grant(a.namespace, "manager")
	a.grant(a.system, "leader-election")
	first := a.startReplica(nil, "--namespaces="+a.namespace, "--health-probe-bind-address=0", "--metrics-bind-address=0")
	a.awaitLeader()
	a.underOtherLists(first, "--namespaces="+a.namespace)
	a.wholeJob()
	a.wantNeeded()
	a.wantForbidden(true)
}

// TestNamespaceWithoutItsRole has the manager watch a namespace in which it may do
// nothing yet.
func TestNamespaceWithoutItsRole(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.grant(a.system, "leader-election")
	probes := harness.MustFreeAddress(t)
	waiting := a.startReplica(nil, "--namespaces="+a.namespace, "--health-probe-bind-address="+probes, "--metrics-bind-address=0")
	// Both the cache and each later try open a watch. A list comes only if the API server
	// refused the PipedreamTokens before the Secrets.
	a.eventually("a refusal", func() bool {
		_, denied := audited(a.T, a.user)
		return denied[permission{a.namespace, v1alpha1.SchemeGroupVersion.Group, "pipedreamtokens", "watch"}] > 0
	})
	if status, _ := get(t, "http://"+probes+"/readyz", ""); status != http.StatusInternalServerError {
		t.Errorf("/readyz answers %d, want 500", status)
	}
	harness.Must(t, waiting.Signal(syscall.SIGTERM))
	if code, line := waiting.exit(t); code != 0 || !strings.Contains(waiting.Log.String(), `in the namespace \"`+a.namespace) {
		t.Errorf("it was told to stop while it waits for its rights, and ends with %d: %s", code, line)
	}

	a.startReplica(nil, "--namespaces="+a.namespace, "--health-probe-bind-address="+probes, "--metrics-bind-address=0")
	a.grant(a.namespace, "manager")
	a.eventually("ready once there is the Role", func() bool {
		status, _ := get(t, "http://"+probes+"/readyz", "")
		return status == http.StatusOK
	})
	a.register("orders", goodSecret)
	a.create("orders")
	a.awaitRight("orders")
}

// underOtherLists has a second replica take over. It lists as it must on an API server
// that does not answer a list with a watch, and as client-go does with its feature
// WatchListClient turned off.
func (a *account) underOtherLists(first *manager, arguments ...string) {
	a.Helper()
	a.startReplica([]string{"KUBE_FEATURE_WatchListClient=false"}, append(arguments, "--health-probe-bind-address=0", "--metrics-bind-address=0")...)
	first.stop(a.T)
}
