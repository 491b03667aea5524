// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"
)

// mostAppTokens is how many access tokens of one account its app accepts at most.
const mostAppTokens = 64

// refreshState is when an account was refreshed, and how often.
type refreshState struct {
	created, refreshed time.Time
	// version counts the refreshes, and the connection as the first one.
	version int
}

// appToken is an access token or an API key that an app accepts.
type appToken struct {
	value string
	// expires is from when on the app refuses it; zero for never.
	expires time.Time
}

// refreshWay is a parsed Account.Refresh.
type refreshWay struct {
	// every is the time between two refreshes in the background; 0 for none.
	every           time.Duration
	isLazy, isForce bool
}

func parseRefresh(a Account) (refreshWay, error) {
	name, text, hasDuration := strings.Cut(a.Refresh, ":")
	length, err := time.ParseDuration(text)
	isLength := hasDuration && err == nil && length > 0
	switch {
	case name == "background" && isLength:
		return refreshWay{every: length}, nil
	case name == "lead" && isLength && length < a.Life:
		return refreshWay{every: a.Life - length}, nil
	case a.Refresh == "lazy":
		return refreshWay{isLazy: true}, nil
	case a.Refresh == "force":
		return refreshWay{isForce: true}, nil
	case a.Refresh == "never":
		return refreshWay{}, nil
	}
	return refreshWay{}, fmt.Errorf("refresh must be like background:13m30s, lead:5m (less than life), lazy, force or never, not %q", a.Refresh)
}

// nextRefreshUnreadable is the Account.NextRefresh of an answer whose time of the next refresh is not a time.
const nextRefreshUnreadable = "unreadable"

// nextRefreshWay is a parsed Account.NextRefresh.
type nextRefreshWay struct {
	// wrong is by how much the time of the next refresh is wrong.
	wrong time.Duration
	// isFromNow is true if the time of the next refresh is fromNow after each answer, whenever the refresh is.
	isFromNow bool
	fromNow   time.Duration
}

func parseNextRefresh(text string) (nextRefreshWay, error) {
	if text == "true" || text == "absent" || text == nextRefreshUnreadable {
		return nextRefreshWay{}, nil
	}
	length, isFromNow := strings.CutPrefix(text, "in:")
	parsed, err := time.ParseDuration(length)
	switch {
	case err != nil:
		return nextRefreshWay{}, fmt.Errorf("next_refresh must be true, absent, unreadable, by how much it is wrong, such as -10m, "+
			"or how long after each answer it is, such as in:1s, not %q", text)
	case isFromNow:
		return nextRefreshWay{isFromNow: true, fromNow: parsed}, nil
	}
	return nextRefreshWay{wrong: parsed}, nil
}

// isRefreshable reports whether Pipedream can refresh the account.
func (c *account) isRefreshable() bool {
	isSick := c.Healthy != nil && !*c.Healthy || c.Dead != nil && *c.Dead
	return c.AuthType == AuthOAuth && !isSick
}

// refresh gives an account new credentials.
func (c *account) refresh(now time.Time) {
	c.rotate(now)
	c.version++
	c.refreshed = now
	token := appToken{value: c.secret("token")}
	if c.Life > 0 && c.AuthType == AuthOAuth {
		token.expires = c.refreshed.Add(c.Life)
	}
	c.tokens = slices.DeleteFunc(c.tokens, func(t appToken) bool { return t.isOver(now) })
	if len(c.tokens) >= mostAppTokens {
		c.tokens = slices.Delete(c.tokens, 0, 1)
	}
	c.tokens = append(c.tokens, token)
}

// rotate makes the app refuse the tokens that a refresh replaces, if the app does so.
func (c *account) rotate(now time.Time) {
	if !c.Rotating {
		return
	}
	end := now.Add(c.Grace)
	for i, token := range c.tokens {
		if token.expires.IsZero() || token.expires.After(end) {
			c.tokens[i].expires = end
		}
	}
}

func (t appToken) isOver(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// advance makes the refreshes in the background until now.
func (c *account) advance(now time.Time) {
	way, err := parseRefresh(c.Account)
	if err != nil || way.every == 0 || !c.isRefreshable() {
		return
	}
	due := int64(now.Sub(c.refreshed) / way.every)
	// Only the last ones have tokens that are good still.
	for left := due; left > 0; left-- {
		at := c.refreshed.Add(way.every)
		if left > mostAppTokens {
			c.version, c.refreshed = c.version+1, at
			continue
		}
		c.refresh(at)
	}
}

// askedFor makes the refresh that asking for the credentials causes.
func (c *account) askedFor(now time.Time) {
	way, err := parseRefresh(c.Account)
	if err != nil || !c.isRefreshable() {
		return
	}
	if way.isForce || way.isLazy && c.isExpired(now) {
		c.refresh(now)
	}
}

func (c *account) expires() time.Time {
	if c.Life == 0 || c.AuthType != AuthOAuth {
		return time.Time{}
	}
	return c.refreshed.Add(c.Life)
}

func (c *account) isExpired(now time.Time) bool {
	return !c.expires().IsZero() && !now.Before(c.expires())
}

// nextRefreshText returns what an answer says about the next refresh; nil for no time.
func (c *account) nextRefreshText(now time.Time) any {
	said, err := parseNextRefresh(c.NextRefresh)
	switch {
	case err == nil && said.isFromNow:
		return timeText(now.Add(said.fromNow))
	case c.NextRefresh == nextRefreshUnreadable:
		return "not a time"
	}
	return timeText(c.nextRefresh(said))
}

// nextRefresh returns the time of the next refresh that the answer says; zero if it says none.
func (c *account) nextRefresh(said nextRefreshWay) time.Time {
	way, err := parseRefresh(c.Account)
	if err != nil || way.every == 0 || c.NextRefresh == "absent" || !c.isRefreshable() {
		return time.Time{}
	}
	return c.refreshed.Add(way.every + said.wrong)
}

// secret returns a secret of the account's current credentials.
func (c *account) secret(name string) string {
	mac := hmac.New(sha256.New, c.key)
	_, _ = fmt.Fprintf(mac, "%s/%s/%d", c.id, name, c.version)
	return "sim_" + encode(mac.Sum(nil))
}
