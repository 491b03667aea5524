// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rules_test compiles all CEL rules of the CRDs and the policies as an API server of the oldest supported
// Kubernetes does, with the API server's own libraries.
package rules_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/util/yaml"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/apiserver/pkg/util/compatibility"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// oldest returns the oldest Kubernetes on which the chart can be installed, such as 1.32.
func oldest(t *testing.T) string {
	t.Helper()
	chart := harness.MustRead(t, "charts", "pipedream-operator", "Chart.yaml")
	found := regexp.MustCompile(`(?m)^kubeVersion: ">=(1\.\d+)\.0-0"$`).FindSubmatch(chart)
	if found == nil {
		t.Fatal(`Chart.yaml has no kubeVersion of the form ">=1.32.0-0"`)
	}
	return string(found[1])
}

// as makes the API server's libraries behave like those of a minor version of Kubernetes until the test ends. The
// libraries read the version from a global variable.
func as(t *testing.T, kubernetes string) {
	t.Helper()
	emulated := version.MustParseMajorMinor(kubernetes)
	global, ok := compatibility.DefaultComponentGlobalsRegistry.EffectiveVersionFor(basecompatibility.DefaultKubeComponent).(basecompatibility.MutableEffectiveVersion)
	if !ok {
		t.Fatal("the version of the API server's libraries cannot be set")
	}
	before, compatible := global.EmulationVersion(), global.MinCompatibilityVersion()
	t.Cleanup(func() {
		global.SetEmulationVersion(before)
		global.SetMinCompatibilityVersion(compatible)
	})
	global.SetEmulationVersion(emulated)
	// An API server accepts new rules only if the minor version before it can compile them. A rollback by one minor
	// version is then possible.
	global.SetMinCompatibilityVersion(emulated.SubtractMinor(1))
	if got, want := environment.DefaultCompatibilityVersion(), emulated.SubtractMinor(1); !got.EqualTo(want) {
		t.Fatalf("new rules are compiled with the features of Kubernetes %s, want %s", got, want)
	}
}

// documents returns the YAML documents in all files that a pattern matches. They are converted to JSON, and sorted by
// kind.
func documents(t *testing.T, pattern ...string) map[string][][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(append([]string{harness.Root()}, pattern...)...))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files: %v", filepath.Join(pattern...), err)
	}
	found := map[string][][]byte{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content))); ; {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			object, err := yaml.ToJSON(document)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			var kind metav1.TypeMeta
			if err := json.Unmarshal(object, &kind); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			found[kind.Kind] = append(found[kind.Kind], object)
		}
	}
	return found
}

