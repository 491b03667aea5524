// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"slices"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// unblock remembers that nothing makes an attempt impossible, if the action shows it.
func (a *attemptState) unblock(action renewal.Action) {
	if !slices.Contains([]renewal.Action{renewal.Blocked, renewal.Read, renewal.Verify, renewal.Rewrite}, action) {
		a.blocker = nil
	}
}

// setBlocker remembers what makes an attempt impossible, until the watch reports a change of a
// Secret. How the last attempt failed stays.
func (st *state) setBlocker(s snapshot, why renewal.Why) {
	reason, detail := explainBlocker(s, st.check, why)
	before := st.attempt.blocker
	blocker := newFailure(s, reason, detail, s.now).After(st.attempt.activeFailure())
	if at := deletionOf(s).began(); why == renewal.BeingDeleted && !at.After(s.now) { // The API server's clock may be ahead.
		blocker.Since = at
	}
	if before.IsStill(blocker) && isAboutSameObjects(before, s, why) {
		blocker.RefusedOver = before.RefusedOver
		blocker.IsRestored, blocker.WasReady = true, before.WasReady
	}
	st.attempt.blocker = blocker
}

// isAboutSameObjects reports whether a blocker that is known from the status names what is there now:
// whose a Secret is may have changed with the Secret, and so may the finalizers that hold an object.
func isAboutSameObjects(before *attempt.Failure, s snapshot, why renewal.Why) bool {
	if why == renewal.NotOwned {
		return before.RefusedOver == s.targetVersion()
	}
	return why != renewal.BeingDeleted || before.RefusedOver == deletionOf(s).describe()
}

// explainBlocker returns the reason of condition Renewed, and which object or field it is about.
func explainBlocker(s snapshot, known checkState, why renewal.Why) (reason, detail string) {
	switch {
	case why == renewal.BeingDeleted:
		return v1alpha1.ReasonSecretTerminating, deletionOf(s).describe()
	case why == renewal.NotOwned:
		detail = ownedsecret.DescribeOwner(s.target, s.token)
		if ownedsecret.IsTerminating(s.target) {
			detail += "; " + ownedsecret.DescribeDeletion("Secret", s.target)
		}
		return v1alpha1.ReasonSecretNotOwned, detail
	case why == renewal.BadTemplate:
		return v1alpha1.ReasonTemplateInvalid, known.templateError(s.token.Generation).Error()
	case why == renewal.OtherType:
		return v1alpha1.ReasonSecretWriteRefused, "it exists already, and is of another type than `spec.secret.type`"
	case s.credentialsSecret == nil:
		return v1alpha1.ReasonCredentialsMissing, "Secret `" + s.token.Spec.ClientSecretRef.Name + "` (`spec.clientSecretRef.name`) does not exist"
	case known.unusable.detail != "":
		return known.unusable.reason, known.unusable.detail
	}
	return known.unusable.reason, "Secret `" + s.token.Spec.ClientSecretRef.Name + "` holds no usable client credentials"
}
