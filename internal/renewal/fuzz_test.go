// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// moment returns a time from the year 0 to the year 9999. Only these times can be written to a Secret.
func moment(seconds int64) time.Time {
	first := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	count := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - first
	return time.Unix(first+((seconds-first)%count+count)%count, 0).UTC()
}

// pick returns one of the values.
func pick[T any](index uint8, values ...T) T { return values[int(index)%len(values)] }

// FuzzDecide calls Decide with any record that can be written to a Secret, and with any other facts. The flags are, from
// the lowest bit: credentials, pending token, refused, changed, cannot verify, no record, other scopes, another request.
// From a target of 128 on, the owner is being deleted.
func FuzzDecide(f *testing.F) {
	f.Add("shop/orders", uint8(2), uint8(1), uint8(1), int64(1772366400), int64(3600), int64(1772366500),
		int64(0), int64(0), int64(0), int64(0), int64(0), 0, int64(0), int64(0))
	f.Fuzz(func(t *testing.T, identity string, target, check, flags uint8, issued, life, at,
		lastIssue, lastTriggered, notBefore, lastVerified, verification int64, repeats int, renewBefore, verifyEvery int64,
	) {
		now := moment(at)
		// The facts hold times near now, or no time.
		near := func(offset int64) time.Time {
			if offset == 0 {
				return time.Time{}
			}
			return now.Add(time.Duration(offset))
		}
		has := func(bit int) bool { return flags>>bit&1 == 1 }
		record := renewal.Record{IssueTime: moment(issued), ExpirationTime: moment(issued + life)}
		desired := renewal.Desired{Identity: identity, RenewBefore: time.Duration(renewBefore), VerifyEvery: time.Duration(verifyEvery)}
		desired.Suspended = check >= 128
		if has(6) {
			desired.Scopes = "other"
		}
		if has(7) {
			desired.RenewRequest = "new"
		}
		facts := renewal.Facts{
			Target:           pick(target, renewal.Absent, renewal.Foreign, renewal.Owned, renewal.Terminating),
			OwnerTerminating: target >= 128,
			Record:           &record,
			Check:            pick(check, renewal.Unchecked, renewal.Good, renewal.Edited, renewal.InputsChanged, renewal.Drifted, renewal.TemplatesChanged),
			HasCredentials:   has(0), HasPending: has(1), Refused: has(2), Changed: has(3), CannotVerify: has(4),
			NotBefore: near(notBefore), LastIssue: near(lastIssue), Triggered: retry.Triggers{Last: near(lastTriggered), Count: repeats},
			LastVerified:       near(lastVerified),
			VerificationQueued: verification&1 == 1, VerifyNow: verification&2 == 2,
			Unverified: verification&32 == 32, VerificationSuspended: verification&64 == 64, VerifyAt: near(verification >> 7),
			TemplateInvalid: verification&4 == 4, OtherType: verification&16 == 16, DriftedAgain: verification&8 == 8,
			RewriteNotBefore: near(notBefore / 2), Rewrites: retry.Triggers{Last: near(lastTriggered / 2), Count: repeats},
		}
		facts.Yields = verification&128 == 128
		if target&128 == 128 {
			facts.ClusterNotBefore = facts.NotBefore
		}
		if has(5) || !record.ExpirationTime.After(record.IssueTime) {
			facts.Record = nil
		}

		decision := renewal.Decide(desired, facts, now)
		if again := renewal.Decide(desired, facts, now); again != decision {
			t.Errorf("Decide returned %+v, and %+v for the same inputs", decision, again)
		}
		checkDecision(t, desired, facts, decision, now)
		if sleep := renewal.Sleep(desired, facts, decision, now); sleep <= 0 || sleep > 5*time.Minute {
			t.Errorf("after %+v Sleep returned %s", decision, sleep)
		}
		if renewal.CurrentToken(desired, facts, now) == renewal.StateValid && !now.Before(record.ExpirationTime) {
			t.Error("an expired token counts as valid")
		}
		if facts.Record != nil {
			checkDueTime(t, desired, record)
		}
	})
}

func checkDecision(t *testing.T, desired renewal.Desired, facts renewal.Facts, decision renewal.Decision, now time.Time) {
	t.Helper()
	if facts.TemplateInvalid && slices.Contains([]renewal.Action{renewal.Issue, renewal.Write, renewal.Rewrite, renewal.Keep}, decision.Action) {
		t.Errorf("%+v, although the templates fail for every token", decision)
	}
	if facts.OtherType && slices.Contains([]renewal.Action{renewal.Issue, renewal.Write, renewal.Rewrite}, decision.Action) {
		t.Errorf("%+v, although the target is of another type", decision)
	}
	isTerminating := facts.OwnerTerminating || facts.Target == renewal.Terminating
	if isTerminating && !slices.Contains([]renewal.Action{renewal.Blocked, renewal.Read, renewal.Verify, renewal.Wait}, decision.Action) {
		t.Errorf("%+v, although the target or its owner is being deleted", decision)
	}
	if !facts.OwnerTerminating && desired.Suspended != (decision.Action == renewal.Rest) && decision.Action != renewal.Read {
		t.Errorf("%+v, though suspended is %v", decision, desired.Suspended)
	}
	switch decision.Action {
	case renewal.Issue:
		if !facts.HasCredentials || facts.Target == renewal.Foreign {
			t.Errorf("%+v without credentials or over a foreign Secret", decision)
		}
		if since := now.Sub(facts.LastIssue); since < 10*time.Second {
			t.Errorf("%+v %s after the last token", decision, since)
		}
	case renewal.Write, renewal.Rewrite:
		if facts.Target == renewal.Foreign {
			t.Errorf("%+v over a foreign Secret", decision)
		}
		if decision.Action == renewal.Rewrite && (facts.Check != renewal.Drifted || renewal.CurrentToken(desired, facts, now) != renewal.StateValid) {
			t.Errorf("%+v, although the Secret has not drifted or its token is not valid", decision)
		}
	case renewal.Wait:
		if !decision.Until.After(now) {
			t.Errorf("%+v at %s", decision, now)
		}
	case renewal.Verify:
		facts.LastVerified, facts.VerifyAt = now, time.Time{}
		if again := renewal.Decide(desired, facts, now); again.Action == renewal.Verify {
			t.Error("the token is verified twice at the same time")
		}
	case renewal.Keep, renewal.Read, renewal.Blocked, renewal.Rest:
	default:
		t.Errorf("Decide returned the unknown action %+v", decision)
	}
}

func checkDueTime(t *testing.T, desired renewal.Desired, record renewal.Record) {
	t.Helper()
	due := renewal.DueTime(desired, record)
	life := record.ExpirationTime.Sub(record.IssueTime)
	if due.Nanosecond() != 0 {
		t.Errorf("the token is due at %s, want whole seconds", due)
	}
	if life >= 10*time.Second && due.After(record.ExpirationTime) {
		t.Errorf("the token is due at %s, after its expiry at %s", due, record.ExpirationTime)
	}
	// A token is due after half of its lifetime at the earliest, less a tenth of its lifetime.
	if earliest := record.IssueTime.Add(life / 10 * 4).Truncate(time.Second); due.Before(earliest) {
		t.Errorf("the token of %s is due at %s, want it at %s at the earliest", record.IssueTime, due, earliest)
	}
}
