// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// maxNamed is the maximum number of PipedreamTokens that the report names.
const maxNamed = 5

// tokenCheck looks for PipedreamTokens that are not Ready, or whose last renewal has failed.
type tokenCheck struct {
	plugin  *plugin
	cluster *cluster
	// picked is nil when the user may not list PipedreamTokens.
	picked *selection
	now    func() time.Time
}

func (c *tokenCheck) run(ctx context.Context) []finding {
	if c.picked == nil {
		return nil
	}
	found, _, err := c.cluster.list(ctx, *c.picked)
	if err != nil {
		return []finding{unknown("", "%s", c.plugin.explain(err))}
	}
	sortByExpiry(found)
	var bad []finding
	for _, one := range found {
		if finding := c.evaluate(one); finding.state != stateOK {
			bad = append(bad, finding)
		}
	}
	summary := ok("%d of %d in %s are Ready, and renewed when they are due", len(found)-len(bad), len(found), nameOf(c.picked.namespace))
	if len(bad) == 0 {
		return []finding{summary}
	}
	// PipedreamTokens that have failed come before PipedreamTokens with a warning.
	slices.SortStableFunc(bad, func(a, b finding) int { return strings.Compare(string(a.state), string(b.state)) })
	summary.state = bad[0].state
	if more := len(bad) - maxNamed; more > 0 {
		rest := finding{state: bad[maxNamed].state, what: fmt.Sprintf("and %d more", more), advice: "`kubectl pipedream status` shows all"}
		bad = append(bad[:maxNamed], rest)
	}
	return append([]finding{summary}, bad...)
}

// suspendedState says what the token of a suspended PipedreamToken is worth.
func suspendedState(one entry, now time.Time) string {
	if one.readiness(now) == metav1.ConditionTrue && one.token.Status.ExpirationTime != nil {
		return "its token expires " + moment(one.token.Status.ExpirationTime, now) + ", and is not renewed"
	}
	return "its Secret holds no token that works, and the operator asks for none"
}

// evaluate returns the finding about one PipedreamToken. The report does not show a finding that is ok.
func (c *tokenCheck) evaluate(one entry) finding {
	advice := "kubectl pipedream inspect " + one.token.Name + " --namespace " + one.token.Namespace
	renewed := condition(one.token, v1alpha1.ConditionRenewed)
	if renewed.Reason == v1alpha1.ReasonSuspended && one.readiness(c.now()) != metav1.ConditionUnknown {
		return warning("kubectl patch pipedreamtoken "+one.token.Name+" --namespace "+one.token.Namespace+
			" --type=merge --patch='{\"spec\":{\"suspend\":false}}'", "%s is suspended: %s", one.key(), suspendedState(one, c.now()))
	}
	switch one.readiness(c.now()) {
	case metav1.ConditionFalse:
		return failed(advice, "%s is not Ready: %s", one.key(), renewed.Reason)
	case metav1.ConditionUnknown:
		if !isOutdated(one.token, c.now()) {
			return warning(advice, "the operator has not said yet whether %s is Ready", one.key())
		}
		return failed(advice, "%s is not known to be Ready: no operator updates its status, which says that it expired %s", one.key(), moment(one.token.Status.ExpirationTime, c.now()))
	case metav1.ConditionTrue:
	}
	if renewed.Status == metav1.ConditionFalse {
		return warning(advice, "%s is Ready, and the last attempt to renew it has failed: %s", one.key(), renewed.Reason)
	}
	return ok("")
}
