// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// inMemory returns a client of a server that answers each request by a function,
// in a synctest bubble, where the clock runs only while all wait.
func inMemory(t *testing.T, answer func(io.Writer)) *pipedream.Client {
	t.Helper()
	client := newClient(t, "http://api.pipedream.invalid")
	var servers sync.WaitGroup
	t.Cleanup(servers.Wait)
	client.DialWith(func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		servers.Go(func() {
			defer func() { _ = theirs.Close() }()
			request, err := http.ReadRequest(bufio.NewReader(theirs))
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, request.Body)
			answer(theirs)
		})
		return ours, nil
	})
	return client
}

const hour = time.Hour

func TestARequestTakesAtMostTenSeconds(t *testing.T) {
	t.Parallel()
	headers := "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
	tests := map[string]func(io.Writer){
		"no answer": func(io.Writer) { time.Sleep(hour) },
		"half of the headers": func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nX-Slow: ")
			time.Sleep(hour)
		},
		"headers that come drop by drop": func(w io.Writer) {
			_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\n")
			for i := range 3600 {
				_, _ = fmt.Fprintf(w, "X-Slow-%d: 1\r\n", i)
				time.Sleep(time.Second)
			}
		},
		"no body": func(w io.Writer) {
			_, _ = io.WriteString(w, headers)
			time.Sleep(hour)
		},
		"a body that comes drop by drop": func(w io.Writer) {
			_, _ = io.WriteString(w, headers)
			for range 1000 {
				_, _ = io.WriteString(w, "x")
				time.Sleep(time.Second)
			}
		},
		"a hundred interim answers": func(w io.Writer) {
			for range 100 {
				_, _ = io.WriteString(w, "HTTP/1.1 102 Processing\r\n\r\n")
				time.Sleep(time.Second)
			}
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := inMemory(t, answer)
				begin := time.Now()
				_, err := issue(t, client)
				if took := time.Since(begin); took != 10*time.Second {
					t.Errorf("it took %s, want 10s", took)
				}
				want := pipedream.Error{Kind: pipedream.Unavailable, Detail: "no complete answer in time"}
				if diff := cmp.Diff(want, wantError(t, err)); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestARejectionWithAnEndlessBodyTakesAtMostTenSeconds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer string
		want   pipedream.Error
	}{
		"a No": {
			answer: "HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000\r\n\r\n",
			want:   pipedream.Error{Kind: pipedream.CredentialsRejected, StatusCode: http.StatusUnauthorized},
		},
		"another protocol, which nobody has asked for": {
			answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: c4n4ry\r\n\r\n",
			want:   pipedream.Error{Kind: pipedream.RequestRejected, StatusCode: http.StatusSwitchingProtocols},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := inMemory(t, func(w io.Writer) {
					_, _ = io.WriteString(w, test.answer)
					time.Sleep(hour)
				})
				begin := time.Now()
				_, err := issue(t, client)
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("it took %s, want at most 10s", took)
				}
				if diff := cmp.Diff(test.want, wantError(t, err)); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestASlowAnswerIsGoodEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		body := goodAnswer
		client := inMemory(t, func(w io.Writer) {
			time.Sleep(5 * time.Second)
			_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:10])
			time.Sleep(4 * time.Second)
			_, _ = io.WriteString(w, body[10:])
		})
		if _, err := issue(t, client); err != nil {
			t.Error(err)
		}
	})
}

func TestTheCallerCanBeInMoreOfAHurry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := inMemory(t, func(io.Writer) { time.Sleep(hour) })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		verdict, err := client.Verify(ctx, pipedream.NewSensitive(token), trial)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("it took %s, want 3s", took)
		}
		want := pipedream.Error{Kind: pipedream.Unavailable, Detail: "no complete answer in time"}
		if diff := cmp.Diff(want, wantError(t, err)); diff != "" || verdict != pipedream.Inconclusive {
			t.Errorf("the verdict is %s, and the error (-want +got):\n%s", verdict, diff)
		}
	})
}
