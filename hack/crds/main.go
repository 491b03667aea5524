// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command crds compares the CRDs of the working tree with the CRDs of the commit in hack/release/previous. It fails when a
// change can refuse an object that was accepted before, or removes something, and exemptions.yaml does not list the change.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/crdify/pkg/config"
	"sigs.k8s.io/crdify/pkg/runner"
	"sigs.k8s.io/crdify/pkg/validations"
	"sigs.k8s.io/crdify/pkg/validators/version"
	"sigs.k8s.io/yaml"
)

// folder is where the CRDs are, below the root of the repository.
const folder = "config/crd/bases"

// A finding is a change of a CRD that may break somebody.
type finding struct {
	// CRD is the name of the CRD.
	CRD string `json:"crd"`
	// Property is the version and the path of the changed property, or empty for the whole CRD.
	Property string `json:"property,omitempty"`
	// Check is the name of the check that the change has failed, such as "required".
	Check string `json:"check"`
	// Change is a digest of the property before and after the change, so that an exemption is for this change only.
	Change string `json:"change"`

	// message says what has changed.
	message string
}

// An exemption is a finding that a reviewer has accepted.
type exemption struct {
	finding `json:",inline"`
	// Reason says why the change breaks nobody, or why it is worth it.
	Reason string `json:"reason"`
}

func main() {
	root := flag.String("root", "../..", "The root of the repository.")
	commit := flag.String("commit", "", "The commit to compare with, instead of the one in hack/release/previous.")
	flag.Parse()
	if err := run(context.Background(), *root, *commit, os.Stdout); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "crds: %v\n", err)
		os.Exit(1)
	}
}

// run compares the CRDs of a commit with the CRDs of the working tree.
func run(ctx context.Context, root, commit string, out io.Writer) error {
	if commit == "" {
		content, err := os.ReadFile(filepath.Clean(filepath.Join(root, "hack", "release", "previous")))
		if err != nil {
			return fmt.Errorf("read which commit to compare with: %w", err)
		}
		commit = strings.TrimSpace(string(content))
	}
	before, err := committed(ctx, root, commit)
	if err != nil {
		return err
	}
	after, err := inTree(root)
	if err != nil {
		return err
	}
	accepted, err := exemptions(filepath.Join(root, "hack", "crds", "exemptions.yaml"))
	if err != nil {
		return err
	}
	found, err := compare(before, after)
	if err != nil {
		return err
	}
	if err := evaluate(found, accepted); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "crds: %d CRDs of %.12s compared with %d in this tree: %d accepted changes, no other that may break somebody\n",
		len(before), commit, len(after), len(accepted))
	return err
}

// git runs git in the repository, and returns its output.
func git(ctx context.Context, root string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", append([]string{"-C", root}, arguments...)...) //nolint:gosec // No shell reads the arguments.
	output, err := command.Output()
	if failed := (&exec.ExitError{}); errors.As(err, &failed) {
		return "", fmt.Errorf("git %s: %s", arguments[0], strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w", arguments[0], err)
	}
	return string(output), nil
}

// committed returns the CRDs of a commit, by name.
func committed(ctx context.Context, root, commit string) (map[string]*apiextensionsv1.CustomResourceDefinition, error) {
	list, err := git(ctx, root, "ls-tree", "--name-only", commit, folder+"/")
	if err != nil {
		return nil, fmt.Errorf("list the CRDs of the commit to compare with (a shallow clone does not have it): %w", err)
	}
	crds := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for file := range strings.FieldsSeq(list) {
		content, err := git(ctx, root, "show", commit+":"+file)
		if err != nil {
			return nil, err
		}
		if err := add(crds, path.Base(file), []byte(content)); err != nil {
			return nil, err
		}
	}
	if len(crds) == 0 {
		return nil, fmt.Errorf("the commit %s has no CRD in %s", commit, folder)
	}
	return crds, nil
}

// inTree returns the CRDs of the working tree, by name.
func inTree(root string) (map[string]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("list the CRDs: %w", err)
	}
	crds := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return nil, fmt.Errorf("read a CRD: %w", err)
		}
		if err := add(crds, filepath.Base(file), content); err != nil {
			return nil, err
		}
	}
	return crds, nil
}

// add decodes a CRD, and adds it to the others.
func add(crds map[string]*apiextensionsv1.CustomResourceDefinition, file string, content []byte) error {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(content, crd); err != nil {
		return fmt.Errorf("decode %s: %w", file, err)
	}
	for _, v := range crd.Spec.Versions {
		validations.SchemaHas(v.Schema.OpenAPIV3Schema, field.NewPath(""), field.NewPath(""), nil, withoutMessages)
	}
	crds[crd.Name] = crd
	return nil
}

// withoutMessages removes the messages of validation rules. Like descriptions, they change nothing of what is accepted.
func withoutMessages(schema *apiextensionsv1.JSONSchemaProps, _, _ *field.Path, _ []*apiextensionsv1.JSONSchemaProps) bool {
	for i := range schema.XValidations {
		schema.XValidations[i].Message, schema.XValidations[i].MessageExpression = "", ""
	}
	return false
}

