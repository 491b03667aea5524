// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
)

const (
	// demandInterval is how often the demand is compared with the rate.
	demandInterval = 5 * time.Minute
	// highDemand is the part of the rate from which on there is little room for what
	// comes on top of routine renewals.
	highDemand = 0.8
)

// DemandWatch logs when the routine renewals of all PipedreamTokens take so much of
// the rate of token requests that little is left for anything else.
type DemandWatch struct {
	// Cache is where PipedreamTokens are observed.
	Cache client.Reader
	// PerSecond is the rate that the demand is compared with.
	PerSecond float64

	isHigh bool
}

var _ manager.Runnable = (*DemandWatch)(nil)

// Start compares until ctx ends.
func (d *DemandWatch) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, d.compare, demandInterval)
	return nil
}

// compare logs once when the demand becomes high, and once when it is no more.
func (d *DemandWatch) compare(ctx context.Context) {
	tokens := &v1alpha1.PipedreamTokenList{}
	if err := d.Cache.List(ctx, tokens, client.UnsafeDisableDeepCopy); err != nil {
		return // The cache is stopping.
	}
	demand := demandOf(tokens.Items)
	isHigh := demand > highDemand*d.PerSecond
	if isHigh == d.isHigh {
		return
	}
	d.isHigh = isHigh
	message := "the demand for tokens is below 80 % of the rate again"
	if isHigh {
		message = "the demand for tokens passes 80 % of the rate: raise --token-requests-per-second, or divide the namespaces among several operators by --namespaces"
	}
	log.FromContext(ctx).Info(message, "renewalsPerSecond", demand, "tokenRequestsPerSecond", d.PerSecond, "pipedreamTokens", len(tokens.Items))
}

// demandOf returns how many renewals a second the current tokens ask for.
func demandOf(tokens []v1alpha1.PipedreamToken) (perSecond float64) {
	for i := range tokens {
		status := &tokens[i].Status
		if status.IssueTime == nil || status.RenewalTime == nil || ownedsecret.IsTerminating(&tokens[i]) {
			continue // A PipedreamToken that is being deleted asks for nothing.
		}
		if interval := status.RenewalTime.Sub(status.IssueTime.Time); interval > 0 {
			perSecond += 1 / interval.Seconds()
		}
	}
	return perSecond
}
