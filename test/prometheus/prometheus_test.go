//go:build prometheus

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package prometheus_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

// patience bounds each wait of a test.
const patience = 2 * time.Minute

// program returns the path of a program of Prometheus.
func program(name string) string {
	return filepath.Join(harness.Root(), "bin", "prometheus", name)
}

// promtool runs promtool in a folder, and fails the test on an error.
func promtool(t *testing.T, folder string, arguments ...string) {
	t.Helper()
	command := harness.Command{Path: program("promtool"), Arguments: arguments, Folder: folder}
	if output, err := command.Run(t.Context()); err != nil {
		t.Errorf("%v (`make test-prometheus` installs promtool)\n%s", err, output)
	}
}

func TestAlerts(t *testing.T) {
	folder := t.TempDir()
	harness.Must(t, os.WriteFile(filepath.Join(folder, "rules.yaml"), ruleFile(t), 0o600))
	harness.Must(t, os.WriteFile(filepath.Join(folder, "alerts_test.yaml"), harness.MustRead(t, "test", "prometheus", "testdata", "alerts_test.yaml"), 0o600))
	promtool(t, folder, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")
	promtool(t, folder, "test", "rules", "alerts_test.yaml")
}

func TestDashboardParses(t *testing.T) {
	var group []any
	for i, q := range queries(t) {
		group = append(group, map[string]any{"record": fmt.Sprintf("panel:%d", i), "expr": q.Expr})
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": group}}})
	harness.Must(t, err)
	folder := t.TempDir()
	harness.Must(t, os.WriteFile(filepath.Join(folder, "dashboard.yaml"), content, 0o600))
	promtool(t, folder, "check", "rules", "dashboard.yaml")
}

// run is a run of the real operator with a real Prometheus that scrapes it.
type run struct {
	*testing.T
	folder     string
	cluster    *controlplane.ControlPlane
	admin      client.Client
	namespace  string
	pipedream  *simulator.Simulator
	apiURL     string
	prometheus string
}

func (r *run) write(name string, content []byte) string {
	r.Helper()
	path := filepath.Join(r.folder, name)
	harness.Must(r.T, os.WriteFile(path, content, 0o600))
	return path
}

// start starts a program, and stops it when the test ends.
func (r *run) start(command harness.Command) {
	r.Helper()
	started := command.MustStart(r.T)
	r.Cleanup(func() { _ = started.Stop(patience) })
}

func newRun(t *testing.T) *run {
	t.Helper()
	r := &run{T: t, folder: t.TempDir()}
	r.cluster = controlplane.MustStart(t, controlplane.Options{})
	r.admin = r.cluster.Client
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	harness.Must(t, r.admin.Create(t.Context(), namespace))
	r.namespace = namespace.Name
	r.pipedream = simulator.New(simulator.Options{
		Now: time.Now, TokenLifetime: 30 * time.Second, Clients: []simulator.Client{{ID: "good", Secret: "the-client-secret"}},
	})
	r.apiURL = harness.MustServe(t, r.pipedream)
	return r
}

// scraper returns the token of a ServiceAccount that has only the role of config/metrics.
func (r *run) scraper() string {
	r.Helper()
	role := &rbacv1.ClusterRole{}
	harness.Must(r.T, yaml.Unmarshal(harness.MustRead(r.T, "config", "metrics", "reader_role.yaml"), role))
	harness.Must(r.T, r.admin.Create(r.Context(), role))
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "prometheus"}}
	harness.Must(r.T, r.admin.Create(r.Context(), account))
	harness.Must(r.T, r.admin.Create(r.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: r.namespace, Name: account.Name}},
	}))
	return r.cluster.MustToken(r.T, account.Namespace, account.Name)
}

