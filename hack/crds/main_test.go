// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// crd is a CRD with the places in which the tests change it.
const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.example.com
spec:
  group: example.com
  names: {kind: Thing, listKind: ThingList, plural: things, singular: thing}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: string, enum: [big, small], description: How big it is.}
              name: {type: string, maxLength: 20, pattern: "^[a-z]*$"}
              count: {type: integer, minimum: 0}
              tags: {type: array, items: {type: string}, x-kubernetes-list-type: set}
            x-kubernetes-validations:
            - {rule: "self.size == 'big' || !has(self.count)", message: must be big}
`

// a repository is a folder with a commit in which a CRD is.
type repository struct {
	*testing.T
	root string
}

// newRepository makes a repository, whose commit has the CRD, and whose working tree has another one.
func newRepository(t *testing.T, working string) *repository {
	t.Helper()
	r := &repository{T: t, root: t.TempDir()}
	r.write("config/crd/bases/things.yaml", crd)
	r.git("init", "--quiet")
	r.git("add", ".")
	r.git("-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "--quiet", "--message=before")
	r.write("hack/release/previous", r.git("rev-parse", "HEAD"))
	r.write("hack/crds/exemptions.yaml", "[]\n")
	r.write("config/crd/bases/things.yaml", working)
	return r
}

func (r *repository) git(arguments ...string) string {
	r.Helper()
	output, err := exec.CommandContext(r.Context(), "git", append([]string{"-C", r.root}, arguments...)...).CombinedOutput()
	if err != nil {
		r.Fatalf("git %s: %v: %s", strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

func (r *repository) write(file, content string) {
	r.Helper()
	file = filepath.Join(r.root, file)
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		r.Fatal(err)
	}
}

// check runs the command, and returns its error as a text.
func (r *repository) check() string {
	r.Helper()
	if err := run(r.Context(), r.root, "", &bytes.Buffer{}); err != nil {
		return err.Error()
	}
	return ""
}

func TestABreakingChangeIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, new, want string }{
		"a removed field":              {"              count: {type: integer, minimum: 0}\n", "", "check: existingFieldRemoval"},
		"a field that became required": {"required: [size]", "required: [size, name]", "check: required"},
		"a value that is not allowed":  {"enum: [big, small]", "enum: [big]", "check: enum"},
		"a shorter text":               {"maxLength: 20", "maxLength: 10", "check: maxLength"},
		"another pattern":              {"^[a-z]*$", "^[a-z]+$", "check: pattern"},
		"a greater minimum":            {"minimum: 0", "minimum: 1", "check: minimum"},
		"another type":                 {"type: integer, minimum: 0", "type: string", "check: type"},
		"a default":                    {"maxLength: 20", "maxLength: 20, default: a", "check: default"},
		"another kind of list":         {"list-type: set", "list-type: atomic", "check: unhandled"},
		"another validation rule":      {"!has(self.count)", "!has(self.name)", "check: unhandled"},
		"another scope":                {"scope: Namespaced", "scope: Cluster", "check: scope"},
		"a version that is not served": {"served: true", "served: false", "check: served"},
		"a CRD of another name":        {"name: things.example.com", "name: thing.example.com", "check: removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			working := strings.Replace(crd, test.old, test.new, 1)
			if working == crd {
				t.Fatalf("the CRD has no %q", test.old)
			}
			if got := newRepository(t, working).check(); !strings.Contains(got, test.want) || !strings.Contains(got, "a change may break somebody") {
				t.Errorf("the check says %q, want %q", got, test.want)
			}
		})
	}
}

func TestACompatibleChangeIsAccepted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, new string }{
		"no change":                    {"", ""},
		"another description":          {"How big it is.", "Big or small."},
		"a better message of a rule":   {"must be big", "must be big when a count is set"},
		"a field that may be left out": {"              count:", "              more: {type: string}\n              count:"},
		"one more value":               {"enum: [big, small]", "enum: [big, small, huge]"},
		"a longer text":                {"maxLength: 20", "maxLength: 30"},
		"a field is not required":      {"            required: [size]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			working := strings.Replace(crd, test.old, test.new, 1)
			if working == crd && test.old != "" {
				t.Fatalf("the CRD has no %q", test.old)
			}
			if got := newRepository(t, working).check(); got != "" {
				t.Errorf("the check says %q", got)
			}
		})
	}
}

func TestANewCRDIsAccepted(t *testing.T) {
	t.Parallel()
	r := newRepository(t, crd)
	r.write("config/crd/bases/others.yaml", strings.ReplaceAll(crd, "things", "others"))
	if got := r.check(); got != "" {
		t.Errorf("the check says %q", got)
	}
}

func TestAnExemptionIsForOneChange(t *testing.T) {
	t.Parallel()
	r := newRepository(t, strings.Replace(crd, "maxLength: 20", "maxLength: 10", 1))
	_, entry, ok := strings.Cut(r.check(), "hack/crds/exemptions.yaml:\n")
	if !ok {
		t.Fatalf("the check does not say how to accept the change: %s", r.check())
	}
	r.write("hack/crds/exemptions.yaml", entry)
	if got := r.check(); got != "" {
		t.Errorf("with the exemption, the check says %q", got)
	}
	r.write("config/crd/bases/things.yaml", strings.Replace(crd, "maxLength: 20", "maxLength: 5", 1))
	if got := r.check(); !strings.Contains(got, "a change may break somebody") || !strings.Contains(got, "accepts a change that is not there") {
		t.Errorf("with another change of the same property, the check says %q", got)
	}
	r.write("config/crd/bases/things.yaml", crd)
	if got := r.check(); !strings.Contains(got, "accepts a change that is not there: things.example.com | v1alpha1 ^.spec.name | maxLength") {
		t.Errorf("without the change, the check says %q", got)
	}
	before, _, _ := strings.Cut(entry, "  reason:")
	r.write("hack/crds/exemptions.yaml", before+"  reason: \"\"\n")
	if got := r.check(); !strings.Contains(got, "has no reason") {
		t.Errorf("with an exemption without a reason, the check says %q", got)
	}
}

func TestACommitThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	r := newRepository(t, crd)
	r.write("hack/release/previous", strings.Repeat("0", 40)+"\n")
	if got := r.check(); !strings.Contains(got, "a shallow clone does not have it") {
		t.Errorf("the check says %q", got)
	}
}
