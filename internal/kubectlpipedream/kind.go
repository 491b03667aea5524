// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// kind describes one of the operator's kinds: its names, its conditions, and the words for what the operator
// does for its objects. The commands know a kind through this type, and its objects through entry.
type kind struct {
	// name is the kind's name in manifests, and short is its short name.
	name, short string
	resource    schema.GroupVersionResource
	// spec and status are the types of the fields that this version of the plugin knows.
	spec, status reflect.Type
	// decode reads the fields that this version of the plugin knows.
	decode func(*unstructured.Unstructured) (subject, error)
	// attempt is the condition with the outcome of the last attempt. health is the condition with what
	// Pipedream says about the content of the Secret.
	attempt, health string
	words           words
}

// words are the words for what the operator does for the objects of a kind.
type words struct {
	// content is what the Secret holds. The verbs after it are in the number of content.
	content, is, has, do, work, expire string
	// pronoun stands for content.
	pronoun string
	// attempt is the noun for one attempt, and attempted the participle.
	attempt, attempted string
	// objects are the objects in the report of doctor.
	objects string
}

// outdated is the message about an object whose status is outdated. It replaces the message of a condition.
func (w words) outdated() string {
	return fmt.Sprintf("The status says that the %s %s good, and by this machine's clock %s %s expired: "+
		"the operator does not run, or one of the clocks is wrong. `kubectl pipedream doctor` looks for both.",
		w.content, w.is, w.pronoun, w.has)
}

// tokenKind is the kind PipedreamToken.
var tokenKind = &kind{
	name:     v1alpha1.KindPipedreamToken,
	short:    "pdt",
	resource: v1alpha1.SchemeGroupVersion.WithResource("pipedreamtokens"),
	spec:     reflect.TypeFor[v1alpha1.PipedreamTokenSpec](),
	status:   reflect.TypeFor[v1alpha1.PipedreamTokenStatus](),
	decode: func(object *unstructured.Unstructured) (subject, error) {
		token := &v1alpha1.PipedreamToken{}
		return tokenSubject{token}, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, token)
	},
	attempt: v1alpha1.ConditionRenewed,
	health:  v1alpha1.ConditionVerified,
	words: words{
		content: "token", is: "is", has: "has", do: "does", work: "works", expire: "expires", pronoun: "it",
		attempt: "renewal", attempted: "renewed", objects: "tokens",
	},
}

// accountKind is the kind PipedreamAccount.
var accountKind = &kind{
	name:     v1alpha1.KindPipedreamAccount,
	short:    "pda",
	resource: v1alpha1.SchemeGroupVersion.WithResource("pipedreamaccounts"),
	spec:     reflect.TypeFor[v1alpha1.PipedreamAccountSpec](),
	status:   reflect.TypeFor[v1alpha1.PipedreamAccountStatus](),
	decode: func(object *unstructured.Unstructured) (subject, error) {
		account := &v1alpha1.PipedreamAccount{}
		return accountSubject{account}, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, account)
	},
	attempt: v1alpha1.ConditionFetched,
	health:  v1alpha1.ConditionHealthy,
	words: words{
		content: "credentials", is: "are", has: "have", do: "do", work: "work", expire: "expire", pronoun: "they",
		attempt: "fetch", attempted: "fetched", objects: "accounts",
	},
}

// allKinds are the kinds that the plugin knows. A name without a prefix is of the first one.
var allKinds = []*kind{tokenKind, accountKind}

// plural returns the name of several objects of the kind, such as PipedreamTokens.
func (k *kind) plural() string { return k.name + "s" }

// ability returns the permission for a verb on the kind's objects.
func (k *kind) ability(verb string) ability {
	return ability{verb: verb, group: k.resource.Group, resource: k.resource.Resource}
}

// names returns the names that an argument may have for the kind, in lower case: the short name, and the names
// that kubectl knows.
func (k *kind) names() []string {
	singular := strings.ToLower(k.name)
	return []string{k.short, singular, k.resource.Resource, singular + "." + k.resource.Group, k.resource.GroupResource().String()}
}

// kindOf returns the kind that one of its names stands for; nil if there is none.
func kindOf(name string) *kind {
	for _, k := range allKinds {
		if slices.Contains(k.names(), strings.ToLower(name)) {
			return k
		}
	}
	return nil
}

// kindsOf returns the kinds that the value of --kind names.
func kindsOf(value string) ([]*kind, error) {
	var kinds []*kind
	for name := range strings.SplitSeq(value, ",") {
		k := kindOf(strings.TrimSpace(name))
		if k == nil {
			return nil, usage("--kind: %q is no kind of the operator; there are %s", name, describeKinds())
		}
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return kinds, nil
}

// describeKinds names all kinds, each with its short name.
func describeKinds() string {
	described := make([]string, 0, len(allKinds))
	for _, k := range allKinds {
		described = append(described, k.short+" ("+k.name+")")
	}
	return strings.Join(described, " and ")
}

// pluralOf names several objects of the kinds, such as "PipedreamTokens or PipedreamAccounts".
func pluralOf(kinds []*kind) string {
	names := make([]string, 0, len(kinds))
	for _, k := range kinds {
		names = append(names, k.plural())
	}
	return strings.Join(names, " or ")
}

// reference is the kind and the name of an object.
type reference struct {
	kind *kind
	name string
}

// referencesIn returns the objects that the arguments name, each once. An argument is a name, or a name of a
// kind, a slash and a name, such as `-o name` prints. A name alone is of the plain kind. An argument that names
// an object of another kind, or no object, is a usage error.
func referencesIn(arguments []string, plain *kind) ([]reference, error) {
	references := make([]reference, 0, len(arguments))
	for _, argument := range arguments {
		one := reference{kind: plain, name: argument}
		if prefix, name, hasPrefix := strings.Cut(argument, "/"); hasPrefix {
			one = reference{kind: kindOf(prefix), name: name}
		}
		switch {
		case one.kind == nil:
			return nil, usage("%q is of no kind of the operator: write NAME, %s", argument, prefixedNames())
		case one.name == "":
			return nil, usage("%q has no name of a %s", argument, one.kind.name)
		case !slices.Contains(references, one):
			references = append(references, one)
		}
	}
	return references, nil
}

// prefixedNames says how an argument names an object of each kind.
func prefixedNames() string {
	forms := make([]string, 0, len(allKinds))
	for _, k := range allKinds {
		forms = append(forms, k.short+"/NAME")
	}
	return strings.Join(forms, " or ")
}
