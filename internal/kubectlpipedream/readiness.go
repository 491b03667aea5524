// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// clockTolerance is how much this machine's clock may differ from the operator's
// before a status is called outdated.
const clockTolerance = 30 * time.Second

// Shown in place of a message when the status can't be true any more.
const outdatedMessage = "The status says that the token is good, and by this machine's clock it has expired: " +
	"the operator does not run, or one of the clocks is wrong. `kubectl pipedream doctor` looks for both."

// condition returns a condition of a PipedreamToken. When there is none, it is one
// without a reason.
func condition(token *v1alpha1.PipedreamToken, kind string) metav1.Condition {
	if found := meta.FindStatusCondition(token.Status.Conditions, kind); found != nil {
		return *found
	}
	return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown}
}

// readiness returns whether the token works, as the status says. It is Unknown if the status can't
// be true any longer, because no operator updates it.
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

// explanation returns the message that matters most: that of Renewed, which also
// tells why Ready is False, unless all is well there and not with the verification.
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
