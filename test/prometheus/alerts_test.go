// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package prometheus_test holds the alerts and the dashboard of config/prometheus to
// the metrics that there are, and, with the build tag prometheus, to the real Prometheus.
package prometheus_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// rule is an alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// rules are the alerts, as Prometheus reads them from a file.
type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

// ruleFile returns the PrometheusRule as a file for Prometheus itself.
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

// alerts returns all alerts.
func alerts(t *testing.T) []rule {
	t.Helper()
	var parsed rules
	harness.Must(t, yaml.Unmarshal(ruleFile(t), &parsed))
	if len(parsed.Groups) != 1 || len(parsed.Groups[0].Rules) < 6 {
		t.Fatalf("there are no six alerts: %+v", parsed)
	}
	return parsed.Groups[0].Rules
}

// query is what a panel of the dashboard asks for.
type query struct {
	// title is the panel's.
	title, Expr string
	Instant     bool
}

// queries returns what the dashboard asks for, with its variables replaced.
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
		for _, asked := range panel.Targets {
			asked.title = panel.Title
			asked.Expr = strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*").Replace(asked.Expr)
			if strings.Contains(asked.Expr, "$") {
				t.Errorf("panel %q has a variable that nobody sets: %s", panel.Title, asked.Expr)
			}
			all = append(all, asked)
		}
	}
	if len(all) < 20 {
		t.Fatalf("the dashboard asks for %d things only", len(all))
	}
	return all
}

// metricName is a metric in an expression. Those of libraries have these prefixes, too.
var metricName = regexp.MustCompile(`\b(pipedream|controller_runtime|leader_election|rest_client|process|workqueue|go)_[a-z_]+`)

// used returns the metrics that alerts and dashboard name, and where.
func used(t *testing.T) map[string]string {
	t.Helper()
	where := map[string]string{}
	for _, alert := range alerts(t) {
		for _, name := range metricName.FindAllString(alert.Expr, -1) {
			where[name] = alert.Alert
		}
	}
	for _, asked := range queries(t) {
		names := metricName.FindAllString(asked.Expr, -1)
		if len(names) == 0 {
			t.Errorf("panel %q asks for no metric: %s", asked.title, asked.Expr)
		}
		for _, name := range names {
			where[name] = "panel " + asked.title
		}
	}
	return where
}

func TestAlertsAndDashboardNameMetricsThatThereAre(t *testing.T) {
	golden := string(harness.MustRead(t, "internal", "controller", "token", "testdata", "metrics.txt")) + string(harness.MustRead(t, "internal", "controller", "namespaces", "testdata", "metrics.txt")) +
		string(harness.MustRead(t, "cmd", "manager", "testdata", "files.txt"))
	ours := 0
	for name, where := range used(t) {
		if !strings.HasPrefix(name, "pipedream_") {
			continue // The real run tells.
		}
		ours++
		if !strings.Contains(golden, "\n"+name+"{") && !strings.Contains(golden, "\n"+name+" ") {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(golden, -1) {
		if !strings.Contains(string(harness.MustRead(t, "docs", "metrics.md")), "\n| `"+line[1]+"`") {
			t.Errorf("docs/metrics.md has no row for %s", line[1])
		}
	}
	if ours < 9 {
		t.Errorf("only %d metrics of ours are used", ours)
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
		// Once as what fires among all that does, and once with its text.
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
