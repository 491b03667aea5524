// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestHighDemandIsLoggedOnce(t *testing.T) {
	w := newWorld(t)
	w.issued() // It asks for a renewal in about 2,300 s.
	watch := &DemandWatch{Cache: client.NewNamespacedClient(w.admin, w.namespace), PerSecond: 1}
	logged := &harness.Buffer{}
	ctx := log.IntoContext(t.Context(), zap.New(zap.WriteTo(logged)))
	want := func(step string, lines int) {
		t.Helper()
		watch.compare(ctx)
		if got := strings.Count(logged.String(), "\n"); got != lines {
			t.Errorf("%s: %d lines are logged, want %d:\n%s", step, got, lines, logged.String())
		}
	}
	want("while the rate is far above the demand", 0)
	watch.PerSecond = 0.0005
	want("when the demand is 87 % of the rate", 1)
	want("when it is so still", 1)
	if got := logged.String(); !strings.Contains(got, "passes 80 %") || !strings.Contains(got, "--token-requests-per-second") {
		t.Errorf("the line does not say what to do: %s", got)
	}
	watch.PerSecond = 1
	want("when it is low again", 2)
}

func TestDemandIsTheSumOfAllRenewals(t *testing.T) {
	t.Parallel()
	at := func(after time.Duration) *metav1.Time {
		return new(metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(after)))
	}
	tokens := []v1alpha1.PipedreamToken{
		{},
		{Status: v1alpha1.PipedreamTokenStatus{IssueTime: at(0), RenewalTime: at(10 * time.Second)}},
		{Status: v1alpha1.PipedreamTokenStatus{IssueTime: at(0), RenewalTime: at(40 * time.Second)}},
		{Status: v1alpha1.PipedreamTokenStatus{IssueTime: at(0), RenewalTime: at(0)}},
		{
			ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: at(0), Finalizers: []string{"example.com/kept"}},
			Status:     v1alpha1.PipedreamTokenStatus{IssueTime: at(0), RenewalTime: at(10 * time.Second)},
		},
	}
	if got, want := demandOf(tokens), 0.125; got != want {
		t.Errorf("the demand is %v a second, want %v", got, want)
	}
}
