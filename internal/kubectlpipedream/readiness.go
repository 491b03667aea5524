// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// clockTolerance is the difference between this machine's clock and the operator's clock that the plugin
// tolerates before it treats a status as outdated.
const clockTolerance = 30 * time.Second

// outdatedMessage replaces the condition's message if the status says Ready and the token has expired.
const outdatedMessage = "The status says that the token is good, and by this machine's clock it has expired: " +
	"the operator does not run, or one of the clocks is wrong. `kubectl pipedream doctor` looks for both."

// condition returns a condition of a PipedreamToken. If the condition is missing, it returns a condition with
// the status Unknown and no reason.
func condition(token *v1alpha1.PipedreamToken, kind string) metav1.Condition {
	if found := meta.FindStatusCondition(token.Status.Conditions, kind); found != nil {
		return *found
	}
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown}
}

// readiness returns the status of the condition Ready. It is Unknown if the status says Ready and the token
// has expired: then no operator updates the status.
func readiness(token *v1alpha1.PipedreamToken, now time.Time) metav1.ConditionStatus {
	ready := condition(token, v1alpha1.ConditionReady)
	if ready.Status == metav1.ConditionTrue && isOutdated(token, now) {
		return metav1.ConditionUnknown
	}
	return ready.Status
}

func isOutdated(token *v1alpha1.PipedreamToken, now time.Time) bool {
	expires := token.Status.ExpirationTime
	return expires != nil && expires.Add(clockTolerance).Before(now)
}

// explanation returns the most important message. The message of Renewed also explains why Ready is False.
// explanation returns the message of Verified if Renewed is True and Verified is not. It returns
// outdatedMessage if the status is outdated.
func explanation(token *v1alpha1.PipedreamToken, now time.Time) string {
	renewed, verified := condition(token, v1alpha1.ConditionRenewed), condition(token, v1alpha1.ConditionVerified)
	switch {
	case condition(token, v1alpha1.ConditionReady).Status == metav1.ConditionTrue && isOutdated(token, now):
		return outdatedMessage
	case renewed.Status != metav1.ConditionTrue:
		return renewed.Message
	case verified.Reason != "" && verified.Status != metav1.ConditionTrue:
		return verified.Message
	}
	return renewed.Message
}
