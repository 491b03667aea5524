// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// shortLife is the life of the tokens in the namespaces that must not notice anything.
// They are renewed about every 20 seconds.
const shortLife = 30 * time.Second

// tenants is a manager that watches several namespaces, under Roles in these.
type tenants struct {
	*account
	names           []string
	probes, metrics string
	scraper         string
	running         *manager
}

func newTenants(t *testing.T) *tenants {
	t.Helper()
	s := &tenants{account: newAccount(t)}
	s.grant(s.system, "leader-election")
	s.grant("", "metrics-auth")
	s.scraper = serviceAccountToken(t, "scraper")
	harness.Must(t, s.pipedream.SetTokenLifetime(shortLife))
	return s
}

// tenant adds a namespace to the namespaces that the manager watches, and returns it as a site of
// its own. Its PipedreamToken has the name of the namespace.
func (s *tenants) tenant(kind string) *site {
	s.Helper()
	tenant := *s.site
	tenant.namespace = s.system + "-" + kind
	s.names = append(s.names, tenant.namespace)
	return &tenant
}

// found makes the namespace, which must not exist.
func (s *tenants) found(tenant *site) {
	s.Helper()
	harness.Must(s.T, s.admin.Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant.namespace}}))
}

// fill creates credentials and a PipedreamToken in a namespace.
func (s *tenants) fill(tenant *site) {
	s.Helper()
	tenant.register(tenant.namespace, goodSecret)
	tenant.create(tenant.namespace)
}

// binding returns the RoleBinding of the manager in a namespace.
func (s *tenants) binding(tenant *site) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant.namespace, Name: s.system + "-manager"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: s.system + "-manager"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: s.system, Name: "manager"}},
	}
}

// forbidSecrets takes away what the manager may do with Secrets in a namespace, and
// returns the rules as they were.
func (s *tenants) forbidSecrets(tenant *site) []rbacv1.PolicyRule {
	s.Helper()
	role := s.role(tenant)
	all := slices.Clone(role.Rules)
	role.Rules = slices.DeleteFunc(role.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.Resources, "secrets") })
	harness.Must(s.T, s.admin.Update(s.Context(), role))
	return all
}

func (s *tenants) role(tenant *site) *rbacv1.Role {
	s.Helper()
	role := &rbacv1.Role{}
	harness.Must(s.T, s.admin.Get(s.Context(), client.ObjectKey{Namespace: tenant.namespace, Name: s.system + "-manager"}, role))
	return role
}

// remove deletes a namespace, and returns when it is gone.
func (s *tenants) remove(tenant *site) {
	s.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant.namespace}}
	harness.Must(s.T, s.admin.Delete(s.Context(), namespace))
	s.eventually("the namespace is gone", func() bool {
		return apierrors.IsNotFound(s.admin.Get(s.Context(), client.ObjectKeyFromObject(namespace), namespace))
	})
}

// launch starts the manager. It returns when /readyz answers 200.
func (s *tenants) launch() {
	s.Helper()
	s.probes, s.metrics = harness.MustFreeAddress(s.T), harness.MustFreeAddress(s.T)
	s.running = s.startReplica(nil, "--namespaces="+strings.Join(s.names, ","),
		"--health-probe-bind-address="+s.probes, "--metrics-bind-address="+s.metrics)
	s.eventually("the manager is ready", func() bool {
		status, _ := get(s.T, "http://"+s.probes+"/readyz", "")
		return status == http.StatusOK
	})
}

// stop tells the manager to stop, which it must do at once and without an error.
func (s *tenants) stop() {
	s.Helper()
	told := time.Now()
	s.running.stop(s.T)
	if took := time.Since(told); took > 10*time.Second {
		s.Errorf("the manager took %v to stop", took)
	}
}

var watchedSample = regexp.MustCompile(`(?m)^pipedream_namespace_watched\{namespace="([^"]*)"\} ([01])$`)

// unwatched returns the namespaces that the manager says it does not watch, by the metric.
func (s *tenants) unwatched() []string {
	s.Helper()
	_, body := get(s.T, "https://"+s.metrics+"/metrics", s.scraper)
	unwatched := []string{}
	for _, sample := range watchedSample.FindAllStringSubmatch(body, -1) {
		if sample[2] == "0" {
			unwatched = append(unwatched, sample[1])
		}
	}
	slices.Sort(unwatched)
	return unwatched
}