// exemptions reads the accepted changes.
func exemptions(file string) ([]exemption, error) {
	content, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("read the exemptions: %w", err)
	}
	var list []exemption
	if err := yaml.UnmarshalStrict(content, &list); err != nil {
		return nil, fmt.Errorf("decode the exemptions: %w", err)
	}
	for _, accepted := range list {
		if strings.TrimSpace(accepted.Reason) == "" {
			return nil, fmt.Errorf("the exemption for %s has no reason", accepted.finding)
		}
	}
	return list, nil
}

// compare returns the changes that may break somebody.
func compare(before, after map[string]*apiextensionsv1.CustomResourceDefinition) ([]finding, error) {
	// A description changes nothing of what is accepted, and one more value of an enum takes nothing away. All else is an
	// error, also a change that crdify does not know.
	checks, err := runner.New(&config.Config{
		Validations: []config.ValidationConfig{
			{Name: "description", Enforcement: config.EnforcementPolicyNone},
			{Name: "enum", Enforcement: config.EnforcementPolicyError, Configuration: map[string]any{"additionPolicy": "Allow"}},
		},
		UnhandledEnforcement: config.EnforcementPolicyError,
		Conversion:           config.ConversionPolicyNone,
	}, runner.DefaultRegistry())
	if err != nil {
		return nil, fmt.Errorf("prepare the checks: %w", err)
	}
	var found []finding
	for name, old := range before {
		current := after[name]
		if current == nil {
			found = append(found, finding{CRD: name, Check: "removed", Change: digest(old.Spec, nil), message: "the CRD is not there any more"})
			continue
		}
		found = append(found, notServed(old, current)...)
		results := checks.Run(old, current)
		for _, result := range results.CRDValidation {
			found = append(found, findings(finding{CRD: name, Change: digest(old.Spec, current.Spec)}, result)...)
		}
		for _, result := range slices.Concat(results.SameVersionValidation, results.ServedVersionValidation) {
			found = append(found, inVersion(old, current, result)...)
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return strings.Compare(a.String(), b.String()) })
	return found, nil
}

// notServed returns the versions that are not served any more. crdify knows only versions that are stored.
func notServed(old, current *apiextensionsv1.CustomResourceDefinition) []finding {
	var found []finding
	for _, v := range old.Spec.Versions {
		if now := validations.GetCRDVersionByName(current, v.Name); v.Served && (now == nil || !now.Served) {
			found = append(found, finding{
				CRD: old.Name, Property: v.Name, Check: "served", Change: digest(v.Served, nil),
				message: "the API server does not serve the version " + v.Name + " any more",
			})
		}
	}
	return found
}

// inVersion returns the changes of properties of a version, or of a pair of versions.
func inVersion(old, current *apiextensionsv1.CustomResourceDefinition, result version.VersionedPropertyComparisonResult) []finding {
	var found []finding
	from, to, isPair := strings.Cut(result.Version, " -> ")
	if !isPair {
		to = from
	}
	before, after := properties(old, from), properties(current, to)
	for _, property := range result.PropertyComparisons {
		change := digest(before[property.Property], after[property.Property])
		for _, compared := range property.ComparisonResults {
			found = append(found, findings(finding{CRD: old.Name, Property: result.Version + " " + property.Property, Change: change}, compared)...)
		}
	}
	return found
}

// properties returns the schemas of all properties of a version, without the properties inside of them.
func properties(crd *apiextensionsv1.CustomResourceDefinition, name string) map[string]*apiextensionsv1.JSONSchemaProps {
	schema := validations.GetCRDVersionByName(crd, name)
	if schema == nil || schema.Schema == nil {
		return nil
	}
	flat := validations.FlattenCRDVersion(*schema)
	for property, schema := range flat {
		schema = validations.DropChildrenPropertiesFromJSONSchema(schema)
		schema.Description = ""
		flat[property] = schema
	}
	return flat
}

// findings returns one finding for a check that found something.
func findings(where finding, result validations.ComparisonResult) []finding {
	if len(result.Errors) == 0 {
		return nil
	}
	where.Check, where.message = result.Name, strings.Join(result.Errors, "\n")
	return []finding{where}
}

// digest returns a short digest of two values.
func digest(before, after any) string {
	content, err := json.Marshal([]any{before, after})
	if err != nil {
		panic(err) // The values come from JSON.
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:6])
}

// String names the finding.
func (f finding) String() string {
	return strings.Join([]string{f.CRD, f.Property, f.Check, f.Change}, " | ")
}

// evaluate returns an error for each change that is not accepted, and for each exemption that nothing needs.
func evaluate(found []finding, accepted []exemption) error {
	var problems []error
	for _, change := range found {
		if !slices.ContainsFunc(accepted, func(e exemption) bool { return e.String() == change.String() }) {
			entry, err := yaml.Marshal([]exemption{{finding: change, Reason: "why this change breaks nobody, or why it is worth it"}})
			if err != nil {
				return fmt.Errorf("encode an exemption: %w", err)
			}
			problems = append(problems, fmt.Errorf("a change may break somebody: %s\nUndo it. If a reviewer accepts it, add this to hack/crds/exemptions.yaml:\n%s", change.message, entry))
		}
	}
	for _, e := range accepted {
		if !slices.ContainsFunc(found, func(change finding) bool { return e.String() == change.String() }) {
			problems = append(problems, fmt.Errorf("hack/crds/exemptions.yaml accepts a change that is not there: %s. Remove it", e.finding))
		}
	}
	return errors.Join(problems...)
}
