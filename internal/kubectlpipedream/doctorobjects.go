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

// maxNamed is the maximum number of objects of a kind that the report names.
const maxNamed = 5

// objectsCheck looks for objects of one kind that are not Ready, whose last attempt has failed, or that Pipedream
// says something bad about.
type objectsCheck struct {
	plugin  *plugin
	cluster *cluster
	// picked is nil when the user may not list the kind.
	picked *selection
	now    func() time.Time
}

func (c *objectsCheck) run(ctx context.Context) []finding {
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
	summary := ok("%d of %d in %s are Ready, and %s when they are due", len(found)-len(bad), len(found), nameOf(c.picked.namespace), c.picked.kind.words.attempted)
	if len(bad) == 0 {
		return []finding{summary}
	}
	// Objects that have failed come before objects with a warning.
	slices.SortStableFunc(bad, func(a, b finding) int { return strings.Compare(string(a.state), string(b.state)) })
	summary.state = bad[0].state
	if more := len(bad) - maxNamed; more > 0 {
		rest := finding{state: bad[maxNamed].state, what: fmt.Sprintf("and %d more", more), advice: "`kubectl pipedream status` shows all"}
		bad = append(bad[:maxNamed], rest)
	}
	return append([]finding{summary}, bad...)
}

// evaluate returns the finding about one object. The report does not show a finding that is ok.
func (c *objectsCheck) evaluate(one entry) finding {
	now, words := c.now(), one.kind.words
	advice := "kubectl pipedream inspect " + one.argument() + " --namespace " + one.GetNamespace()
	attempt, readiness := one.lastAttempt(), one.readiness(now)
	switch {
	case attempt.Reason == v1alpha1.ReasonSuspended && readiness != metav1.ConditionUnknown:
		return warning(resumption(one), "%s is suspended: %s", one.key(), suspendedState(one, now))
	case readiness == metav1.ConditionFalse:
		return failed(advice, "%s is not Ready: %s", one.key(), one.mostImportant().Reason)
	case one.isOutdated(now):
		return failed(advice, "%s is not known to be Ready: no operator updates its status, which says that it expired %s", one.key(), moment(one.facts().expirationTime, now))
	case readiness == metav1.ConditionUnknown:
		return warning(advice, "the operator has not said yet whether %s is Ready", one.key())
	case attempt.Status == metav1.ConditionFalse:
		return warning(advice, "%s is Ready, and the last %s has failed: %s", one.key(), words.attempt, attempt.Reason)
	case one.health().Status == metav1.ConditionFalse:
		return warning(advice, "%s is Ready, and its %s may not work: %s", one.key(), words.content, one.health().Reason)
	}
	return ok("")
}

// resumption is the command that ends the suspension of an object.
func resumption(e entry) string {
	return fmt.Sprintf(`kubectl patch %s %s --namespace %s --type=merge --patch='{"spec":{"suspend":false}}'`,
		strings.ToLower(e.kind.name), e.GetName(), e.GetNamespace())
}

// suspendedState says what the Secret of a suspended object holds.
func suspendedState(e entry, now time.Time) string {
	words := e.kind.words
	switch {
	case e.readiness(now) != metav1.ConditionTrue:
		return fmt.Sprintf("its Secret holds no %s that %s, and the operator asks for none", words.content, words.work)
	case e.neverExpires():
		return fmt.Sprintf("its %s %s not expire, and %s not %s", words.content, words.do, words.is, words.attempted)
	}
	return fmt.Sprintf("its %s %s %s, and %s not %s", words.content, words.expire, moment(e.facts().expirationTime, now), words.is, words.attempted)
}
