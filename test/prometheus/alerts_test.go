// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package prometheus_test checks the alerts and the dashboard of config/prometheus against the metrics of the
// operator. With the build tag prometheus, it also checks them with the real Prometheus.
package prometheus_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// rule is an alerting rule.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// rules holds the alerting rules, in the format of Prometheus's rule files.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

// ruleFile returns the content of the PrometheusRule as a rule file of Prometheus.
func ruleFile(t *testing.T) []byte {
	t.Helper()
	var object struct {
		Spec map[string]any `json:"spec"`
	}
	harness.Must(t, yaml.Unmarshal(harness.MustRead(t, "config", "prometheus", "rule.yaml"), &object))
	content, err := yaml.Marshal(object.Spec)
	harness.Must(t, err)
	return content
}

// alerts returns all alerting rules.
func alerts(t *testing.T) []rule {
	t.Helper()
	var parsed rules
	harness.Must(t, yaml.Unmarshal(ruleFile(t), &parsed))
	if len(parsed.Groups) != 1 || len(parsed.Groups[0].Rules) < 13 {
		t.Fatalf("there are fewer than 13 alerts: %+v", parsed)
	}
	return parsed.Groups[0].Rules
}

// query is a query of a panel of the dashboard.
type query struct {
	// title is the title of the panel.
	title, Expr string
	Instant     bool
}

// queries returns all queries of the dashboard, with their variables replaced.
func queries(t *testing.T) []query {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []query
		}
	}
	harness.Must(t, json.Unmarshal(harness.MustRead(t, "config", "prometheus", "dashboard.json"), &dashboard))
	var all []query
	for _, panel := range dashboard.Panels {
		for _, q := range panel.Targets {
			q.title = panel.Title
			q.Expr = strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*").Replace(q.Expr)
			if strings.Contains(q.Expr, "$") {
				t.Errorf("panel %q has an unknown variable: %s", panel.Title, q.Expr)
			}
			all = append(all, q)
		}
	}
	if len(all) < 38 {
		t.Fatalf("the dashboard has only %d queries", len(all))
	}
	return all
}

// metricName matches the name of a metric in an expression. The operator's libraries have the other prefixes.
var metricName = regexp.MustCompile(`\b(pipedream|controller_runtime|leader_election|rest_client|process|workqueue|go)_[a-z_]+`)

// used returns the metrics in the alerts and the dashboard, each with an alert or a panel that uses it.
func used(t *testing.T) map[string]string {
	t.Helper()
	where := map[string]string{}
	for _, alert := range alerts(t) {
		for _, name := range metricName.FindAllString(alert.Expr, -1) {
			where[name] = alert.Alert
		}
	}
	for _, q := range queries(t) {
		names := metricName.FindAllString(q.Expr, -1)
		if len(names) == 0 {
			t.Errorf("panel %q uses no metric: %s", q.title, q.Expr)
		}
		for _, name := range names {
			where[name] = "panel " + q.title
		}
	}
	return where
}

func TestAlertsAndDashboardUseExistingMetrics(t *testing.T) {
	var golden string
	for _, path := range [][]string{
		{"internal", "controller", "token", "testdata", "metrics.txt"},
		{"internal", "controller", "account", "testdata", "metrics.txt"},
		{"internal", "controller", "namespaces", "testdata", "metrics.txt"},
		{"cmd", "manager", "testdata", "files.txt"},
	} {
		golden += string(harness.MustRead(t, path...))
	}
	operatorMetrics := 0
	for name, where := range used(t) {
		if !strings.HasPrefix(name, "pipedream_") {
			continue // The test with the real Prometheus checks it.
		}
		operatorMetrics++
		if !strings.Contains(golden, "\n"+name+"{") && !strings.Contains(golden, "\n"+name+" ") {
			t.Errorf("%s uses the unknown metric %s", where, name)
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(golden, -1) {
		if !strings.Contains(string(harness.MustRead(t, "docs", "metrics.md")), "\n| `"+line[1]+"`") {
			t.Errorf("docs/metrics.md has no row for %s", line[1])
		}
	}
	if operatorMetrics < 18 {
		t.Errorf("only %d metrics of the operator are used", operatorMetrics)
	}
}

func TestEachAlertIsTestedAndExplained(t *testing.T) {
	const page = "https://github.com/pipedream-operator/pipedream-operator/blob/main/docs/troubleshooting.md#"
	explained, tested, listed := string(harness.MustRead(t, "docs", "troubleshooting.md")), string(harness.MustRead(t, "test", "prometheus", "testdata", "alerts_test.yaml")), string(harness.MustRead(t, "docs", "metrics.md"))
	for _, alert := range alerts(t) {
		if got, want := alert.Annotations["runbook_url"], page+strings.ToLower(alert.Alert); got != want {
			t.Errorf("the runbook of %s is %s, want %s", alert.Alert, got, want)
		}
		if !strings.Contains(explained, "\n### "+alert.Alert+"\n") {
			t.Errorf("docs/troubleshooting.md has no section %s", alert.Alert)
		}
		if alert.Annotations["summary"] == "" || alert.Annotations["description"] == "" || alert.Labels["severity"] == "" {
			t.Errorf("%s has no summary, description or severity", alert.Alert)
		}
		// One test checks which alerts fire, and another one the text of the alert.
		for _, want := range []string{"\n  - alertname: " + alert.Alert + "\n", `alertname="` + alert.Alert + `",alertstate="firing"`} {
			if !strings.Contains(tested, want) {
				t.Errorf("alerts_test.yaml has no %q", want)
			}
		}
		if !strings.Contains(listed, "| ["+alert.Alert+"](troubleshooting.md#"+strings.ToLower(alert.Alert)+") |") {
			t.Errorf("docs/metrics.md does not list %s", alert.Alert)
		}
	}
}
