// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// demandLine is a log line about a demand.
type demandLine struct {
	Message  string  `json:"msg"`
	Project  string  `json:"projectID"`
	Secret   string  `json:"apiKeySecret"`
	Looks    float64 `json:"looksPerSecond"`
	Rate     float64 `json:"accountRequestsPerSecond"`
	Accounts int     `json:"pipedreamAccounts"`
}

// comparison has a DemandWatch compare, and reads what it logs.
type comparison struct {
	*testing.T
	watch *DemandWatch
}

// compare returns the lines that one comparison logs.
func (c comparison) compare() []demandLine {
	c.Helper()
	logged := &harness.Buffer{}
	c.watch.compare(log.IntoContext(c.Context(), zap.New(zap.WriteTo(logged))))
	var lines []demandLine
	for text := range strings.Lines(logged.String()) {
		var line demandLine
		must(c.T, json.Unmarshal([]byte(text), &line))
		lines = append(lines, line)
	}
	return lines
}

const (
	passes     = "the demand for looks at the accounts of %s passes 80 %% of the rate: raise --account-requests-per-second, or set longer values of spec.fetchIntervalSeconds"
	isLowAgain = "the demand for looks at the accounts of %s is below 80 %% of the rate again"
)

// TestHighDemandIsLoggedOnce has a fetched account whose demand is high at a low rate.
func TestHighDemandIsLoggedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fetched(func(a *v1alpha1.PipedreamAccount) { a.Spec.FetchIntervalSeconds = 30 })
	c := comparison{t, &DemandWatch{Cache: client.NewNamespacedClient(w.admin, w.namespace), PerSecond: 1}}
	want := func(step string, want ...demandLine) {
		t.Helper()
		got := c.compare()
		for i := range got {
			if got[i].Looks < 1/30.0 || got[i].Looks > 1/28.0 {
				t.Errorf("%s: the demand is %v looks a second, want one each 30 s", step, got[i].Looks)
			}
			got[i].Looks = 0
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, the lines in the log (-want +got):\n%s", step, diff)
		}
	}
	line := func(text string, rate float64) demandLine {
		return demandLine{Message: fmt.Sprintf(text, "a project"), Project: projectID, Rate: rate, Accounts: 1}
	}
	want("while the rate is far above the demand")
	c.watch.PerSecond = 0.04
	want("when the demand is more than 80 % of the rate", line(passes, 0.04))
	want("when it is still so")
	c.watch.PerSecond = 1
	want("when it is low again", line(isLowAgain, 1))

	c.watch.PerSecond = 0.04
	want("when it is high again", line(passes, 0.04))
	w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.Suspend = true })
	got := c.compare()
	if len(got) != 1 || got[0].Message != fmt.Sprintf(isLowAgain, "a project") || got[0].Looks != 0 || got[0].Accounts != 0 {
		t.Errorf("when no account asks for anything any longer, the log has %+v", got)
	}
	w.wantNoSecretSeen()
}

// TestHighDemandOfAllProjects has six projects, none of which has a high demand.
func TestHighDemandOfAllProjects(t *testing.T) {
	t.Parallel()
	var accounts []v1alpha1.PipedreamAccount
	for i := range 6 {
		for range 84 { // 84 looks in 30 s are 2.8 a second, which is 70 % of 4.
			accounts = append(accounts, accountWith(fmt.Sprint("proj_", i), 30, 0))
		}
	}
	cache := &cacheOf{accounts: accounts}
	c := comparison{t, &DemandWatch{Cache: cache, PerSecond: 4}}
	got := c.compare()
	if len(got) != 1 || got[0].Message != fmt.Sprintf(passes, "all projects together") || got[0].Project != "" || got[0].Rate != 16 || got[0].Accounts != 504 {
		t.Fatalf("the log has %+v", got)
	}
	cache.accounts = accounts[:84]
	if got := c.compare(); len(got) != 1 || got[0].Message != fmt.Sprintf(isLowAgain, "all projects together") {
		t.Errorf("the log has %+v", got)
	}
}

// TestHighDemandOfAnAPIKey has one key in two Secrets. The rate of a key is one a second, however high the one of a project is.
func TestHighDemandOfAnAPIKey(t *testing.T) {
	t.Parallel()
	var accounts []v1alpha1.PipedreamAccount
	for i := range 30 { // 30 looks in 30 s are one a second, and 15 are half of that.
		account := accountWith("", 30, 0)
		account.Namespace, account.Spec.APIKeyRef.Name = "shop", "api-key"
		if accounts = append(accounts, account); i%2 == 0 {
			account.Namespace = "quiet"
			accounts = append(accounts, account)
		}
	}
	c := comparison{t, &DemandWatch{Cache: &cacheOf{accounts: accounts}, PerSecond: 4}}
	want := demandLine{
		Message: "the demand for looks at the accounts of an API key passes 80 % of the rate: set longer values of spec.fetchIntervalSeconds, or use an OAuth client",
		Secret:  "shop/api-key", Looks: 1, Rate: 1, Accounts: 30,
	}
	got := c.compare()
	for i := range got {
		got[i].Looks = math.Round(got[i].Looks*1e6) / 1e6
	}
	if diff := cmp.Diff([]demandLine{want}, got); diff != "" {
		t.Errorf("the lines in the log (-want +got):\n%s", diff)
	}
}

// accountWith returns a PipedreamAccount with credentials that live for a time; 0 if they do not expire.
func accountWith(project string, interval int32, life time.Duration) v1alpha1.PipedreamAccount {
	fetched := metav1.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	account := v1alpha1.PipedreamAccount{Spec: v1alpha1.PipedreamAccountSpec{ProjectID: project, FetchIntervalSeconds: interval}}
	account.Status.FetchTime = &fetched
	if life > 0 {
		account.Status.ExpirationTime = timestamp(fetched.Add(life))
	}
	return account
}

func TestDemandIsTheSumOfAllLooks(t *testing.T) {
	t.Parallel()
	dying := accountWith("proj_a", 30, 0)
	dying.DeletionTimestamp, dying.Finalizers = dying.Status.FetchTime, []string{holder}
	suspended := accountWith("proj_a", 30, 0)
	suspended.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionFetched, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonSuspended}}
	got := demandOf([]v1alpha1.PipedreamAccount{
		{Spec: v1alpha1.PipedreamAccountSpec{ProjectID: "proj_c"}},
		accountWith("proj_a", 40, 0),
		accountWith("proj_a", 50, 0),
		accountWith("proj_b", 0, time.Hour),
		dying, suspended,
	})
	if len(got) != 2 || got["proj_a"].accounts != 2 || math.Abs(got["proj_a"].perSecond-1.0/40-1.0/50) > 1e-9 ||
		got["proj_b"].accounts != 1 || math.Abs(got["proj_b"].perSecond-1.0/3000) > 1e-9 {
		t.Errorf("the demand is %v, want 1/40+1/50 a second for proj_a, and 1/3000 for proj_b", got)
	}
}
