// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"
)

var (
	userID      = regexp.MustCompile(`^u_[A-Za-z0-9]+$`)
	workspaceID = regexp.MustCompile(`^o_[A-Za-z0-9]+$`)
)

// User is a user of Pipedream. Each user has one API key at most.
type User struct {
	// APIKey is the key. It never expires.
	APIKey string `json:"api_key"`
	// Workspaces are the workspaces that the user is in, at least one. The first one is the user's own.
	Workspaces []string `json:"workspaces"`
}

// NewUser returns a user who is in the default workspace only.
func NewUser(apiKey string) User {
	return User{APIKey: apiKey, Workspaces: []string{DefaultWorkspaceID}}
}

// check returns an error that says what is wrong with the user. It never quotes the key.
func (u User) check(id string) error {
	switch {
	case !userID.MatchString(id):
		return errors.New("the user's id must be like u_abc123")
	case u.APIKey == "":
		return errors.New("api_key must not be empty")
	case len(u.Workspaces) == 0:
		return errors.New("workspaces must name at least one workspace")
	case slices.ContainsFunc(u.Workspaces, func(workspace string) bool { return !workspaceID.MatchString(workspace) }):
		return errors.New("workspaces must be like o_abc123")
	}
	return nil
}

// UserCount counts the calls with the API keys of a user.
type UserCount struct {
	// Accepted are the calls whose key was accepted, whatever they were answered then.
	Accepted int `json:"accepted"`
	// Throttled are the calls whose key was accepted, and which were more than the limit.
	Throttled int `json:"throttled"`
}

// UserCounters count the calls with API keys since the start. They hold no key.
type UserCounters struct {
	// Users are the counts by the ID of the user, also of deleted users.
	Users map[string]UserCount `json:"users"`
}

// Users are the users of Pipedream with their API keys. They are safe for concurrent use.
type Users struct {
	now func() time.Time

	mu    sync.Mutex
	users map[string]*user
	limit limit
	count map[string]*UserCount
}

// user is a User with the hash of the key in place of the key.
type user struct {
	id         string
	workspaces []string
	key        digest
	// hasKey is false if the key was revoked, and there is no newer one.
	hasKey bool
}

func newUsers(now func() time.Time) *Users {
	return &Users{
		now: now, users: map[string]*user{}, limit: limit{calls: map[string][]time.Time{}}, count: map[string]*UserCount{},
	}
}

// Set registers a user, or replaces the user and the API key. From then on the old key is refused. Set returns
// an error that says what is wrong.
func (u *Users) Set(id string, to User) error {
	if err := to.check(id); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.set(&user{id: id, workspaces: slices.Clone(to.Workspaces)}, to.APIKey)
}

// RevokeKey revokes the API key of a user, as the button REVOKE at Pipedream does, and gives the user a new one. If
// the new key is empty, the user has none until RevokeKey or Set is called again. RevokeKey returns an error if the
// user is unknown, or if the new key is not new.
func (u *Users) RevokeKey(id, newKey string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	current := u.users[id]
	switch {
	case current == nil:
		return noUser(id)
	case u.ownerOf(newKey) == current:
		return errors.New("api_key is the key that is to be revoked")
	}
	return u.set(&user{id: id, workspaces: current.workspaces}, newKey)
}

// set registers a user with a key; with an empty one, the user has no key. The caller holds the lock.
func (u *Users) set(to *user, key string) error {
	if other := u.ownerOf(key); other != nil && other.id != to.id {
		return errors.New("another user has this api_key")
	}
	to.key, to.hasKey = sha256.Sum256([]byte(key)), key != ""
	u.users[to.id] = to
	if u.count[to.id] == nil {
		u.count[to.id] = &UserCount{}
	}
	return nil
}

func noUser(id string) error {
	return fmt.Errorf("there is no user %q: register one with PUT /_sim/users/{id}", id)
}

// Delete deletes a user, and reports whether there was one. The user's accounts stay.
func (u *Users) Delete(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.users[id]
	delete(u.users, id)
	return ok
}

// SetLimit limits the calls with the API keys of each user to a number in each window of time. 0 calls remove the
// limit. Pipedream documents no such limit. SetLimit returns an error if the limit makes no sense.
func (u *Users) SetLimit(calls int, window time.Duration) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.limit.set(calls, window)
}

// Counters returns a copy of the current counts.
func (u *Users) Counters() UserCounters {
	u.mu.Lock()
	defer u.mu.Unlock()
	return UserCounters{Users: values(u.count)}
}

// find returns the user whose API key this is; nil if there is none.
func (u *Users) find(key string) *user {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ownerOf(key)
}

// ownerOf is find for a caller that holds the lock.
func (u *Users) ownerOf(key string) *user {
	asked := digest(sha256.Sum256([]byte(key)))
	for _, one := range u.users {
		if one.hasKey && one.key == asked {
			return one
		}
	}
	return nil
}

// take counts a call of a user, or refuses it because of the limit.
func (u *Users) take(caller *user) *answer {
	u.mu.Lock()
	defer u.mu.Unlock()
	count := u.count[caller.id]
	count.Accepted++
	refused := u.limit.take(caller.id, u.now())
	if refused != nil {
		count.Throttled++
	}
	return refused
}
