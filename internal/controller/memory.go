// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
)

// memory is what the reconciler remembers of one PipedreamToken between two
// visits. What can be had again from the status is recalled from there; losing the
// rest costs a few reads, an early attempt, or a token that is not stored yet.
type memory struct {
	uid types.UID
	// firstSeen is when this process has first seen the object.
	firstSeen time.Time

	// secretVersion is the resourceVersion of the Secret that we last wrote or read
	// live: what the cache holds may be older.
	secretVersion string
	// readLive is set when the outcome of a write is unknown.
	readLive bool
	// checked is the last check, and what it was about.
	checked checked
	// shapedFor is the generation for which the target last was as it is wanted, the
	// token apart.
	shapedFor int64
	// rendering is what the templates come to with a made-up token, and misfit how they
	// have failed with a token nevertheless.
	rendering rendering
	misfit    *misfit
	// genuine is the version of the Secret that we last wrote, or whose token was last
	// found to be one that was issued for the credentials.
	genuine string
	// targetType is the type of the Secret that we last wrote or read.
	targetType targetType
	// editor is the field manager that has last changed the Secret that we wrote, as
	// far as the API server tells.
	editor string
	// incomplete are the last credentials that could not be used.
	incomplete incomplete

	// reported is the last status applied, until the cache shows it.
	reported        *v1alpha1.PipedreamTokenStatus
	reportedVersion string
	// toldOfFailure tells that the last thing told of the attempts is that one failed.
	toldOfFailure bool

	// stored is what the Secret that we wrote last holds.
	stored stored
	// unstored is a token that was issued and could not be stored yet.
	unstored *heldToken
	// failure is the last failed attempt to have a token; nil after one that worked.
	failure *failure
	// rewriteFailure is the last failed attempt to write the held token anew.
	rewriteFailure *failure
	// obstacle is what makes an attempt impossible now; nil when nothing does.
	obstacle *failure

	// lastIssue and byEvent space the tokens of one object, and rewrites what costs no
	// token.
	lastIssue time.Time
	byEvent   retry.Triggers
	rewrites  retry.Triggers

	verification verification
}

// checked is what a check was about, and its outcome.
type checked struct {
	secretVersion      string
	credentialsVersion string
	generation         int64
	outcome            renewal.Check
}

// targetType is the type of the Secret with that UID, which never changes.
type targetType struct {
	uid  types.UID
	name string
}

// stored tells one stored token from another.
type stored struct {
	inputs                    string
	issueTime, expirationTime time.Time
}

// incomplete are credentials that can't be used, because a key is missing or holds
// something that is no credential.
type incomplete struct {
	// credentialsVersion and generation are of the Secret and of the spec that names it.
	credentialsVersion string
	generation         int64
	// reason is the one of condition Renewed. what says which key it is; it is empty
	// when only the status of an earlier process says that they can't be used.
	reason, what string
}

// verification is what is known from verifying the held token.
type verification struct {
	// last is when a token of the object was last verified, or when the object was first
	// seen.
	last time.Time
	// verdict is about the token with these inputs, and detail says why it is
	// inconclusive.
	verdict pipedream.Verdict
	inputs  string
	detail  string
	// restored tells that all this is known from the status, and that nothing was
	// verified since the process started.
	restored bool

	// at is when the held token is verified next, whatever the interval says; zero when
	// the interval decides.
	at time.Time
	// refusals counts the 401 answers in a row to the token with these inputs, and the
	// answers in between that say nothing about it. The first one came at refusedSince.
	refusals     int
	refusedSince time.Time
	// replacement are the inputs of the token that has replaced a refused one, until it
	// is known what the API thinks of it.
	replacement string

	// These are generations of the spec; zero means none.
	//
	// triedFor is the generation for which a token was last verified.
	triedFor int64
	// acceptedFor is the generation for which the API has accepted a token. A refusal is
	// then about the token.
	acceptedFor int64
	// replacedFor is the generation for which a refused token was replaced already, in
	// order to find out whether the API refuses every token.
	replacedFor int64
	// suspendedFor is the generation for which the API refuses every token.
	suspendedFor int64

	// toldUnknown is since when condition Verified is Unknown, if that was told.
	toldUnknown time.Time
}

// memories holds the memory of each PipedreamToken. The queue never gives the
// same object to two workers, so that only the map needs a lock.
type memories struct {
	mu     sync.Mutex
	byName map[types.NamespacedName]*memory
}

// of returns the memory of the object of that name and UID, and whether it is new.
func (m *memories) of(name types.NamespacedName, uid types.UID) (*memory, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.byName[name]; ok && known.uid == uid {
		return known, false
	}
	if m.byName == nil {
		m.byName = map[types.NamespacedName]*memory{}
	}
	fresh := &memory{uid: uid}
	m.byName[name] = fresh
	return fresh, true
}

// trouble returns what condition Renewed is to speak of; nil when all is well.
func (m *memory) trouble() *failure {
	switch {
	case m.obstacle != nil:
		return m.obstacle
	case m.failure != nil:
		return m.failure
	}
	return m.rewriteFailure
}

// digest tells credentials apart. Its key is the object's UID, for it stays here.
func (m *memory) digest(credentials pipedream.Credentials) string {
	return keyedDigest(string(m.uid), credentials.ClientID, credentials.ClientSecret.Reveal())
}

func (m *memories) forget(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byName, name)
}
