// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package throttle

import "crypto/sha256"

// oauthClient is what a Limiter remembers about one pair of client ID and client secret.
// It is nil for a request without credentials, and while nothing is known about the
// client.
type oauthClient struct {
	standing
	digest [sha256.Size]byte
	// isUnread is true if the credentials were not read yet, so that this may turn out to
	// be any client.
	isUnread bool
}

// isUnproven reports whether the client was never accepted, or was refused since.
func (c *oauthClient) isUnproven() bool { return c != nil && !c.isUnread && c.acceptedAt.IsZero() }

// ofAll returns the standing of all requests with this client; nil for a nil client.
func (c *oauthClient) ofAll() *standing {
	if c == nil {
		return nil
	}
	return &c.standing
}