func decode[T any](t *testing.T, object []byte) *T {
	t.Helper()
	decoded := new(T)
	if err := json.Unmarshal(object, decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

// definitions returns all CRDs in config/crd/bases.
func definitions(t *testing.T) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var all []*apiextensionsv1.CustomResourceDefinition
	for kind, objects := range documents(t, "config", "crd", "bases", "*.yaml") {
		if kind != "CustomResourceDefinition" {
			t.Fatalf("config/crd/bases has a %s", kind)
		}
		for _, object := range objects {
			all = append(all, decode[apiextensionsv1.CustomResourceDefinition](t, object))
		}
	}
	return all
}

// policies returns all ValidatingAdmissionPolicies in config/policy.
func policies(t *testing.T) []*admissionv1.ValidatingAdmissionPolicy {
	t.Helper()
	var all []*admissionv1.ValidatingAdmissionPolicy
	for kind, objects := range documents(t, "config", "policy", "*.yaml") {
		switch kind {
		case "ValidatingAdmissionPolicy":
			for _, object := range objects {
				all = append(all, decode[admissionv1.ValidatingAdmissionPolicy](t, object))
			}
		case "ValidatingAdmissionPolicyBinding", "Kustomization": // These kinds have no rules.
		default:
			t.Fatalf("config/policy has a %s, whose rules no test compiles", kind)
		}
	}
	return all
}

// create compiles each rule of a CRD and estimates its cost, as an API server does before it stores a new CRD. It
// returns the reasons for which the API server would refuse the CRD.
func create(t *testing.T, definition *apiextensionsv1.CustomResourceDefinition) error {
	t.Helper()
	scheme := runtime.NewScheme()
	install.Install(scheme)
	definition = definition.DeepCopy()
	scheme.Default(definition)
	internal := &apiextensions.CustomResourceDefinition{}
	if err := scheme.Convert(definition, internal, nil); err != nil {
		t.Fatal(err)
	}
	for _, served := range internal.Spec.Versions {
		if served.Storage {
			internal.Status.StoredVersions = []string{served.Name}
		}
	}
	return validation.ValidateCustomResourceDefinition(t.Context(), internal).ToAggregate()
}

// rulesOf counts the CEL rules in a part of a schema.
func rulesOf(props *apiextensionsv1.JSONSchemaProps) int {
	if props == nil {
		return 0
	}
	count := len(props.XValidations)
	for _, property := range props.Properties {
		count += rulesOf(&property)
	}
	if props.Items != nil {
		count += rulesOf(props.Items.Schema)
	}
	if props.AdditionalProperties != nil {
		count += rulesOf(props.AdditionalProperties.Schema)
	}
	return count
}

// withRule returns a copy of a CRD whose spec has one more rule.
func withRule(t *testing.T, definition *apiextensionsv1.CustomResourceDefinition, rule string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	definition = definition.DeepCopy()
	root := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	spec, ok := root.Properties["spec"]
	if !ok {
		t.Fatalf("%s has no spec", definition.Name)
	}
	spec.XValidations = append(spec.XValidations, apiextensionsv1.ValidationRule{Rule: rule, Message: "no message"})
	root.Properties["spec"] = spec
	return definition
}

func TestTheOldestKubernetesCompilesEveryRuleOfTheCRDs(t *testing.T) {
	as(t, oldest(t))
	for _, definition := range definitions(t) {
		count := 0
		for _, served := range definition.Spec.Versions {
			count += rulesOf(served.Schema.OpenAPIV3Schema)
		}
		t.Logf("%s has %d rules", definition.Name, count)
		if count == 0 {
			t.Errorf("%s has no rules", definition.Name)
		}
		if err := create(t, definition); err != nil {
			t.Errorf("Kubernetes %s refuses %s: %v", oldest(t), definition.Name, err)
		}
	}
}

// TestAnOlderKubernetesDoesNot shows why no older version is supported. If it fails, an older version can be
// supported, too.
func TestAnOlderKubernetesDoesNot(t *testing.T) {
	as(t, version.MustParseMajorMinor(oldest(t)).SubtractMinor(1).String())
	for _, definition := range definitions(t) {
		if create(t, definition) != nil {
			return
		}
	}
	t.Errorf("the Kubernetes before %s compiles all rules, too", oldest(t))
}

// newer holds valid rules that need a newer Kubernetes than the oldest supported one.
var newer = map[string]struct{ rule, since string }{
	// An API server accepts the features of its own minor version only from the next minor version on.
	"a comprehension of two variables, of 1.32": {rule: `[1, 2].all(i, v, i < v)`, since: "1.33"},
	"a semantic version, of 1.33":               {rule: `isSemver('1.0.0')`, since: "1.34"},
	"a list's distinct elements, of 1.34":       {rule: `['a', 'b'].distinct() == ['a', 'b']`, since: "1.35"},
}

func TestARuleOfACRDThatNeedsANewerKubernetesFails(t *testing.T) {
	for name, test := range newer {
		t.Run(name, func(t *testing.T) {
			for _, definition := range definitions(t) {
				definition := withRule(t, definition, test.rule)
				as(t, oldest(t))
				if err := create(t, definition); err == nil || !strings.Contains(err.Error(), "compilation failed") {
					t.Errorf("%s with the rule %s: %v; want a failed compilation", definition.Name, test.rule, err)
				}
				as(t, test.since)
				if err := create(t, definition); err != nil {
					t.Errorf("Kubernetes %s, %s with the rule %s: %v", test.since, definition.Name, test.rule, err)
				}
			}
		})
	}
}

func TestARuleThatCostsTooMuchFails(t *testing.T) {
	as(t, oldest(t))
	unbounded := apiextensionsv1.JSONSchemaProps{
		Type:  "array",
		Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "string"}},
	}
	for _, definition := range definitions(t) {
		definition := withRule(t, definition, `!has(self.unbounded) || self.unbounded.all(a, self.unbounded.all(b, a == b))`)
		definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["unbounded"] = unbounded
		if err := create(t, definition); err == nil || !strings.Contains(err.Error(), "estimated rule cost exceeds budget") {
			t.Errorf("%s: %v; want an error about the cost of the rule", definition.Name, err)
		}
	}
}

