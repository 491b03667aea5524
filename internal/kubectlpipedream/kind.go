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

// kind describes one of the operator's kinds: its names, and how the plugin shows its objects. The commands
// use a kind only through this type, through entry, and through the view that inspect shows of an object.
type kind struct {
	// name is the kind's name in manifests.
	name     string
	resource schema.GroupVersionResource
	// prefixes are the texts that an argument may have before the slash and the object's name, in lower case.
	prefixes []string
	// spec and status are the types of the fields that this version of the plugin knows.
	spec, status reflect.Type
	// columns are the columns of status. Columns with priority 1 are shown with -o wide only.
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

// accountKind is the kind PipedreamAccount. Only doctor knows it: the other commands are for PipedreamTokens.
var accountKind = &kind{
	name:     v1alpha1.KindPipedreamAccount,
	resource: v1alpha1.SchemeGroupVersion.WithResource("pipedreamaccounts"),
	spec:     reflect.TypeFor[v1alpha1.PipedreamAccountSpec](),
	status:   reflect.TypeFor[v1alpha1.PipedreamAccountStatus](),
}

// ability returns the permission for a verb on the kind's objects.
func (k *kind) ability(verb string) ability {
	return ability{verb: verb, group: k.resource.Group, resource: k.resource.Resource}
}

// namesIn returns the names of the objects that the arguments name, each name once. An argument may have the
// form that -o name prints. An argument that names an object of another kind, or no object, is a usage error.
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

// entry is a PipedreamToken. object is the PipedreamToken as the API server has sent it, and token has the
// fields that this version of the plugin knows. Code for all kinds uses the methods and object, and not
// token.
type entry struct {
	object *unstructured.Unstructured
	token  *v1alpha1.PipedreamToken
}

// newEntry reads an object of a kind. It returns an error if a field has another type than this version
// expects.
func newEntry(k *kind, object *unstructured.Unstructured) (entry, error) {
	token := &v1alpha1.PipedreamToken{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, token); err != nil {
		return entry{}, fmt.Errorf("read %s %s: %w", k.name, object.GetName(), err)
	}
	return entry{object: object, token: token}, nil
}

// key returns the namespace and the name, which identify an object of its kind.
func (e entry) key() string { return e.token.Namespace + "/" + e.token.Name }

// fullName returns the kind, the group and the name, as kubectl prints them after a change.
func (e entry) fullName() string {
	return "pipedreamtoken." + v1alpha1.SchemeGroupVersion.Group + "/" + e.token.Name
}

// readiness returns the status of the condition Ready. It is Unknown if the status says Ready and the token
// has expired: then no operator updates the status.
func (e entry) readiness(now time.Time) metav1.ConditionStatus { return readiness(e.token, now) }

// expiry returns when the content of the object's Secret expires, or the zero time if the status has no
// expiry.
func (e entry) expiry() time.Time {
	if expires := e.token.Status.ExpirationTime; expires != nil {
		return expires.Time
	}
	return time.Time{}
}

// cells returns the values in the kind's columns.
func (e entry) cells(now time.Time) []any { return tokenCells(e.token, now) }
