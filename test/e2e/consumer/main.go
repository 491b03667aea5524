// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command consumer is what a token is for: a program in a pod, that knows nothing
// of Kubernetes. Once a second it reads the token from a file, calls Pipedream's
// API with it, and writes a line of JSON about what came of it. The token itself is
// never in there.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// call is a line.
type call struct {
	Time time.Time `json:"time"`
	// Status is that of the answer, or 0 if there was none: Error says why.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
	// Token is the beginning of its hash.
	Token string `json:"token,omitempty"`
	// Written is when the file was, and Expires what the file beside it says.
	Written time.Time `json:"written"`
	Expires string    `json:"expires,omitempty"`
}

func main() {
	folder := flag.String("folder", "/var/run/pipedream", "Where the Secret is mounted.")
	url := flag.String("url", "", "What to call.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	lines := json.NewEncoder(os.Stdout)
	client := &http.Client{Timeout: 5 * time.Second}
	tick := time.NewTicker(time.Second)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			line := call{Time: time.Now()}
			if err := line.make(ctx, client, *folder, *url); err != nil {
				line.Error = err.Error()
			}
			_ = lines.Encode(line)
		}
	}
}

// make calls with the token that is in the file now.
func (c *call) make(ctx context.Context, client *http.Client, folder, url string) error {
	path := filepath.Join(folder, "access_token")
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(path) //nolint:gosec // Whoever starts this says what it reads.
	if err != nil {
		return err
	}
	expires, err := os.ReadFile(filepath.Join(folder, "expires_at")) //nolint:gosec // Likewise.
	if err != nil {
		return err
	}
	hash := sha256.Sum256(token)
	c.Token, c.Written, c.Expires = hex.EncodeToString(hash[:4]), info.ModTime(), string(expires)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	request.Header.Set("X-Pd-Environment", "production")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	c.Status = response.StatusCode
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
