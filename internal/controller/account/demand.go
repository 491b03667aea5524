// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/refresh"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

const (
	// demandInterval is how often the demand is compared with the rates.
	demandInterval = 5 * time.Minute
	// highDemand is the part of a rate from which on there is little room for anything but routine looks.
	highDemand = 0.8
)

// DemandWatch logs when the routine looks at the accounts of a project take so much of the project's rate
// that little is left for anything else, and the same of an API key, and of all projects and keys together.
type DemandWatch struct {
	// Cache is where PipedreamAccounts are observed.
	Cache client.Reader
	// PerSecond is the rate of one project.
	PerSecond float64

	// isHigh has the projects whose demand is high, and the Secrets with API keys as namespace/name; "" stands for
	// all projects and keys together.
	isHigh map[string]bool
}

var _ manager.Runnable = (*DemandWatch)(nil)

// Start compares until ctx ends.
func (d *DemandWatch) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, d.compare, demandInterval)
	return nil
}

// demand is what the routine looks at the accounts of a project ask for.
type demand struct {
	perSecond float64
	// accounts is the number of PipedreamAccounts.
	accounts int
}

// compare logs once when a demand becomes high, and once when it is no longer high.
func (d *DemandWatch) compare(ctx context.Context) {
	accounts := &v1alpha1.PipedreamAccountList{}
	if err := d.Cache.List(ctx, accounts, client.UnsafeDisableDeepCopy); err != nil {
		return // The cache is stopping.
	}
	of := demandOf(accounts.Items)
	var all demand
	for _, one := range of {
		all.perSecond, all.accounts = all.perSecond+one.perSecond, all.accounts+one.accounts
	}
	of[""] = all
	for project := range d.isHigh {
		if _, hasAccounts := of[project]; !hasAccounts {
			of[project] = demand{}
		}
	}
	isHigh := map[string]bool{}
	for _, project := range slices.Sorted(maps.Keys(of)) {
		rate := d.PerSecond
		switch {
		case project == "":
			rate *= throttle.AllProjects
		case isOfKey(project):
			rate = min(rate, throttle.KeyPerSecond)
		}
		if of[project].perSecond > highDemand*rate {
			isHigh[project] = true
		}
		if isHigh[project] != d.isHigh[project] {
			logDemand(ctx, project, of[project], rate, isHigh[project])
		}
	}
	d.isHigh = isHigh
}

// isOfKey reports whether a demand is the one of an API key. Only the name of its Secret has a slash.
func isOfKey(project string) bool { return strings.Contains(project, "/") }

// logDemand logs a change of the demand of a project or of an API key; "" stands for all together.
func logDemand(ctx context.Context, project string, is demand, rate float64, isHigh bool) {
	of := "of a project"
	logger := log.FromContext(ctx).WithValues("looksPerSecond", is.perSecond, "accountRequestsPerSecond", rate, "pipedreamAccounts", is.accounts)
	remedy := "raise --account-requests-per-second, or set longer values of spec.fetchIntervalSeconds"
	switch {
	case project == "":
		of = "of all projects together"
	case isOfKey(project):
		of, remedy = "of an API key", "set longer values of spec.fetchIntervalSeconds, or use an OAuth client"
		logger = logger.WithValues("apiKeySecret", project)
	default:
		logger = logger.WithValues("projectID", project)
	}
	if isHigh {
		logger.Info("the demand for looks at the accounts " + of + " passes 80 % of the rate: " + remedy)
		return
	}
	logger.Info("the demand for looks at the accounts " + of + " is below 80 % of the rate again")
}

// demandOf returns how many routine looks a second the credentials in the Secrets ask for, by project; of an API key, by the
// namespace and the name of its Secret.
func demandOf(accounts []v1alpha1.PipedreamAccount) map[string]demand {
	of := map[string]demand{}
	for i := range accounts {
		status := &accounts[i].Status
		if status.FetchTime == nil || isAtRest(&accounts[i]) {
			continue
		}
		record := recordShown(accounts[i].Status)
		project := accounts[i].Spec.ProjectID
		if accounts[i].UsesAPIKey() {
			project = accounts[i].Namespace + "/" + accounts[i].CredentialsSecretName()
		}
		is := of[project]
		interval := time.Duration(accounts[i].Spec.FetchIntervalSeconds) * time.Second
		policy := refresh.Policy(accounts[i].TargetFetchPolicy())
		is.perSecond += refresh.LooksPerSecond(refresh.Desired{Policy: policy, Interval: interval}, record)
		is.accounts++
		of[project] = is
	}
	return of
}
