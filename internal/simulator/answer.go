// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// answer is an HTTP response before it is sent.
type answer struct {
	status  int
	headers map[string]string
	body    []byte
}

// jsonAnswer returns an answer with v as JSON. v must be of a type that encoding/json can encode.
func jsonAnswer(status int, v any) answer {
	body, err := json.Marshal(v)
	must(err)
	return answer{
		status:  status,
		headers: map[string]string{"Content-Type": "application/json; charset=utf-8"},
		body:    body,
	}
}

// apiError returns an error of the Connect API.
func apiError(status int, message string) answer {
	return jsonAnswer(status, map[string]string{"error": message})
}

// oauthError returns an error of the OAuth endpoints in the form of RFC 6749.
func oauthError(status int, code, description string) answer {
	a := jsonAnswer(status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
	a.headers["Cache-Control"] = "no-store"
	return a
}

func notFound() answer {
	return apiError(http.StatusNotFound, "record not found")
}

func methodNotAllowed(allowed string) answer {
	a := apiError(http.StatusMethodNotAllowed, "method not allowed, use "+allowed)
	a.headers["Allow"] = allowed
	return a
}

// send writes the answer with the headers, the pause and the cut that the fault asks for.
func (a answer) send(w http.ResponseWriter, r *http.Request, f Fault) {
	if len(a.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	for _, headers := range []map[string]string{a.headers, f.Headers} {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(a.status)
	if f.BodyDelay == 0 && f.Drop != DropMidBody {
		_, _ = w.Write(a.body) // fails only if the client has disconnected
		return
	}
	half := len(a.body) / 2
	_, _ = w.Write(a.body[:half])
	_ = http.NewResponseController(w).Flush()
	if wait(r.Context(), f.BodyDelay) != nil || f.Drop == DropMidBody {
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(a.body[half:])
}

// wait waits for d. It returns earlier with an error if ctx ends, for example because the client has
// disconnected.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
