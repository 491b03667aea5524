// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

const (
	// KeyPerSecond is the number of requests a second with one API key at most. Pipedream documents no limit
	// for API keys.
	KeyPerSecond = 1
	// keyPrefix is how the names of API keys begin. No project's ID begins like that.
	keyPrefix = "key/"
)

// KeyName returns the name of an API key that is sent with the ID of a workspace, which is empty if none is sent. The name
// stands in place of the ID of a project in all other methods. It has a digest of the key that nobody can compute after
// this process has ended, so it may be remembered in place of the key.
//
// A key has one limiter, whatever the workspace is. A refusal is about the key with one workspace: Pipedream may refuse
// a good key because its user is not in the workspace, and then the key must go on working with the others.
func (p *Projects) KeyName(key pipedream.Sensitive, workspace string) string {
	mac := hmac.New(sha256.New, p.secret)
	_, _ = mac.Write([]byte(key.Reveal()))
	return keyPrefix + hex.EncodeToString(mac.Sum(nil)) + "/" + workspace
}

func isKey(name string) bool { return strings.HasPrefix(name, keyPrefix) }

// limiterOf returns the name of the limiter for a project or for an API key with a workspace.
func limiterOf(name string) string {
	if !isKey(name) {
		return name
	}
	digest, _, _ := strings.Cut(name[len(keyPrefix):], "/")
	return keyPrefix + digest
}

// credentialsOf returns what stands for the credentials of the requests with a name; nil if they have none that a
// refusal is about. A Limiter only tells credentials apart, so the name of an API key serves as well as the key.
func credentialsOf(name string) *pipedream.Credentials {
	if !isKey(name) {
		return nil
	}
	return &pipedream.Credentials{ClientID: name}
}
