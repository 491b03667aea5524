// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// installAdvice says how to get a CRD.
const installAdvice = "install the operator, or its CRD, in the version of this plugin"

// everywhere is how a namespace is called that is all of them.
const everywhere = "all namespaces"

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

func (e *examination) checkCluster(ctx context.Context) []finding {
	version, err := discovery.ToDiscoveryInterfaceWithContext(e.kube.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		return []finding{failed("what needs the cluster was not checked", "%s", e.explain(err))}
	}
	return []finding{ok("the API server answers (Kubernetes %s)", version.GitVersion)}
}

func (e *examination) checkCRD(ctx context.Context) []finding {
	name := resource + "." + v1alpha1.SchemeGroupVersion.Group
	crd, err := e.dynamic.Resource(crdResource).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return e.discoverCRD(ctx)
	case apierrors.IsNotFound(err):
		return []finding{failed(installAdvice, "%s is not installed", name)}
	case err != nil:
		return []finding{unknown("", "%s", e.explain(err))}
	}
	served := schemaIn(crd)
	if served == nil {
		return []finding{failed(installAdvice, "%s does not serve %s", name, v1alpha1.SchemeGroupVersion.Version)}
	}
	if missing := missingFields(served); len(missing) > 0 {
		return []finding{failed("apply the CRD in the version of this plugin ("+e.version()+"): an older one drops these fields without a word",
			"%s is of an older version: it has no %s", name, strings.Join(missing, ", "))}
	}
	return []finding{ok("%s serves %s, with all fields that this plugin knows", name, v1alpha1.SchemeGroupVersion.Version)}
}

// discoverCRD is for those who may not read the CRD.
func (e *examination) discoverCRD(ctx context.Context) []finding {
	served, err := discovery.ToDiscoveryInterfaceWithContext(e.kube.Discovery()).
		ServerResourcesForGroupVersionWithContext(ctx, v1alpha1.SchemeGroupVersion.String())
	switch {
	case apierrors.IsNotFound(err):
		return []finding{failed(installAdvice, "the API server knows no %s", v1alpha1.SchemeGroupVersion)}
	case err != nil:
		return []finding{unknown("", "%s", e.explain(err))}
	case !slices.ContainsFunc(served.APIResources, func(one metav1.APIResource) bool { return one.Name == resource }):
		return []finding{failed(installAdvice, "the API server knows no %s", resource)}
	}
	return []finding{
		ok("the API server knows %s of %s", resource, v1alpha1.SchemeGroupVersion),
		unknown("", "whether it has all fields: you may not get customresourcedefinitions"),
	}
}

// schemaIn returns the properties of the served version; nil if there is none.
func schemaIn(crd *unstructured.Unstructured) map[string]any {
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, one := range versions {
		version, _ := one.(map[string]any)
		if version["name"] == v1alpha1.SchemeGroupVersion.Version && version["served"] == true {
			properties, _, _ := unstructured.NestedMap(version, "schema", "openAPIV3Schema", "properties")
			return properties
		}
	}
	return nil
}

// missingFields returns the fields of spec and status that a schema does not have.
func missingFields(properties map[string]any) []string {
	missing := missingIn(reflect.TypeFor[v1alpha1.PipedreamTokenSpec](), "spec", properties)
	return append(missing, missingIn(reflect.TypeFor[v1alpha1.PipedreamTokenStatus](), "status", properties)...)
}

func missingIn(kind reflect.Type, path string, properties map[string]any) []string {
	name := path[strings.LastIndex(path, ".")+1:]
	property, _ := properties[name].(map[string]any)
	if property == nil {
		return []string{path}
	}
	if kind.Kind() != reflect.Struct {
		return nil // A value, a list or a map.
	}
	inner, _ := property["properties"].(map[string]any)
	var missing []string
	for field := range kind.Fields() {
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		missing = append(missing, missingIn(field.Type, path+"."+tag, inner)...)
	}
	return missing
}

// ability is something that a command needs.
type ability struct {
	verb, group, resource, subresource string
}

func (a ability) attributes(namespace string) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{
		Namespace: namespace, Verb: a.verb, Group: a.group, Resource: a.resource, Subresource: a.subresource,
	}
}

func (a ability) String() string {
	if a.subresource != "" {
		return a.verb + " " + a.resource + "/" + a.subresource
	}
	return a.verb + " " + a.resource
}

