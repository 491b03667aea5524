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
	// How long a request may still take once the simulator was told to stop.
	stopTimeout = 5 * time.Second
)

// Serve answers on a listener until ctx ends: by TLS with HTTP/2 if TLS.Enable was called before, else by HTTP/1.1. The
// connections are those of Connections, and can be forgotten. Serve closes the listener.
func (s *Simulator) Serve(ctx context.Context, on net.Listener) error {
	server := &http.Server{
		Handler:           s,
		TLSConfig:         s.TLS.Config(),
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends delays when told to stop
	}
	on = s.Connections.Listener(on)
	// A connection may be forgotten after the listener was closed, while the last requests end.
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
