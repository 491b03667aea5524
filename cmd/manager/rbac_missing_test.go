// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// deprived is a manager that lacks one permission, with a PipedreamToken and a PipedreamAccount to look
// after.
type deprived struct {
	*account
	manager         *manager
	metrics, reader string
}

// harm is what is wrong when a permission is missing.
type harm struct {
	what string
	is   func(*deprived) bool
}

// harms has what is wrong without each permission, by verb, resource and API group.
func harms() map[string]harm {
	noToken := func(d *deprived) bool { return len(d.secrets("orders")) == 0 }
	noAccount := func(d *deprived) bool { return d.accountCredentials("orders") == nil }
	noMetrics := func(d *deprived) bool { return d.scrape() != http.StatusOK }
	notWatched := func(d *deprived) bool {
		_, metrics := get(d.T, "https://"+d.metrics+"/metrics", d.reader)
		return strings.Contains(metrics, `pipedream_namespace_watched{namespace="`+d.namespace+`"} 0`)
	}
	const ours = "pipedream-operator.io"
	return map[string]harm{
		"get secrets":    {"no token is issued, for the credentials can't be read", noToken},
		"list secrets":   {"no token is issued, for nothing is known of Secrets", noToken},
		"watch secrets":  {"the namespace is not watched", notWatched},
		"create secrets": {"no token is stored", noToken},
		"update secrets": {"the Secret does not get its label", func(d *deprived) bool { return d.secrets("orders")[0].Labels["tier"] == "" }},
		"create events.events.k8s.io": {"nothing is told of a PipedreamToken", func(d *deprived) bool {
			return d.events(d.namespace) == 0
		}},
		"list pipedreamtokens." + ours:  {"nothing is known of PipedreamTokens", noToken},
		"watch pipedreamtokens." + ours: {"the namespace is not watched", notWatched},
		"patch pipedreamtokens/status." + ours: {"there is no status", func(d *deprived) bool {
			return d.token("orders").Status.ObservedGeneration == 0
		}},
		"list pipedreamaccounts." + ours:  {"nothing is known of PipedreamAccounts", noAccount},
		"watch pipedreamaccounts." + ours: {"the namespace is not watched", notWatched},
		"patch pipedreamaccounts/status." + ours: {"there is no status", func(d *deprived) bool {
			return d.site.account("orders").Status.ObservedGeneration == 0
		}},
		"create tokenreviews.authentication.k8s.io":        {"nobody may see metrics", noMetrics},
		"create subjectaccessreviews.authorization.k8s.io": {"nobody may see metrics", noMetrics},
		"create events":                     {"nothing is told of who leads", func(d *deprived) bool { return d.events(d.system) == 0 }},
		"get leases.coordination.k8s.io":    {"nobody leads", noToken},
		"create leases.coordination.k8s.io": {"nobody leads", noToken},
		"update leases.coordination.k8s.io": {"the leader can't stay it, and ends", func(d *deprived) bool { return d.manager.HasEnded() }},
	}
}

// TestEachPermissionIsMissed takes the permissions away one by one. The manager is
// denied something then, and something is wrong.
func TestEachPermissionIsMissed(t *testing.T) {
	t.Parallel()
	for role, rules := range generatedRules(t) {
		for _, p := range permissionsOf(t, "", rules) {
			name := strings.TrimSuffix(p.verb+" "+p.resource+"."+p.group, ".")
			t.Run(role+": "+name, func(t *testing.T) {
				t.Parallel()
				harm, known := harms()[name]
				if !known {
					t.Fatal("nobody has said what is wrong without it")
				}
				d := newDeprived(t, role, p)
				d.eventually("the manager misses what was taken away", func() bool {
					d.giveWork()
					_, denied := audited(t, d.user)
					return denied[d.without] > 0
				})
				d.eventually(harm.what, func() bool { return harm.is(d) })
			})
		}
	}
}

// newDeprived starts a manager with all permissions but one.
func newDeprived(t *testing.T, role string, without permission) *deprived {
	t.Helper()
	d := &deprived{account: newAccount(t), metrics: harness.MustFreeAddress(t)}
	namespaces := map[string]string{"manager": d.namespace, "leader-election": d.system, "metrics-auth": ""}
	d.without = without
	d.without.namespace = namespaces[role]
	for name, namespace := range namespaces {
		d.grant(namespace, name)
	}
	d.reader = serviceAccountToken(t, "scraper")
	d.register("orders", goodSecret)
	d.create("orders")
	d.connect("orders")
	d.createAccount("orders")
	// Without WatchList, so that it has to list what it watches.
	d.manager = d.startReplica([]string{"KUBE_FEATURE_WatchListClient=false"}, "--namespaces="+d.namespace,
		"--health-probe-bind-address=0", "--metrics-bind-address="+d.metrics)
	return d
}

// giveWork has the manager use its permissions: there is a token to issue, then a
// label to set, and somebody wants to see metrics.
func (d *deprived) giveWork() {
	d.scrape()
	if token := d.token("orders"); len(d.secrets("orders")) > 0 && token.Spec.Secret.Labels == nil {
		change(d.site, token, func(token *v1alpha1.PipedreamToken) {
			token.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"tier": "one"}
		})
	}
}

func (d *deprived) scrape() (status int) {
	status, _ = get(d.T, "https://"+d.metrics+"/metrics", d.reader)
	return status
}

func (d *deprived) events(namespace string) int {
	d.Helper()
	events := &eventsv1.EventList{}
	harness.Must(d.T, d.admin.List(d.Context(), events, client.InNamespace(namespace)))
	return len(events.Items)
}
