// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout = 10 * time.Second
	// stopTimeout is the maximum time that requests may still take after the simulator was told to stop.
	stopTimeout = 5 * time.Second
)

// Serve answers requests on a listener until ctx ends. It uses TLS with HTTP/2 if TLS.Enable was called
// before, and otherwise HTTP/1.1 without TLS. Connections counts the connections, and can forget them. Serve
// closes the listener.
func (s *Simulator) Serve(ctx context.Context, on net.Listener) error {
	server := &http.Server{
		Handler:           s,
		TLSConfig:         s.TLS.Config(),
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // the end of ctx ends delays
	}
	on = s.Connections.Listener(on)
	// While the last requests end, Forget may forget a connection although the listener is already closed.
	defer s.Connections.closeAbandoned()
	served := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			served <- server.ServeTLS(on, "", "")
			return
		}
		served <- server.Serve(on)
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if server.Shutdown(grace) != nil {
		return server.Close()
	}
	return nil
}
