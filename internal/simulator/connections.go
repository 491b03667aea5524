// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ConnectionCount counts the connections of the listeners that Connections.Listener returned.
type ConnectionCount struct {
	Accepted  int `json:"accepted"`  // since the start
	Open      int `json:"open"`      // now, without forgotten connections
	Forgotten int `json:"forgotten"` // since the start
}

// Connections are the connections that a simulator's listeners have accepted. It counts them, and can forget
// them on demand. The zero value has no connections. It is safe for concurrent use.
type Connections struct {
	mu    sync.Mutex
	open  map[*connection]struct{}
	count ConnectionCount
	// abandoned are forgotten connections that the HTTP server has closed and the client has not closed. The
	// simulator keeps them open, so that the client does not notice.
	abandoned map[*connection]struct{}
}

// Listener returns a listener that accepts the connections of inner. The connections are counted, and Forget
// applies to them. Close of the listener also closes the forgotten connections.
func (c *Connections) Listener(inner net.Listener) net.Listener {
	return &listener{Listener: inner, connections: c}
}

// Forget imitates a load balancer that forgets connections. It applies to all connections that are open now,
// and returns their number. From now on the simulator drops all data that a client sends on these
// connections, and sends no data. It closes a connection only after the client has closed it. New connections
// work.
func (c *Connections) Forget() int {
	return c.forget("")
}

// forget forgets all open connections, except the connection from the address spared.
func (c *Connections) forget(spared string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	forgotten := 0
	for each := range c.open {
		if each.RemoteAddr().String() == spared {
			continue
		}
		each.isForgotten.Store(true)
		delete(c.open, each)
		forgotten++
	}
	c.count.Forgotten += forgotten
	return forgotten
}

func (c *Connections) counted() ConnectionCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := c.count
	count.Open = len(c.open)
	return count
}

func (c *Connections) add(conn net.Conn) *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open, c.abandoned = map[*connection]struct{}{}, map[*connection]struct{}{}
	}
	added := &connection{Conn: conn, all: c}
	c.open[added] = struct{}{}
	c.count.Accepted++
	return added
}

// closeAbandoned closes the forgotten connections that the HTTP server has closed and the clients have not
// closed.
func (c *Connections) closeAbandoned() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for each := range c.abandoned {
		_ = each.Conn.Close()
	}
	clear(c.abandoned)
}

// listener returns connections that can be forgotten.
type listener struct {
	net.Listener
	connections *Connections
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.add(conn), nil
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.connections.closeAbandoned()
	return l.Listener.Close()
}

// connection is a connection that can be forgotten. The HTTP server does not notice when it is.
type connection struct {
	net.Conn
	all         *Connections
	isForgotten atomic.Bool
	// hasEnded is set when the client has closed the connection.
	hasEnded atomic.Bool
}

// Read implements net.Conn. On a forgotten connection it returns no data.
func (c *connection) Read(into []byte) (int, error) {
	for {
		n, err := c.Conn.Read(into)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.hasEnded.Store(true)
		}
		if !c.isForgotten.Load() {
			return n, err
		}
		if err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn. On a forgotten connection it sends nothing.
func (c *connection) Write(data []byte) (int, error) {
	if c.isForgotten.Load() {
		return len(data), nil
	}
	return c.Conn.Write(data)
}

// Close implements net.Conn. A forgotten connection stays open for its client.
func (c *connection) Close() error {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if c.isForgotten.Load() && !c.hasEnded.Load() {
		c.all.abandoned[c] = struct{}{}
		return c.SetReadDeadline(time.Unix(1, 0)) // Ends a waiting Read.
	}
	delete(c.all.open, c)
	delete(c.all.abandoned, c)
	return c.Conn.Close()
}
