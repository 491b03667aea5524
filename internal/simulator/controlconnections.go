// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"net/http"
)

// connectionControl has the control calls about connections and TLS.
type connectionControl struct {
	connections *Connections
	tls         *TLS
}

// forget forgets all connections except the connection of this call, so that the caller gets an answer.
func (c *connectionControl) forget(r *http.Request) (any, error) {
	return map[string]int{"forgotten": c.connections.forget(r.RemoteAddr)}, nil
}

// rotateCA replaces the CA, and returns the new CA.
func (c *connectionControl) rotateCA(r *http.Request) (any, error) {
	if err := c.tls.RotateCA(); err != nil {
		return nil, err
	}
	return c.ca(r)
}

func (c *connectionControl) ca(*http.Request) (any, error) {
	ca := c.tls.CA()
	if ca == nil {
		return nil, errors.New("there is no CA, for the simulator does not speak TLS: start it with --tls")
	}
	return map[string]string{"ca": string(ca)}, nil
}
