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

// KeyName returns the name of an API key, which stands in place of the ID of a project in all other methods. The name
// is a digest that nobody can compute after this process has ended, so it may be remembered in place of the key.
func (p *Projects) KeyName(key pipedream.Sensitive) string {
	mac := hmac.New(sha256.New, p.secret)
	_, _ = mac.Write([]byte(key.Reveal()))
	return keyPrefix + hex.EncodeToString(mac.Sum(nil))
}

func isKey(name string) bool { return strings.HasPrefix(name, keyPrefix) }

// credentialsOf returns what stands for the credentials of the requests at a limiter; nil if they have none that a
// refusal is about. A Limiter only tells credentials apart, so the name of an API key serves as well as the key.
func credentialsOf(name string) *pipedream.Credentials {
	if !isKey(name) {
		return nil
	}
	return &pipedream.Credentials{ClientID: name}
}