// schemas resolves the schemas of the operator's kinds.
type schemas map[schema.GroupVersionKind]*spec.Schema

func (s schemas) ResolveSchema(kind schema.GroupVersionKind) (*spec.Schema, error) {
	if found, ok := s[kind]; ok {
		return found, nil
	}
	return nil, fmt.Errorf("%v: %w", kind, resolver.ErrSchemaNotFound)
}

// checker returns the API server's type checker of admission policies. It knows the kinds of config/crd and no
// others.
func checker(t *testing.T) (*validating.TypeChecker, *meta.DefaultRESTMapper) {
	t.Helper()
	known, mapper := schemas{}, meta.NewDefaultRESTMapper(nil)
	for _, definition := range definitions(t) {
		for _, served := range definition.Spec.Versions {
			kind := schema.GroupVersionKind{Group: definition.Spec.Group, Version: served.Name, Kind: definition.Spec.Names.Kind}
			internal := &apiextensions.JSONSchemaProps{}
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(served.Schema.OpenAPIV3Schema, internal, nil); err != nil {
				t.Fatal(err)
			}
			structural, err := structuralschema.NewStructural(internal)
			if err != nil {
				t.Fatal(err)
			}
			known[kind] = structural.ToKubeOpenAPI()
			resource := kind.GroupVersion().WithResource(definition.Spec.Names.Plural)
			mapper.AddSpecific(kind, resource, kind.GroupVersion().WithResource(definition.Spec.Names.Singular), meta.RESTScopeNamespace)
		}
	}
	return &validating.TypeChecker{SchemaResolver: known, RestMapper: mapper}, mapper
}

// typed returns a copy of a policy with explicit API versions instead of "*", because an API server does not check
// types for "*". All kinds of the policy must be in config/crd.
func typed(t *testing.T, policy *admissionv1.ValidatingAdmissionPolicy, mapper meta.RESTMapper) *admissionv1.ValidatingAdmissionPolicy {
	t.Helper()
	policy = policy.DeepCopy()
	for i := range policy.Spec.MatchConstraints.ResourceRules {
		rule := &policy.Spec.MatchConstraints.ResourceRules[i].Rule
		rule.APIVersions = nil
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				plural, _, _ := strings.Cut(resource, "/")
				kinds, err := mapper.KindsFor(schema.GroupVersionResource{Group: group, Resource: plural})
				if err != nil {
					t.Fatalf("%s has a rule for %s in %s, which is not a kind of config/crd: %v", policy.Name, resource, group, err)
				}
				for _, kind := range kinds {
					rule.APIVersions = append(rule.APIVersions, kind.Version)
				}
			}
		}
	}
	return policy
}

// refused compiles each expression of a policy and checks its types, as the API server does before it stores a new
// policy. It returns the number of expressions, and the errors.
func refused(t *testing.T, policy *admissionv1.ValidatingAdmissionPolicy) (count int, _ error) {
	t.Helper()
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		t.Fatal(err)
	}
	var failed []error
	withAuthorizer := plugincel.OptionalVariableDeclarations{HasParams: policy.Spec.ParamKind != nil, HasAuthorizer: true}
	withoutAuthorizer := plugincel.OptionalVariableDeclarations{HasParams: policy.Spec.ParamKind != nil}
	compile := func(expression plugincel.ExpressionAccessor, options plugincel.OptionalVariableDeclarations) {
		count++
		if result := compiler.CompileCELExpression(expression, options, environment.NewExpressions); result.Error != nil {
			failed = append(failed, fmt.Errorf("%s: %w", expression.GetExpression(), result.Error))
		}
	}
	for _, variable := range policy.Spec.Variables {
		count++
		if result := compiler.CompileAndStoreVariable(&validating.Variable{Name: variable.Name, Expression: variable.Expression}, withAuthorizer, environment.NewExpressions); result.Error != nil {
			failed = append(failed, fmt.Errorf("%s: %w", variable.Expression, result.Error))
		}
	}
	for _, condition := range policy.Spec.MatchConditions {
		compile(&matchconditions.MatchCondition{Name: condition.Name, Expression: condition.Expression}, withAuthorizer)
	}
	for _, validation := range policy.Spec.Validations {
		compile(&validating.ValidationCondition{Expression: validation.Expression}, withAuthorizer)
		if validation.MessageExpression != "" {
			compile(&validating.MessageExpressionCondition{MessageExpression: validation.MessageExpression}, withoutAuthorizer)
		}
	}
	for _, annotation := range policy.Spec.AuditAnnotations {
		compile(&validating.AuditAnnotationCondition{Key: annotation.Key, ValueExpression: annotation.ValueExpression}, withAuthorizer)
	}
	checker, mapper := checker(t)
	for _, warning := range checker.Check(typed(t, policy, mapper)) {
		failed = append(failed, fmt.Errorf("%s: %s", warning.FieldRef, warning.Warning))
	}
	return count, errors.Join(failed...)
}

