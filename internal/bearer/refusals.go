// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
)

const (
	// firstDenial is how long a project that denies access is not asked again. The time doubles with
	// each further denial in a row, up to retry.LongestWait.
	firstDenial = time.Minute
	// refusedLater is how much later an account that was refused asks a project that denies access.
	refusedLater = 5 * time.Second
	// probeTime is how long the others wait for the request that finds out whether a project still
	// denies access.
	probeTime = 15 * time.Second
)

// refusals are the refusals of the tokens of one client, by accounts and by whole projects.
type refusals struct {
	// byProject are the projects that refuse each token. bySubject are the last refusals for accounts.
	byProject map[string]*denial
	bySubject map[subject]refusal
}

func newRefusals() refusals {
	return refusals{byProject: map[string]*denial{}, bySubject: map[subject]refusal{}}
}

// subject is an account in a project.
type subject struct{ project, account string }

// refusal is that the token of a serial number was refused for a subject.
type refusal struct {
	serial int
	at     time.Time
}

// denial is that a project refuses each token of a client. Until a time only the prober may ask the
// project, if there is one. The prober asks for all accounts of the project.
type denial struct {
	refusal
	err    *pipedream.Error
	until  time.Time
	count  int
	prober throttle.Requester
}

// denialOf returns the error for a requester that must not ask the project of an account now.
func (r *refusals) denialOf(requester throttle.Requester, asked subject, now time.Time) error {
	denied := r.byProject[asked.project]
	if denied == nil || denied.prober == requester {
		return nil
	}
	until := denied.until
	if r.bySubject[asked].serial == denied.serial {
		// An account that was refused itself lets the others try first: the refusal may be about that
		// account alone.
		until = until.Add(refusedLater)
	}
	if !now.Before(retry.Believe(until, now)) {
		return nil
	}
	return denied.err.WithRetryAt(until)
}

// probe records that the requester that was lent a token sends its request now. If the project denied access before,
// the requester is its prober. It returns an error if the project must not be asked now.
func (r *refusals) probe(b Bearer, now time.Time) error {
	if err := r.denialOf(b.requester, subject{b.project, b.account}, now); err != nil {
		return err
	}
	if denied := r.byProject[b.project]; denied != nil {
		denied.until, denied.prober = now.Add(probeTime), b.requester
	}
	return nil
}

// forget forgets what was refused to an account and to its project, because the project has accepted a
// token for the account.
func (r *refusals) forget(b Bearer) {
	delete(r.byProject, b.project)
	delete(r.bySubject, subject{b.project, b.account})
}

// add records that a token was refused for an account.
func (r *refusals) add(b Bearer, now time.Time) {
	limit(r.bySubject, mostRefusals, func(r refusal) time.Time { return r.at })
	r.bySubject[subject{b.project, b.account}] = refusal{serial: b.token.serial, at: now}
}

// isFreshUseful reports whether a fresh token may help after a refusal. It does not if the token is a
// fresh one itself, or if the same was refused before and is accepted by others since.
func (r *refusals) isFreshUseful(b Bearer, now time.Time) bool {
	before, isKnown := r.bySubject[subject{b.project, b.account}]
	if d := r.byProject[b.project]; d != nil && d.count > 0 {
		before, isKnown = d.refusal, true // One account stands for all of the project.
	}
	switch {
	case now.Sub(b.token.issued) < freshEvery:
		return false
	case !isKnown:
		return true
	}
	return before.serial == b.token.serial && !b.token.isAcceptedSince(before.at)
}

// deny records that a fresh token was refused, too, and returns the error. The project is not asked for a
// while, unless the refusal may be about the account alone.
func (r *refusals) deny(b Bearer, failed *pipedream.Error, now time.Time) error {
	isAboutAccount := !b.token.accepted[b.project].at.IsZero() && failed.Kind == pipedream.AccessDenied
	if isAboutAccount || failed.Kind == pipedream.AccountNotFound {
		return failed
	}
	d := r.byProject[b.project]
	if d == nil {
		limit(r.byProject, mostProjects, func(d *denial) time.Time { return d.until })
		d = &denial{}
		r.byProject[b.project] = d
	}
	if d.err != nil && !b.lentAt.After(d.at) {
		// The request was sent before the project denied access: it adds nothing to that.
		return d.err.WithRetryAt(d.until.Add(refusedLater))
	}
	d.prober, d.refusal = throttle.Requester{}, refusal{serial: b.token.serial, at: now}
	if known := b.token.issued.Add(knownAfter); d.count == 0 && b.isUnknown(failed) && now.Before(known) {
		d.until = known
		d.err = &pipedream.Error{
			Kind: pipedream.Unavailable, StatusCode: failed.StatusCode, Detail: "Pipedream may not know the new access token yet",
		}
	} else {
		d.count++
		d.until = now.Add(retry.Doubled(firstDenial, retry.LongestWait-refusedLater, d.count))
		d.err = denied(failed)
	}
	return d.err.WithRetryAt(d.until.Add(refusedLater))
}

// isUnknown reports whether a refusal may mean that Pipedream does not know the token yet.
func (b Bearer) isUnknown(failed *pipedream.Error) bool {
	return failed.Kind == pipedream.TokenRejected && len(b.token.accepted) == 0
}

// denied returns the error for a token that is good, and that was refused all the same.
func denied(failed *pipedream.Error) *pipedream.Error {
	e := *failed
	e.Kind = pipedream.AccessDenied
	return &e
}
