// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// proxy is a way to the API server on which watches of Secrets are late.
type proxy struct {
	address string
	server  *httptest.Server
	// delayed counts the watches that it has delayed.
	delayed atomic.Int64
}

// newProxy opens a way to the API server of a configuration. Who comes that way is who
// the configuration says, for without TLS a client does not say who it is.
func newProxy(config *rest.Config, delay time.Duration) (*proxy, error) {
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("read the API server's address: %w", err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a transport: %w", err)
	}
	p := &proxy{}
	p.server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(request *httputil.ProxyRequest) { request.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ModifyResponse: func(response *http.Response) error {
			request := response.Request
			if request.URL.Query().Get("watch") != "" && strings.HasSuffix(request.URL.Path, "/secrets") {
				p.delayed.Add(1)
				response.Body = late(request.Context(), response.Body, delay)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
	p.address = p.server.URL
	return p, nil
}

func (p *proxy) close() {
	p.server.CloseClientConnections()
	p.server.Close()
}

// late returns a stream of the same content, each part of which comes later.
func late(ctx context.Context, from io.ReadCloser, delay time.Duration) io.ReadCloser {
	type part struct {
		content []byte
		due     time.Time
	}
	parts := make(chan part, 1<<16)
	reader, writer := io.Pipe()
	go func() {
		defer close(parts)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				parts <- part{content: buffer[:n], due: time.Now().Add(delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		for p := range parts {
			if harness.Pause(ctx, time.Until(p.due)) != nil {
				break
			}
			if _, err := writer.Write(p.content); err != nil {
				break
			}
		}
		_ = writer.Close()
	}()
	return &lateBody{Reader: reader, close: func() error { return errors.Join(from.Close(), reader.Close()) }}
}

type lateBody struct {
	io.Reader
	close func() error
}

func (b *lateBody) Close() error { return b.close() }
