// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// managerUser is who the manager is to the API server, and in some cases who is
// measured in its place.
const managerUser = "system:serviceaccount:" + systemNamespace + ":pipedream-operator-manager"

// auditPolicy has the API server log each request of the manager, and nobody else's. A
// watch is logged when it begins.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["` + managerUser + `"]
- level: None
`

// getSecrets is the call that is looked at by name.
const getSecrets = "get secrets"

// auditLog is the API server's log of the manager's requests.
type auditLog struct {
	path   string
	offset int64
	// held are the requests of the managers that hold tokens beside other cases, by the
	// credential that they use.
	held           requests
	heldCredential string
}

// requests are those of a period.
type requests struct {
	// byCall counts them by verb and resource, as in "get secrets", without those about
	// events and leases, which are in apart.
	byCall map[string]int
	apart  int
	// begin is when the first one came, and end when the last one was answered.
	begin, end time.Time
}

// skip forgets what was logged until now.
func (a *auditLog) skip() error {
	_, err := a.take()
	return err
}

// auditEvent is a line of the log.
type auditEvent struct {
	Stage      string    `json:"stage"`
	Verb       string    `json:"verb"`
	RequestURI string    `json:"requestURI"`
	Received   time.Time `json:"requestReceivedTimestamp"`
	Answered   time.Time `json:"stageTimestamp"`
	User       struct {
		Extra map[string][]string `json:"extra"`
	} `json:"user"`
	Object *struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
}

// call returns the verb and the resource; empty for a line that counts nothing.
func (e auditEvent) call() string {
	isWatch := e.Verb == "watch"
	switch {
	case isWatch != (e.Stage == "ResponseStarted"):
		return "" // A watch is counted when it begins, and the others when they have ended.
	case e.Object == nil:
		return e.Verb + " " + strings.SplitN(e.RequestURI, "?", 2)[0]
	case e.Object.Subresource != "":
		return e.Verb + " " + e.Object.Resource + "/" + e.Object.Subresource
	}
	return e.Verb + " " + e.Object.Resource
}

// isApart tells whether the request has to do with the cluster, and not with a token.
func (e auditEvent) isApart() bool {
	if e.Object == nil {
		return true
	}
	return slices.Contains([]string{"events", "leases", "tokenreviews", "subjectaccessreviews"}, e.Object.Resource)
}

// take returns the requests since the last time that it, or skip, was called, without
// those of held managers.
func (a *auditLog) take() (requests, error) {
	var taken requests
	file, err := os.Open(a.path)
	if err != nil {
		return taken, fmt.Errorf("open the audit log: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(a.offset, io.SeekStart); err != nil {
		return taken, fmt.Errorf("read the audit log: %w", err)
	}
	reader := bufio.NewReader(file)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return taken, nil // A line that is not complete yet is for the next time.
		}
		if err != nil {
			return taken, fmt.Errorf("read the audit log: %w", err)
		}
		a.offset += int64(len(line))
		var event auditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return taken, fmt.Errorf("read a line of the audit log: %w", err)
		}
		if slices.Contains(event.User.Extra["authentication.kubernetes.io/credential-id"], a.heldCredential) {
			a.held.count(event)
		} else {
			taken.count(event)
		}
	}
}

func (r *requests) count(event auditEvent) {
	call := event.call()
	if call == "" {
		return
	}
	if event.isApart() {
		r.apart++
		return
	}
	if r.byCall == nil {
		r.byCall = map[string]int{}
	}
	r.byCall[call]++
	if event.Verb == "watch" || event.Verb == "list" {
		return
	}
	if r.begin.IsZero() || event.Received.Before(r.begin) {
		r.begin = event.Received
	}
	if event.Answered.After(r.end) {
		r.end = event.Answered
	}
}

// aboutObjects counts the requests that are made for one object: all but lists and
// watches.
func (r *requests) aboutObjects() (count int) {
	for call, times := range r.byCall {
		if !strings.HasPrefix(call, "list ") && !strings.HasPrefix(call, "watch ") {
			count += times
		}
	}
	return count
}

// writes counts the requests that change something.
func (r *requests) writes() (count int) {
	for call, times := range r.byCall {
		switch verb, _, _ := strings.Cut(call, " "); verb {
		case "create", "update", "patch", "delete", "deletecollection":
			count += times
		}
	}
	return count
}

// took returns the time from the first request to the end of the last.
func (r *requests) took() time.Duration { return r.end.Sub(r.begin) }

// addTo adds the requests by verb and resource to the report, divided by something.
func (r *requests) addTo(report *report, of, per string, divisor float64) {
	for _, call := range slices.Sorted(maps.Keys(r.byCall)) {
		report.add(of, call+" per "+per, float64(r.byCall[call])/divisor, "", nil)
	}
	report.add(of, "events, and other requests apart, per "+per, float64(r.apart)/divisor, "", nil)
}
