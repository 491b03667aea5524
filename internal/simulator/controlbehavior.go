// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"net/http"
)

// behaviorControl has the control call about behaviors.
type behaviorControl struct {
	behaviors *behaviors
}

func (c *behaviorControl) set(r *http.Request) (any, error) {
	const want = `{"unknown-scope":"ignored","revoked-after":"3s"}`
	var in map[string]string
	if err := decode(r, &in, want); err != nil {
		return nil, err
	}
	if len(in) == 0 {
		return nil, errors.New("send JSON like " + want)
	}
	return nil, c.behaviors.set(in)
}