// startManagers builds the manager, and runs a leader and a standby. It returns the addresses of their metrics.
func (r *run) startManagers() (metrics []string) {
	r.Helper()
	manager := filepath.Join(r.folder, "manager")
	harness.MustBuildManager(r.T, harness.Root(), manager)
	// Some metrics exist only with these flags. Pipedream is called without TLS, so any CA will do.
	certificates := r.write("ca.pem", r.cluster.Config.CAData)
	for range 2 {
		address := harness.MustFreeAddress(r.T)
		metrics = append(metrics, address)
		r.start(harness.Manager{
			Path: manager, Kubeconfig: r.cluster.KubeconfigFile, Pipedream: r.apiURL, Namespace: r.namespace, Metrics: address,
			Flags: []string{"--namespaces=" + r.namespace, "--api-ca-file=" + certificates, "--leader-elect"},
		}.Command())
	}
	return metrics
}

// startPrometheus runs Prometheus with the settings of the ServiceMonitor, but with an interval of one second.
func (r *run) startPrometheus(metrics []string) {
	r.Helper()
	config, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{r.write("rules.yaml", ruleFile(r.T))},
		"scrape_configs": []any{map[string]any{
			"job_name": "pipedream-operator-metrics", "scheme": "https", "honor_labels": true,
			"authorization":  map[string]any{"credentials": r.scraper()},
			"tls_config":     map[string]any{"insecure_skip_verify": true},
			"static_configs": []any{map[string]any{"targets": metrics, "labels": map[string]any{"namespace": "system"}}},
		}},
	})
	harness.Must(r.T, err)
	address := harness.MustFreeAddress(r.T)
	r.prometheus = "http://" + address
	r.start(harness.Command{Path: program("prometheus"), Arguments: []string{
		"--config.file=" + r.write("prometheus.yaml", config), "--storage.tsdb.path=" + filepath.Join(r.folder, "tsdb"),
		"--web.listen-address=" + address, "--log.level=warn",
	}})
}

// sample is a series with its current value.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

// ask calls Prometheus's API, and decodes the data of the answer.
func (r *run) ask(path string, values url.Values, into any) error {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.prometheus+path+"?"+values.Encode(), nil)
	harness.Must(r.T, err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", response.Status, answer.Error)
	}
	return nil
}

func (r *run) query(expression string) (samples []sample, err error) {
	r.Helper()
	answer := struct{ Result []sample }{}
	err = r.ask("/api/v1/query", url.Values{"query": {expression}}, &answer)
	return answer.Result, err
}

func (r *run) eventually(condition string, problem func() string) {
	r.Helper()
	harness.Wait{Patience: patience, Every: 200 * time.Millisecond}.Eventually(r.T, condition, problem)
}

func (r *run) create(name, clientSecret string) {
	r.Helper()
	harness.Must(r.T, r.admin.Create(r.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name + "-client"},
		StringData: map[string]string{"client_id": "good", "client_secret": clientSecret},
	}))
	harness.Must(r.T, r.admin.Create(r.Context(), &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: name + "-client"},
			ProjectID:       "proj_abc123", Verification: v1alpha1.Verification{IntervalSeconds: 10},
		},
	}))
}

// queryOf returns the only query of the panel with a title.
func queryOf(t *testing.T, title string) string {
	t.Helper()
	var found []string
	for _, q := range queries(t) {
		if q.title == title {
			found = append(found, q.Expr)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the panels with the title %q have %d queries, want one", title, len(found))
	}
	return found[0]
}

// connect connects an account at Pipedream, and creates a PipedreamAccount of the same name for it.
func (r *run) connect(name string, connected simulator.Account) {
	r.Helper()
	harness.Must(r.T, r.pipedream.Accounts.Set(name, connected))
	harness.Must(r.T, r.admin.Create(r.Context(), &v1alpha1.PipedreamAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name},
		Spec: v1alpha1.PipedreamAccountSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "orders-client"}, ProjectID: "proj_abc123", AccountID: name,
			Secret: v1alpha1.AccountSecretTemplate{Name: name + "-credentials"},
		},
	}))
}

// connectAccounts connects an account that Pipedream refreshes before its credentials expire, and one that is dead.
func (r *run) connectAccounts() {
	r.Helper()
	refreshed := simulator.NewAccount("proj_abc123", "acme", "slack")
	refreshed.Life, refreshed.Refresh = 30*time.Second, "lead:15s"
	r.connect("slack", refreshed)
	dead := simulator.NewAccount("proj_abc123", "acme", "github")
	dead.Dead = new(true)
	r.connect("github", dead)
}