// userAbilities are what the commands need, besides the one to list.
var userAbilities = []struct {
	ability
	use string
}{
	{ability{verb: "watch", group: tokenResource.Group, resource: resource}, "`kubectl pipedream status --watch` needs it"},
	{ability{verb: "patch", group: tokenResource.Group, resource: resource}, "`kubectl pipedream renew` needs it"},
	{ability{verb: "get", resource: "secrets"}, "`kubectl pipedream verify` needs it, and `inspect` for the claims of the token"},
}

// checkUser looks at what the one who calls may do. Only not to be allowed to look is a
// failure.
func (e *examination) checkUser(ctx context.Context) []finding {
	list := ability{verb: "list", group: tokenResource.Group, resource: resource}
	namespace := ""
	for _, namespace = range e.candidates() {
		may, err := e.mayI(ctx, list, namespace)
		if err != nil {
			return []finding{unknown("", "%s", e.explain(err))}
		}
		if e.mayList = may; may {
			break
		}
	}
	e.picked.namespace = namespace
	if !e.mayList {
		return []finding{failed("ask an administrator for the role view there, or name another namespace with --namespace",
			"you may not list %s in %s", resource, nameOf(namespace))}
	}
	findings := []finding{ok("you may list %s in %s", resource, nameOf(namespace))}
	for _, one := range userAbilities {
		may, err := e.mayI(ctx, one.ability, namespace)
		if err != nil || !may {
			findings = append(findings, warning(one.use, "you may not %s in %s", one.ability, nameOf(namespace)))
		}
	}
	return findings
}

// candidates returns the namespaces to look at, "" for all of them: without flags that
// of the context, where one may not look at all.
func (e *examination) candidates() []string {
	switch {
	case e.options.allNamespaces:
		return []string{""}
	case *e.config.Namespace != "":
		return []string{*e.config.Namespace}
	}
	return []string{"", e.namespace}
}

func nameOf(namespace string) string {
	if namespace == "" {
		return everywhere
	}
	return "namespace " + namespace
}

func (e *examination) mayI(ctx context.Context, wanted ability, namespace string) (bool, error) {
	answer, err := e.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: wanted.attributes(namespace)},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask what you may do: %w", err)
	}
	return answer.Status.Allowed, nil
}

// maxNamed bounds how many tokens are named.
const maxNamed = 5

// checkTokens looks at which PipedreamTokens are not Ready, or will not stay so.
func (e *examination) checkTokens(ctx context.Context) []finding {
	if !e.mayList {
		return nil
	}
	found, _, err := e.list(ctx, e.picked)
	if err != nil {
		return []finding{unknown("", "%s", e.explain(err))}
	}
	sortByExpiry(found)
	var bad []finding
	for _, one := range found {
		if finding := e.checkToken(one); finding.state != stateOK {
			bad = append(bad, finding)
		}
	}
	summary := ok("%d of %d in %s are Ready, and renewed when they are due", len(found)-len(bad), len(found), nameOf(e.picked.namespace))
	if len(bad) == 0 {
		return []finding{summary}
	}
	// What has failed is said before what will fail.
	slices.SortStableFunc(bad, func(a, b finding) int { return strings.Compare(string(a.state), string(b.state)) })
	summary.state = bad[0].state
	if more := len(bad) - maxNamed; more > 0 {
		rest := finding{state: bad[maxNamed].state, what: fmt.Sprintf("and %d more", more), advice: "`kubectl pipedream status` shows all"}
		bad = append(bad[:maxNamed], rest)
	}
	return append([]finding{summary}, bad...)
}

func (e *examination) checkToken(one entry) finding {
	advice := "kubectl pipedream inspect " + one.token.Name + " --namespace " + one.token.Namespace
	renewed := condition(one.token, v1alpha1.ConditionRenewed)
	switch readiness(one.token, e.now()) {
	case metav1.ConditionFalse:
		return failed(advice, "%s is not Ready: %s", one.key(), renewed.Reason)
	case metav1.ConditionUnknown:
		if !isOutdated(one.token, e.now()) {
			return warning(advice, "the operator has not said yet whether %s is Ready", one.key())
		}
		return failed(advice, "%s is not known to be Ready: nobody keeps its status, which says that it expired %s", one.key(), moment(one.token.Status.ExpirationTime, e.now()))
	case metav1.ConditionTrue:
	}
	if renewed.Status == metav1.ConditionFalse {
		return warning(advice, "%s is Ready, and the last attempt to renew it has failed: %s", one.key(), renewed.Reason)
	}
	return ok("")
}