func TestTheOldestKubernetesCompilesEveryRuleOfThePolicies(t *testing.T) {
	as(t, oldest(t))
	all := policies(t)
	if len(all) == 0 {
		t.Fatal("config/policy has no ValidatingAdmissionPolicy")
	}
	for _, policy := range all {
		count, err := refused(t, policy)
		t.Logf("%s has %d expressions", policy.Name, count)
		if err != nil {
			t.Errorf("Kubernetes %s does not compile %s: %v", oldest(t), policy.Name, err)
		}
	}
}

func TestARuleOfAPolicyThatNeedsANewerKubernetesFails(t *testing.T) {
	for name, test := range newer {
		t.Run(name, func(t *testing.T) {
			places := map[string]func(*admissionv1.ValidatingAdmissionPolicySpec){
				"variable": func(spec *admissionv1.ValidatingAdmissionPolicySpec) {
					spec.Variables = append(spec.Variables, admissionv1.Variable{Name: "newer", Expression: test.rule})
				},
				"match condition": func(spec *admissionv1.ValidatingAdmissionPolicySpec) {
					spec.MatchConditions = append(spec.MatchConditions, admissionv1.MatchCondition{Name: "newer", Expression: test.rule})
				},
				"validation": func(spec *admissionv1.ValidatingAdmissionPolicySpec) {
					spec.Validations = append(spec.Validations, admissionv1.Validation{Expression: test.rule})
				},
				"message": func(spec *admissionv1.ValidatingAdmissionPolicySpec) {
					spec.Validations[0].MessageExpression = fmt.Sprintf("string(%s)", test.rule)
				},
				"audit annotation": func(spec *admissionv1.ValidatingAdmissionPolicySpec) {
					spec.AuditAnnotations = append(spec.AuditAnnotations, admissionv1.AuditAnnotation{Key: "newer", ValueExpression: fmt.Sprintf("string(%s)", test.rule)})
				},
			}
			for place, add := range places {
				policy := policies(t)[0]
				add(&policy.Spec)
				as(t, oldest(t))
				if _, err := refused(t, policy); err == nil || !strings.Contains(err.Error(), "compilation failed") {
					t.Errorf("the rule %s as %s: %v; want a failed compilation", test.rule, place, err)
				}
				as(t, test.since)
				if _, err := refused(t, policy); err != nil {
					t.Errorf("Kubernetes %s, the rule %s as %s: %v", test.since, test.rule, place, err)
				}
			}
		})
	}
}

func TestARuleOfAPolicyWithAWrongTypeFails(t *testing.T) {
	as(t, oldest(t))
	for expression, want := range map[string]string{
		"object.spec.scoopes.size() > 0": "undefined field 'scoopes'",
		"object.spec.scopes + 1 == 2":    "no matching overload",
	} {
		policy := policies(t)[0]
		policy.Spec.Validations[0].Expression = expression
		if _, err := refused(t, policy); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", expression, err, want)
		}
	}
}

func TestTheGuideNamesTheOldestKubernetes(t *testing.T) {
	want := fmt.Sprintf("Kubernetes %s or newer", oldest(t))
	if !bytes.Contains(harness.MustRead(t, "docs", "install.md"), []byte(want)) {
		t.Errorf("docs/install.md does not say %q", want)
	}
}
