// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// auditPolicy has the API server log each request of a ServiceAccount, before it is
// answered. The other tests' managers are administrators.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts"]
- level: None
`

// auditLog is the path of the API server's audit log.
var auditLog string

// auditing returns the flags that make the API server write the audit log.
func auditing() (flags map[string]string, remove func(), err error) {
	folder, err := os.MkdirTemp("", "pipedream-audit-")
	if err != nil {
		return nil, nil, err
	}
	policy := filepath.Join(folder, "policy.yaml")
	auditLog = filepath.Join(folder, "audit.log")
	return map[string]string{"audit-policy-file": policy, "audit-log-path": auditLog},
		func() { _ = os.RemoveAll(folder) },
		os.WriteFile(policy, []byte(auditPolicy), 0o600)
}

// permission is what RBAC decides about.
type permission struct{ namespace, group, resource, verb string }

func (p permission) String() string {
	return fmt.Sprintf("%s %s.%s in %q", p.verb, p.resource, p.group, p.namespace)
}

// audited returns the permissions that a user has made use of, and those that were
// denied. A request in a namespace is there with its namespace.
func audited(t *testing.T, user string) (used, denied map[permission]int) {
	t.Helper()
	used, denied = map[permission]int{}, map[permission]int{}
	counted := map[string]bool{}
	content, err := os.ReadFile(auditLog)
	harness.Must(t, err)
	for line := range bytes.Lines(content) {
		var event struct {
			ID   string `json:"auditID"`
			Verb string `json:"verb"`
			User struct {
				Username string `json:"username"`
			} `json:"user"`
			Object *struct {
				Namespace   string `json:"namespace"`
				APIGroup    string `json:"apiGroup"`
				Resource    string `json:"resource"`
				Subresource string `json:"subresource"`
			} `json:"objectRef"`
			Annotations map[string]string `json:"annotations"`
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // It is being written.
		}
		harness.Must(t, json.Unmarshal(line, &event))
		if event.User.Username != user || event.Object == nil || counted[event.ID] {
			continue
		}
		// A watch is there twice: when it begins and when it ends.
		counted[event.ID] = true
		p := permission{event.Object.Namespace, event.Object.APIGroup, event.Object.Resource, event.Verb}
		if event.Object.Subresource != "" {
			p.resource += "/" + event.Object.Subresource
		}
		if event.Annotations["authorization.k8s.io/decision"] == "allow" {
			used[p]++
		} else {
			denied[p]++
		}
	}
	return used, denied
}
