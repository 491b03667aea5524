// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// kind is one of the operator's kinds: how it is called, and how its objects are shown. The commands know a kind by
// this type, by entry, and by the view that inspect shows of its objects.
type kind struct {
	// name is the kind's name in manifests.
	name     string
	resource schema.GroupVersionResource
	// prefixes may stand before the name of an object, in lower case and without the slash.
	prefixes []string
	// spec and status are the types of the fields that this version of the plugin knows.
	spec, status reflect.Type
	// columns are the columns of status. Those of priority 1 are shown with -o wide only.
	columns []metav1.TableColumnDefinition
}

// tokenKind is the kind PipedreamToken.
var tokenKind = &kind{
	name:     "PipedreamToken",
	resource: v1alpha1.SchemeGroupVersion.WithResource("pipedreamtokens"),
	prefixes: []string{
		"pdt", "pipedreamtoken", "pipedreamtokens",
		"pipedreamtoken." + v1alpha1.SchemeGroupVersion.Group, "pipedreamtokens." + v1alpha1.SchemeGroupVersion.Group,
	},
	spec:    reflect.TypeFor[v1alpha1.PipedreamTokenSpec](),
	status:  reflect.TypeFor[v1alpha1.PipedreamTokenStatus](),
	columns: tokenColumns,
}

// ability returns the permission for a verb on the kind's objects.
func (k *kind) ability(verb string) ability {
	return ability{verb: verb, group: k.resource.Group, resource: k.resource.Resource}
}

// namesIn returns the names of objects of this kind among arguments, which may be written as -o name prints them.
// An argument that names no object of this kind is a usage error. Each name is returned once.
func (k *kind) namesIn(arguments []string) ([]string, error) {
	names := make([]string, 0, len(arguments))
	for _, argument := range arguments {
		prefix, name, hasPrefix := strings.Cut(argument, "/")
		switch {
		case !hasPrefix:
			name = argument
		case !slices.Contains(k.prefixes, strings.ToLower(prefix)):
			return nil, usage("%q is no %s: write its name only", argument, k.name)
		}
		if name == "" {
			return nil, usage("%q has no name of a %s", argument, k.name)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// entry is a PipedreamToken: as it was received, and as this version knows it. Commands that are for all kinds use its
// methods and its object, and not its token.
type entry struct {
	object *unstructured.Unstructured
	token  *v1alpha1.PipedreamToken
}

// newEntry reads an object of a kind. It fails when a field is of another type than this version knows.
func newEntry(k *kind, object *unstructured.Unstructured) (entry, error) {
	token := &v1alpha1.PipedreamToken{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, token); err != nil {
		return entry{}, fmt.Errorf("read %s %s: %w", k.name, object.GetName(), err)
	}
	return entry{object: object, token: token}, nil
}

// key tells one object from another of its kind.
func (e entry) key() string { return e.token.Namespace + "/" + e.token.Name }

// fullName is its name as kubectl shows it after it has done something.
func (e entry) fullName() string {
	return "pipedreamtoken." + v1alpha1.SchemeGroupVersion.Group + "/" + e.token.Name
}

// readiness returns whether the object's Secret can be used, as the status says. It is Unknown when the status can't
// be true any more, because no operator updates it.
func (e entry) readiness(now time.Time) metav1.ConditionStatus { return readiness(e.token, now) }

// expiry is the zero time when the object's Secret holds nothing that expires.
func (e entry) expiry() time.Time {
	if expires := e.token.Status.ExpirationTime; expires != nil {
		return expires.Time
	}
	return time.Time{}
}

// cells are the values in the kind's columns.
func (e entry) cells(now time.Time) []any { return tokenCells(e.token, now) }