// awaitUnwatched waits until the manager does not watch exactly these namespaces. It says
// so in the metric and in the answer of /readyz/namespaces, and is ready nevertheless.
func (s *tenants) awaitUnwatched(tenants ...*site) {
	s.Helper()
	want := []string{}
	for _, tenant := range tenants {
		want = append(want, tenant.namespace)
	}
	slices.Sort(want)
	s.eventually(fmt.Sprintf("%q are not watched", want), func() bool { return slices.Equal(s.unwatched(), want) })
	status, body := get(s.T, "http://"+s.probes+"/readyz/namespaces", "")
	if isOK := status == http.StatusOK; isOK != (len(want) == 0) {
		s.Errorf("/readyz/namespaces answers %d: %s", status, body)
	}
	for _, name := range s.names {
		if isNamed := strings.Contains(body, name+",") || strings.Contains(body, name+"."); isNamed != slices.Contains(want, name) {
			s.Errorf("/readyz/namespaces names %s: %v; its answer: %s", name, isNamed, body)
		}
	}
	if status, body := get(s.T, "http://"+s.probes+"/readyz", ""); status != http.StatusOK {
		s.Errorf("/readyz answers %d, want 200: %s", status, body)
	}
}

// linesAbout returns the messages of the log that name a namespace in the field namespace,
// and how often each is there.
func (s *tenants) linesAbout(tenant *site) map[string]int {
	s.Helper()
	messages := map[string]int{}
	for line := range strings.Lines(s.running.Log.String()) {
		if !strings.Contains(line, `"namespace":"`+tenant.namespace+`"`) {
			continue
		}
		for _, message := range []string{"this namespace can't be watched", "this namespace is watched again", "Reconciler error", "Failed to watch"} {
			if strings.Contains(line, message) {
				messages[message]++
			}
		}
	}
	return messages
}

// calm adds a namespace with a token that lives for a short time. The function that it
// returns waits until the token is renewed once more, and checks the Secret and the status.
func (s *tenants) calm() (wantRenewed func()) {
	s.Helper()
	tenant := s.tenant("calm")
	s.found(tenant)
	s.grant(tenant.namespace, "manager")
	s.fill(tenant)
	return func() {
		s.Helper()
		before := s.exchanges(tenant.namespace)
		s.within(2*time.Minute, "another renewal in "+tenant.namespace, func() bool { return s.exchanges(tenant.namespace) > before })
		tenant.awaitRight(tenant.namespace)
	}
}

// TestNamespacesInTroubleStopNoOther lets one namespace after the other get into trouble,
// restarts the manager meanwhile, and mends them all. In the first namespace a consumer
// uses the token all the time, and must not notice anything.
func TestNamespacesInTroubleStopNoOther(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	// About every 40 seconds a token is renewed, so that a busy machine has 20 seconds for it before the token expires.
	harness.Must(t, s.pipedream.SetTokenLifetime(time.Minute))
	wantRenewed := s.calm()
	calm := *s.site
	calm.namespace = s.names[0]
	absent, late, deleted, unbound, secretless := s.tenant("absent"), s.tenant("late"), s.tenant("deleted"), s.tenant("unbound"), s.tenant("secretless")
	for _, tenant := range []*site{late, deleted, unbound, secretless} {
		s.found(tenant)
		if tenant != late {
			s.grant(tenant.namespace, "manager")
		}
		s.fill(tenant)
	}
	s.launch()
	for _, tenant := range []*site{&calm, deleted, unbound, secretless} {
		tenant.awaitRight(tenant.namespace)
	}
	s.awaitUnwatched(absent, late)
	calm.consume([]string{calm.namespace})

	// In the running manager. A renewal that falls due shows it that something is wrong.
	harness.Must(t, s.admin.Delete(t.Context(), s.binding(unbound)))
	rules := s.forbidSecrets(secretless)
	s.remove(deleted)
	wantRenewed()
	s.within(2*time.Minute, "the trouble is noticed", func() bool {
		now := s.unwatched()
		return slices.Contains(now, unbound.namespace) && slices.Contains(now, secretless.namespace)
	})
	wantRenewed()
	for _, tenant := range []*site{absent, late, unbound, secretless} {
		s.eventually("the log says once that "+tenant.namespace+" can't be watched", func() bool {
			return s.linesAbout(tenant)["this namespace can't be watched"] == 1
		})
	}

	// A manager that starts.
	s.stop()
	s.launch()
	s.awaitUnwatched(absent, late, deleted, unbound, secretless)
	wantRenewed()

	// All is mended.
	s.found(absent)
	s.found(deleted)
	for _, tenant := range []*site{absent, late, deleted} {
		s.grant(tenant.namespace, "manager")
	}
	s.fill(absent)
	s.fill(deleted)
	harness.Must(t, s.admin.Create(t.Context(), s.binding(unbound)))
	role := s.role(secretless)
	role.Rules = rules
	harness.Must(t, s.admin.Update(t.Context(), role))
	for _, tenant := range []*site{absent, late, deleted, unbound, secretless} {
		tenant.awaitRight(tenant.namespace)
		want := map[string]int{"this namespace can't be watched": 1, "this namespace is watched again": 1}
		s.eventually(fmt.Sprintf("the log has these lines about %s: %v", tenant.namespace, want), func() bool {
			return cmp.Equal(want, s.linesAbout(tenant))
		})
	}
	s.awaitUnwatched()
	wantRenewed()
	s.stop()
}

