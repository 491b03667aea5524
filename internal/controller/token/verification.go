// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

const (
	// firstRetry and lastRetry are when a token that has replaced a refused one is verified again if
	// Pipedream refuses it, too, counted from the first refusal: Pipedream may not know the token
	// yet. The operator believes only the last of these answers.
	firstRetry = 10 * time.Second
	lastRetry  = time.Minute
)

// apply remembers the API's answer to the current token.
func (v *verificationState) apply(s snapshot, o verdict) {
	current, generation := s.currentInputs(), s.token.Generation
	v.isRestored = false
	v.last = s.now.Round(0) // By the wall clock, as the times that it is compared with.
	v.triedFor = generation
	if o.is == pipedream.Inconclusive && v.verdict == pipedream.Refused && v.inputs == current {
		v.refusals++ // It is refused until it is accepted.
		v.at = v.last.Add(renewal.RefusedRetry(v.refusals))
		return
	}
	v.countRefusals(o.is, current)
	v.verdict, v.inputs, v.detail, v.at = o.is, current, "", time.Time{}
	if v.suspendedFor != generation {
		v.suspendedFor = 0
	}
	switch {
	case o.is == pipedream.Accepted:
		v.acceptedFor, v.suspendedFor, v.replacement = generation, 0, ""
	case o.is == pipedream.Refused:
		v.applyRefusal(generation)
	case o.err != nil:
		v.detail = "Pipedream's answer says nothing about the token (" + o.err.Error() + ")."
	}
}

// countRefusals counts the 401 answers in a row to the token with these inputs.
func (v *verificationState) countRefusals(is pipedream.Verdict, inputs string) {
	switch {
	case is != pipedream.Refused:
		v.refusals = 0
	case v.refusals == 0 || v.inputs != inputs || v.refusedSince.After(v.last):
		v.refusals, v.refusedSince = 1, v.last
	default:
		v.refusals++
	}
}

// applyRefusal concludes what a 401 answer means, in this order:
//
//  1. Verification is suspended already: the answer says nothing.
//  2. The token has replaced a refused one, and was refused for less than a minute: wait.
//  3. The API has accepted a token of this generation, or no refused token was replaced yet: the token
//     is revoked, and is replaced.
//  4. Otherwise the API refuses every token: verification is suspended.
func (v *verificationState) applyRefusal(generation int64) {
	isReplacement := v.replacement != "" && v.replacement == v.inputs
	switch {
	case v.suspendedFor == generation:
		v.verdict = pipedream.Inconclusive
	case isReplacement && v.last.Before(v.refusedSince.Add(lastRetry)):
		v.verdict, v.detail = pipedream.Inconclusive, newTokenRefusedMessage
		v.at = v.refusedSince.Add(lastRetry)
		if v.refusals == 1 {
			v.at = v.refusedSince.Add(firstRetry)
		}
	case v.acceptedFor == generation, v.replacedFor != generation:
		v.replacement = ""
		v.at = v.last.Add(renewal.RefusedRetry(v.refusals))
	default:
		v.verdict, v.suspendedFor, v.replacement = pipedream.Inconclusive, generation, ""
	}
}

// replaced remembers that a refused token was replaced by the one with these inputs, which is to be
// verified at once.
func (v *verificationState) replaced(inputs string, generation int64, now time.Time) {
	v.replacement, v.replacedFor, v.at = inputs, generation, now
}

// isUnknownFor reports whether it is not known whether the API accepts the token with these
// inputs. After a renewal, the verdict about the last token stands until the new one is verified.
func (v verificationState) isUnknownFor(inputs string) bool {
	switch v.verdict {
	case pipedream.Accepted:
		return false
	case pipedream.Refused:
		return v.inputs != inputs
	case pipedream.Inconclusive:
	}
	return true
}

// nextTry returns when the token with these inputs is to be verified, whatever the interval says;
// zero if the interval decides.
func (v verificationState) nextTry(inputs string) time.Time {
	if v.inputs == inputs || v.replacement != "" && v.replacement == inputs {
		return v.at
	}
	return time.Time{} // It was about another token.
}
