//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// auditPolicy has the API server log each request of the managers when it is answered. The log must show which object an
// Event is about, and what a status says. It never shows the data of a Secret.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Request
  users: ["system:serviceaccount:` + systemNamespace + `:` + managerAccount + `"]
  resources:
  - group: events.k8s.io
    resources: [events]
  - group: pipedream-operator.io
- level: Metadata
  users: ["system:serviceaccount:` + systemNamespace + `:` + managerAccount + `"]
- level: None
`

// auditing writes the audit policy, and returns the flags of the API server that make it write the audit log.
func (s *site) auditing() map[string]string {
	s.Helper()
	policy := filepath.Join(s.folder, "policy.yaml")
	s.auditLog = filepath.Join(s.folder, "audit.log")
	harness.Must(s.T, os.WriteFile(policy, []byte(auditPolicy), 0o600))
	return map[string]string{"audit-policy-file": policy, "audit-log-path": s.auditLog}
}

// request is an entry of the audit log: a request that a manager has made.
type request struct {
	Verb      string    `json:"verb"`
	URI       string    `json:"requestURI"`
	UserAgent string    `json:"userAgent"`
	At        time.Time `json:"requestReceivedTimestamp"`
	Stage     string    `json:"stage"`
	Object    struct {
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Group       string `json:"apiGroup"`
	} `json:"objectRef"`
	Body struct {
		Regarding struct {
			Kind      string `json:"kind"`
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"regarding"`
		Reason string          `json:"reason"`
		Note   string          `json:"note"`
		Status json.RawMessage `json:"status"`
	} `json:"requestObject"`
	Answer struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
}

// version returns the name of the version that has made the request.
func (r *request) version() string {
	version, _, _ := strings.Cut(strings.TrimPrefix(r.UserAgent, "pipedream-operator/"), " ")
	return version
}

func (r *request) String() string {
	what := r.Object.Resource
	if r.Object.Subresource != "" {
		what += "/" + r.Object.Subresource
	}
	text := fmt.Sprintf("%s version %q: %s %s %s/%s, answered %d", r.At.Format("15:04:05.000"), r.version(), r.Verb, what, r.Object.Namespace, r.Object.Name, r.Answer.Code)
	if strings.Contains(r.URI, "dryRun=") {
		text += " (dry run)"
	}
	if r.Body.Reason != "" {
		text += fmt.Sprintf(" (%s %s: %s)", r.Body.Regarding.Name, r.Body.Reason, r.Body.Note)
	}
	if len(r.Body.Status) > 0 {
		text += "\n  the status that it writes: " + string(r.Body.Status)
	}
	return text
}

// isLease tells whether the request is about leader election: the lease, or the Event that says who leads.
func (r *request) isLease() bool {
	return r.Object.Group == "coordination.k8s.io" && r.Object.Resource == "leases" ||
		r.Object.Group == "" && r.Object.Resource == "events" && r.Object.Namespace == systemNamespace
}

// isWatching tells whether the request only follows objects.
func (r *request) isWatching() bool { return r.Verb == "list" || r.Verb == "watch" }

// isDiscovery tells whether the request is about no object: a program that starts asks which kinds there are.
func (r *request) isDiscovery() bool { return r.Object.Resource == "" }

// isForbidden tells whether the RBAC rules do not allow the request.
func (r *request) isForbidden() bool {
	return r.Annotations["authorization.k8s.io/decision"] == "forbid"
}

// requests returns the entries of the audit log from an offset on that are older than a time, and the offset of the
// first one that is not.
func (s *site) requests(offset int64, until time.Time) (found []*request, next int64) {
	s.Helper()
	content, err := os.ReadFile(s.auditLog)
	harness.Must(s.T, err)
	next = offset
	for line := range bytes.Lines(content[offset:]) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // The API server is writing it.
		}
		r := &request{}
		harness.Must(s.T, json.Unmarshal(line, r))
		if r.Stage == "ResponseComplete" && r.Verb != "watch" && r.At.After(until) {
			break
		}
		next += int64(len(line))
		found = append(found, r)
	}
	return found, next
}

// concerns returns the object that a request is about; nil if it is about none of the test's.
func (s *site) concerns(r *request) *object {
	namespace, name, kind := r.Object.Namespace, r.Object.Name, r.Object.Resource
	if kind == "events" {
		namespace, name, kind = r.Body.Regarding.Namespace, r.Body.Regarding.Name, "pipedreamtokens"
	}
	for _, o := range s.objects {
		if o.namespace != namespace {
			continue
		}
		switch kind {
		case "pipedreamtokens":
			if o.name == name {
				return o
			}
		case "secrets":
			if name == o.secretName() || name == o.credentialsName() {
				return o
			}
		}
	}
	return nil
}
