// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// logLine is a line of the log, with the fields that it has in production.
type logLine struct {
	Level   string            `json:"level"`
	Time    time.Time         `json:"ts"`
	Message string            `json:"msg"`
	Object  map[string]string `json:"PipedreamToken"`
	// Condition, Status and Reason are what has changed, and Text what it means.
	Condition string     `json:"condition"`
	Status    string     `json:"status"`
	Reason    string     `json:"reason"`
	Text      string     `json:"message"`
	Next      *time.Time `json:"next"`
}

// logOf parses a log. Each line must be JSON.
func logOf(t *testing.T, log string) []logLine {
	t.Helper()
	var lines []logLine
	for text := range strings.Lines(log) {
		line := logLine{}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("a line of the log is no JSON (%v): %s", err, text)
		}
		if line.Level != "info" || line.Time.IsZero() || line.Message == "" {
			t.Errorf("a line of the log has another level than info, no time or no message: %s", text)
		}
		lines = append(lines, line)
	}
	return lines
}

// says returns what is to be said of a change, with whether something comes next.
func (l *logLine) says() string {
	said := strings.Join(strings.Fields(l.Condition+" "+l.Status+" "+l.Reason), " ")
	if l.Condition == "" {
		said = l.Message + ": " + said
	}
	if l.Next == nil {
		said += ", nothing next"
	}
	return said
}

func (s *site) condition(name, kind string) metav1.Condition {
	s.Helper()
	if condition := meta.FindStatusCondition(s.token(name).Status.Conditions, kind); condition != nil {
		return *condition
	}
	return metav1.Condition{}
}

// TestLog runs a manager through all that happens to tokens, and reads what it has
// logged: a line for each change of state, and none for a routine renewal.
func TestLog(t *testing.T) {
	t.Parallel()
	const rotated = "the-rotated-client-secret"
	s := newSite(t)
	manager := startManager(t, s.arguments()...)
	s.register("revoked", goodSecret)
	s.create("revoked")
	change(s, s.token("revoked"), func(p *v1alpha1.PipedreamToken) { p.Spec.Verification.IntervalSeconds = 10 })
	s.awaitRight("revoked")
	harness.Must(t, s.pipedream.SetTokenLifetime(30*time.Second))
	for _, name := range []string{"calm", "rejected", "late"} {
		if name != "late" {
			s.register(name, goodSecret)
		}
		s.create(name)
	}
	s.awaitRight("calm")
	s.awaitRight("rejected")
	first := string(s.secrets("rejected")[0].Data["access_token"])
	harness.Must(t, s.pipedream.SetClient("rejected", rotated))
	s.eventually("the late one lacks its credentials", func() bool {
		return s.condition("late", v1alpha1.ConditionRenewed).Reason == v1alpha1.ReasonCredentialsMissing
	})
	s.eventually("a verification", func() bool {
		return s.condition("revoked", v1alpha1.ConditionVerified).Reason == v1alpha1.ReasonTokenAccepted
	})
	s.pipedream.RevokeClient("revoked")
	s.eventually("the revoked token is replaced", func() bool { return s.exchanges("revoked") == 2 })
	s.awaitRight("revoked")
	s.eventually("the other token expires", func() bool {
		return s.condition("rejected", v1alpha1.ConditionReady).Reason == v1alpha1.ReasonTokenExpired
	})
	change(s, s.credentials("rejected"), func(c *corev1.Secret) { c.Data["client_secret"] = []byte(rotated) })
	s.awaitRight("rejected")
	s.eventually("two routine renewals", func() bool { return s.exchanges("calm") == 3 })
	s.awaitRight("calm")
	harness.Must(t, manager.Signal(syscall.SIGTERM))
	if code, line := manager.exit(t); code != 0 {
		t.Fatalf("the manager ended with %d: %s", code, line)
	}

	said, others := map[string][]string{}, []string(nil)
	for _, line := range logOf(t, manager.Log.String()) {
		if line.Object == nil {
			others = append(others, line.Message)
			continue
		}
		if line.Object["namespace"] != s.namespace || line.Condition != "" && line.Text == "" {
			t.Errorf("a line does not say what has happened to which object: %+v", line)
		}
		said[line.Object["name"]] = append(said[line.Object["name"]], line.says())
	}
	if diff := cmp.Diff(map[string][]string{
		"calm": {"Renewed True Issued"},
		"late": {"Renewed False CredentialsMissing, nothing next"},
		"rejected": {
			"Renewed True Issued",
			"Renewed False CredentialsRejected",
			"Ready False TokenExpired",
			"Renewed True Issued",
		},
		"revoked": {
			"Renewed True Issued",
			"Verified True TokenAccepted",
			"token issued out of turn: Revoked",
		},
	}, said); diff != "" {
		t.Errorf("what is logged of the objects (-want +got):\n%s", diff)
	}
	// The libraries' lines at the start and the end, each with a name or without.
	slices.Sort(others)
	if got := len(others); got < 5 || got > 30 {
		t.Errorf("there are %d lines about something else: %q", got, others)
	}
	for _, secret := range []string{goodSecret, rotated, first, "eyJ", apiWarning} {
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if strings.Contains(manager.Log.String(), form) {
				t.Errorf("the log holds a secret as %.8s…", form)
			}
		}
	}
	t.Logf("the other lines: %q", others)
}
