// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command consumer is an application that uses a token, and knows nothing of Kubernetes. Once a second it reads
// the token from a file, calls Pipedream's API with it, and writes the result as a line of JSON. The line never
// holds the token itself.
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

// call is a line of the output.
type call struct {
	Time time.Time `json:"time"`
	// Status is the HTTP status of the answer, or 0 without an answer. Error says why there is none.
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
	// Token is the beginning of the token's hash.
	Token string `json:"token,omitempty"`
	// Written is when the file of the token was written, and Expires the content of the file expires_at.
	Written time.Time `json:"written"`
	Expires string    `json:"expires,omitempty"`
}

func main() {
	folder := flag.String("folder", "/var/run/pipedream", "The folder where the Secret is mounted.")
	url := flag.String("url", "", "The URL to call.")
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

// make calls the API with the current token in the file, and fills in the line.
func (c *call) make(ctx context.Context, client *http.Client, folder, url string) error {
	path := filepath.Join(folder, "access_token")
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(path) //nolint:gosec // The user chooses the folder.
	if err != nil {
		return err
	}
	expires, err := os.ReadFile(filepath.Join(folder, "expires_at")) //nolint:gosec // The user chooses the folder.
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
