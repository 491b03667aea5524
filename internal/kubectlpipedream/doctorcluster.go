// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// installAdvice tells the user how to install a missing CRD.
const installAdvice = "install the operator, or its CRD, in the version of this plugin"

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// clusterCheck checks that the API server answers.
type clusterCheck struct {
	plugin  *plugin
	cluster *cluster
}

func (c *clusterCheck) run(ctx context.Context) []finding {
	version, err := discovery.ToDiscoveryInterfaceWithContext(c.cluster.kube.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		return []finding{failed("what needs the cluster was not checked", "%s", c.plugin.explain(err))}
	}
	return []finding{ok("the API server answers (Kubernetes %s)", version.GitVersion)}
}

// crdCheck checks that the cluster has the CRD of a kind, with all fields that this plugin knows.
type crdCheck struct {
	plugin  *plugin
	cluster *cluster
	kind    *kind
}

func (c *crdCheck) run(ctx context.Context) []finding {
	name := c.kind.resource.GroupResource().String()
	crd, err := c.cluster.dynamic.Resource(crdResource).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return c.discover(ctx)
	case apierrors.IsNotFound(err):
		return []finding{failed(installAdvice, "%s is not installed", name)}
	case err != nil:
		return []finding{unknown("", "%s", c.plugin.explain(err))}
	}
	served := schemaIn(crd)
	if served == nil {
		return []finding{failed(installAdvice, "%s does not serve %s", name, v1alpha1.SchemeGroupVersion.Version)}
	}
	if missing := c.missingFields(served); len(missing) > 0 {
		return []finding{failed("apply the CRD in the version of this plugin ("+c.plugin.version()+"): an older one drops these fields without a word",
			"%s is of an older version: it has no %s", name, strings.Join(missing, ", "))}
	}
	return []finding{ok("%s serves %s, with all fields that this plugin knows", name, v1alpha1.SchemeGroupVersion.Version)}
}

// discover checks by discovery that the API server knows the kind. It is for users who may not read the CRD.
func (c *crdCheck) discover(ctx context.Context) []finding {
	served, err := discovery.ToDiscoveryInterfaceWithContext(c.cluster.kube.Discovery()).
		ServerResourcesForGroupVersionWithContext(ctx, v1alpha1.SchemeGroupVersion.String())
	switch {
	case apierrors.IsNotFound(err):
		return []finding{failed(installAdvice, "the API server knows no %s", v1alpha1.SchemeGroupVersion)}
	case err != nil:
		return []finding{unknown("", "%s", c.plugin.explain(err))}
	case !slices.ContainsFunc(served.APIResources, func(one metav1.APIResource) bool { return one.Name == c.kind.resource.Resource }):
		return []finding{failed(installAdvice, "the API server knows no %s", c.kind.resource.Resource)}
	}
	return []finding{
		ok("the API server knows %s of %s", c.kind.resource.Resource, v1alpha1.SchemeGroupVersion),
		unknown("", "whether it has all fields: you may not get customresourcedefinitions"),
	}
}

// schemaIn returns the properties in the schema of this plugin's version; nil if the CRD does not serve that
// version.
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

// missingFields returns the fields of spec and status that this plugin knows and the schema does not have.
func (c *crdCheck) missingFields(properties map[string]any) []string {
	missing := missingIn(c.kind.spec, "spec", properties)
	return append(missing, missingIn(c.kind.status, "status", properties)...)
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