// TestDashboardAndAlertsOfARealRun runs all queries of the dashboard on a real Prometheus that scrapes the real
// manager.
func TestDashboardAndAlertsOfARealRun(t *testing.T) {
	r := newRun(t)
	r.create("orders", "the-client-secret")
	r.create("refused", "not-the-client-secret")
	r.connectAccounts()
	r.startPrometheus(r.startManagers())
	r.eventually("a routine renewal to be counted", func() string {
		found, err := r.query(`pipedream_token_renewals_total{reason="Due",result="Issued"} > 0`)
		if err != nil || len(found) == 0 {
			return fmt.Sprint(found, err)
		}
		return ""
	})
	r.eventually("a routine fetch to be counted", func() string {
		found, err := r.query(`pipedream_account_fetches_total{reason="Expiring",result="AccountFetched"} > 0`)
		if err != nil || len(found) == 0 {
			return fmt.Sprint(found, err)
		}
		return ""
	})
	for _, q := range queries(t) {
		r.eventually("panel "+q.title, func() string {
			found, err := r.query(q.Expr)
			if err != nil {
				return err.Error()
			}
			// A quantile is NaN until the first request is counted.
			if isNaN := func(s sample) bool { return s.Value[1] == "NaN" }; len(found) == 0 || slices.ContainsFunc(found, isNaN) {
				return fmt.Sprintf("%s returned %v", q.Expr, found)
			}
			return ""
		})
	}
	var names []string
	harness.Must(t, r.ask("/api/v1/label/__name__/values", nil, &names))
	for name, where := range used(t) {
		if !slices.Contains(names, name) {
			t.Errorf("%s uses the unknown metric %s", where, name)
		}
	}
	r.wantValues(map[string]string{
		// The standby has the same metrics as the leader. The dashboard must count each object once.
		`sum(pipedream_token_condition{type="Ready",status="True"})`: "2",
		queries(t)[0].Expr: "1",
		`count(pipedream_token_condition{namespace="shop",name="refused",type="Stalled",reason="CredentialsRejected"})`: "2",
		`count(pipedream_token_expiration_timestamp_seconds{namespace="shop",name="orders"} > time())`:                  "2",
		`count(pipedream_account_condition{namespace="shop",name="github",type="Stalled",reason="AccountDead"})`:        "2",
		`count(pipedream_account_expiration_timestamp_seconds{namespace="shop",name="slack"} > time())`:                 "2",
		queryOf(t, "Accounts ready"): "1",
		queryOf(t, "Dead"):           "1",
		`sum(leader_election_master_status{name="pipedream-operator"})`:              "1",
		`sum(pipedream_token_requests_total{result="CredentialsRejected"}) > bool 0`: "1",
	})
	r.wantAlerts()
}

// wantValues checks the current value of each expression.
func (r *run) wantValues(want map[string]string) {
	r.Helper()
	for expression, value := range want {
		found, err := r.query(expression)
		if err != nil || len(found) != 1 || found[0].Value[1] != value {
			r.Errorf("%s is %v (%v), want %s", expression, found, err, value)
		}
	}
}

// wantAlerts checks that Prometheus evaluates all rules, and that two alerts are pending: one for a PipedreamToken and
// one for a PipedreamAccount.
func (r *run) wantAlerts() {
	r.Helper()
	var state struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	r.eventually("the alerts", func() string {
		harness.Must(r.T, r.ask("/api/v1/rules", nil, &state))
		var seen []string
		for _, group := range state.Groups {
			for _, rule := range group.Rules {
				if rule.Health != "ok" {
					return fmt.Sprintf("%+v", rule)
				}
				if rule.State != "inactive" {
					seen = append(seen, rule.Name+" "+rule.State)
				}
			}
		}
		if got, want := strings.Join(seen, ", "), "PipedreamCredentialsRejected pending, PipedreamAccountDead pending"; got != want {
			return got + ", want " + want
		}
		return ""
	})
}
