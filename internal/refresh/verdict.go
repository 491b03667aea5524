// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package refresh

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// VerdictKind is what Pipedream says about an account.
type VerdictKind string

// The kinds of verdicts.
const (
	// Dead: Pipedream can't refresh the account any longer.
	Dead VerdictKind = "Dead"
	// NotFound: no account matches.
	NotFound VerdictKind = "NotFound"
	// NotExportable: Pipedream does not give out the credentials.
	NotExportable VerdictKind = "NotExportable"
	// Ambiguous: more than one account matches.
	Ambiguous VerdictKind = "Ambiguous"
	// Mismatch: the account is of another app.
	Mismatch VerdictKind = "Mismatch"
)

// IsDoubtful reports whether a verdict may be a fault on the way: a gateway may answer 404 for a
// minute.
func (k VerdictKind) IsDoubtful() bool { return k == NotFound || k == NotExportable }

// isAboutCredentials reports whether a verdict says that the credentials which were given out before are not
// good any longer. Ambiguous and Mismatch say only that the spec does not tell which account it means.
func (k VerdictKind) isAboutCredentials() bool { return k != Ambiguous && k != Mismatch }

const (
	firstDoubtWait    = 30 * time.Second
	firstVerdictWait  = time.Minute
	confirmationAfter = 2 * time.Minute
)

// Verdict is what Pipedream says about one account, again and again. The zero value means that it
// has said nothing bad.
type Verdict struct {
	// Kind is empty if there is no verdict.
	Kind VerdictKind
	// Since is when Pipedream first said so, and Last when it last said so.
	Since, Last time.Time
	// Count is how often in a row Pipedream has said so.
	Count int
	// Confirmed is the last verdict that was confirmed, and that says that the credentials in the Secret
	// must not be called good any longer; empty if there is none. A verdict of another kind does not end
	// it. It ends when the Secret holds credentials that Pipedream has given out since.
	Confirmed VerdictKind
}

// Add records a verdict that Pipedream has given now. otherFetched is when the project has last given
// out the credentials of another account; zero if it has not. A doubtful verdict is confirmed when
// Pipedream gives it again, two minutes after the first time, or after it has given out the credentials
// of another account meanwhile. Each other verdict is confirmed at once.
func (v *Verdict) Add(kind VerdictKind, otherFetched, now time.Time) {
	if v.Kind != kind {
		*v = Verdict{Kind: kind, Since: now, Confirmed: v.Confirmed}
	}
	v.Count++
	v.Last = now
	isCertain := !kind.IsDoubtful() || v.Count > 1 && (otherFetched.After(v.Since) || now.Sub(v.Since) >= confirmationAfter)
	if isCertain && kind.isAboutCredentials() {
		v.Confirmed = kind
	}
}

// Answered returns the verdict after Pipedream has given out the credentials of the account, which the Secret does
// not hold yet. Only the confirmed verdict stays: it is about the credentials in the Secret.
func (v Verdict) Answered() Verdict { return Verdict{Confirmed: v.Confirmed} }

// NotBefore returns when Pipedream is asked again: a minute after the verdict, doubling to
// retry.LongestWait; after the first doubtful verdict, 30 seconds. It returns zero if there is
// nothing to wait for.
func (v Verdict) NotBefore(now time.Time) time.Time {
	if v.Kind == "" {
		return time.Time{}
	}
	count := v.Count
	if v.Kind.IsDoubtful() {
		if count <= 1 {
			return retry.EndOf(v.Last, firstDoubtWait, now)
		}
		count--
	}
	return retry.EndOf(v.Last, retry.Doubled(firstVerdictWait, retry.LongestWait, count), now)
}