// TestNamespaceThatIsMadeAnew deletes a namespace and makes it anew, with the same names
// in it, while the manager runs.
func TestNamespaceThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	wantRenewed := s.calm()
	tenant := s.tenant("anew")
	for round := range 2 {
		s.found(tenant)
		s.grant(tenant.namespace, "manager")
		s.fill(tenant)
		if round == 0 {
			s.launch()
		}
		tenant.awaitRight(tenant.namespace)
		if got := s.exchanges(tenant.namespace); round == 0 && got != 1 {
			t.Errorf("Pipedream was asked for %d tokens, want 1", got)
		}
		s.remove(tenant)
		wantRenewed()
	}
	s.stop()
}

// TestAllNamespacesForbiddenAtFirst starts a manager that may do nothing yet. It is not
// ready, says what is missing, and does not take the lease.
func TestAllNamespacesForbiddenAtFirst(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	first, second := s.tenant("first"), s.tenant("second")
	s.found(first)
	s.probes, s.metrics = harness.MustFreeAddress(t), harness.MustFreeAddress(t)
	start := func() {
		s.running = s.startReplica(nil, "--namespaces="+strings.Join(s.names, ","), "--health-probe-bind-address="+s.probes, "--metrics-bind-address="+s.metrics)
		s.eventually("both are named", func() bool {
			_, body := get(t, "http://"+s.probes+"/readyz/namespaces", "")
			return strings.Contains(body, first.namespace) && strings.Contains(body, second.namespace) && len(s.unwatched()) == 2
		})
		if status, _ := get(t, "http://"+s.probes+"/readyz", ""); status != http.StatusInternalServerError {
			t.Errorf("/readyz answers %d while nothing is watched, want 500", status)
		}
	}
	start()
	s.stop()
	start()
	s.grant(first.namespace, "manager")
	s.fill(first)
	first.awaitRight(first.namespace)
	s.awaitUnwatched(second)
	s.found(second)
	s.grant(second.namespace, "manager")
	s.fill(second)
	second.awaitRight(second.namespace)
	s.awaitUnwatched()
	s.stop()
}

// TestForbiddenNamespaceCostsFewRequests counts the requests of the manager in a namespace
// in which it may do nothing: until it says that the namespace is not watched, and from
// half a minute later on, when it tries the namespace every 18 to 27 seconds.
func TestForbiddenNamespaceCostsFewRequests(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	wantRenewed := s.calm()
	forbidden := s.tenant("forbidden")
	s.found(forbidden)
	s.launch()
	denied := func() (count int) {
		_, all := audited(t, s.user)
		for p, times := range all {
			if p.namespace == forbidden.namespace {
				count += times
			}
		}
		return count
	}
	pass := func(span time.Duration) {
		t.Helper()
		for begin := time.Now(); time.Since(begin) < span; {
			wantRenewed()
		}
	}
	s.awaitUnwatched(forbidden)
	first := denied()
	pass(30 * time.Second) // The tries follow each other faster at first.
	begin, before := time.Now(), denied()
	pass(45 * time.Second)
	made, minutes := denied()-before, time.Since(begin).Minutes()
	t.Logf("%d requests in the first seconds, %d in the time of the fast tries, then %d in %.1f minutes", first, before-first, made, minutes)
	if perMinute := float64(made) / minutes; perMinute > 6 || made == 0 {
		t.Errorf("a forbidden namespace costs %.1f requests a minute, want a few", perMinute)
	}
	if first > 8 {
		t.Errorf("a forbidden namespace costs %d requests at the start, want a few", first)
	}
}

// TestManyNamespaces has a manager watch 20 namespaces, of which every fourth is absent.
func TestManyNamespaces(t *testing.T) {
	t.Parallel()
	s := newTenants(t)
	harness.Must(t, s.pipedream.SetTokenLifetime(time.Hour))
	var there, absent []*site
	for i := range 20 {
		tenant := s.tenant(fmt.Sprintf("n%02d", i))
		if i%4 == 3 {
			absent = append(absent, tenant)
			continue
		}
		s.found(tenant)
		s.grant(tenant.namespace, "manager")
		s.fill(tenant)
		there = append(there, tenant)
	}
	s.launch()
	for _, tenant := range there {
		tenant.awaitRight(tenant.namespace)
	}
	s.awaitUnwatched(absent...)
	for _, tenant := range there {
		if got := s.exchanges(tenant.namespace); got != 1 {
			t.Errorf("Pipedream was asked for %d tokens for %s, want 1", got, tenant.namespace)
		}
	}
	s.stop()
}
