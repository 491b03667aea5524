// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	reasons "github.com/pipedream-operator/pipedream-operator/internal/reason/token"
)

// maxOvertaken is how often in a row a write may fail because another writer was faster, until that is
// a failure.
const maxOvertaken = 3

// newFailure returns a failure that has happened now, for a reason of condition Renewed.
func newFailure(s snapshot, because, detail string, now time.Time) *attempt.Failure {
	return attempt.New(reasons.Rows.Of(because), detail, inputsNow(s), now)
}

// inputsNow returns what an attempt would be made with now.
func inputsNow(s snapshot) attempt.Inputs {
	return attempt.Inputs{
		Generation:         s.token.Generation,
		CredentialsVersion: s.credentialsVersion(),
		RenewRequest:       s.desired.RenewRequest,
	}
}

// hasSameInputs reports whether another attempt would be made with the same inputs as the failed
// one, so that it has to wait.
func hasSameInputs(failed *attempt.Failure, s snapshot) bool {
	return failed.HasSameInputs(inputsNow(s), s.targetVersion())
}

// reasonOf returns the reason of condition Renewed for a failed token request.
func reasonOf(kind pipedream.Kind) string {
	if row, ok := reasons.Rows.OfKind(kind); ok {
		return row.Reason
	}
	return v1alpha1.ReasonEndpointUnavailable
}

// digestOf returns a digest that tells credentials apart. Its key is the UID of the object,
// because the digest stays in this process.
func digestOf(uid types.UID, credentials pipedream.Credentials) string {
	return ownedsecret.KeyedDigest(string(uid), credentials.ClientID, credentials.ClientSecret.Reveal())
}
