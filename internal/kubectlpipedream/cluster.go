// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // What a kubeconfig may ask for.
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// How PipedreamTokens are called in the API.
const (
	kind     = "PipedreamToken"
	resource = "pipedreamtokens"
)

// pageSize bounds how much is listed at once.
const pageSize = 500

// What objects are asked for by.
var (
	tokenResource  = v1alpha1.SchemeGroupVersion.WithResource(resource)
	secretResource = corev1.SchemeGroupVersion.WithResource("secrets")
)

// cluster is the one that the flags name.
type cluster struct {
	kube      kubernetes.Interface
	dynamic   dynamic.Interface
	metadata  metadata.Interface
	namespace string
	// complain tells the user of what was left out.
	complain func(text string)
}

// connect makes the clients. It asks nothing yet.
func (p *plugin) connect() (*cluster, error) {
	config, err := p.config.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	p.isGuess = p.hasNoKubeconfig() && config.Host == clientcmd.ClusterDefaults.Server
	c := &cluster{complain: p.complain}
	if c.namespace, _, err = p.config.ToRawKubeConfigLoader().Namespace(); err != nil {
		return nil, err
	}
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	c.metadata, err = metadata.NewForConfig(config)
	return c, err
}

// entry is a PipedreamToken: as it was received, and as this version knows it.
type entry struct {
	object *unstructured.Unstructured
	token  *v1alpha1.PipedreamToken
}

func newEntry(object *unstructured.Unstructured) (entry, error) {
	token := &v1alpha1.PipedreamToken{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, token); err != nil {
		return entry{}, fmt.Errorf("read PipedreamToken %s: %w", object.GetName(), err)
	}
	return entry{object: object, token: token}, nil
}

// key tells one PipedreamToken from another.
func (e entry) key() string { return e.token.Namespace + "/" + e.token.Name }

// fullName is its name as kubectl shows it after it has done something.
func (e entry) fullName() string {
	return "pipedreamtoken." + v1alpha1.SchemeGroupVersion.Group + "/" + e.token.Name
}

// selection is which PipedreamTokens a command is about.
type selection struct {
	// namespace is empty for all of them.
	namespace string
	// names are those of some; nil for all.
	names    []string
	selector string
}

func (s selection) has(name string) bool {
	return len(s.names) == 0 || slices.Contains(s.names, name)
}

// checkSelector tells whether a selector is malformed, before it is used.
func checkSelector(selector string) error {
	if _, err := labels.Parse(selector); err != nil {
		return usage("--selector: %w", err)
	}
	return nil
}

// where says where was looked.
func (s selection) where() string {
	if s.namespace == "" {
		return "in any namespace"
	}
	return "in namespace " + s.namespace
}

// get returns one PipedreamToken.
func (c *cluster) get(ctx context.Context, namespace, name string) (entry, error) {
	object, err := c.dynamic.Resource(tokenResource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return entry{}, err
	}
	return newEntry(object)
}

// pick returns the PipedreamTokens of a selection. Of those that are named, the ones that
// are not there are errors, and the others are returned nevertheless.
func (c *cluster) pick(ctx context.Context, s selection) (found []entry, err error) {
	if len(s.names) == 0 {
		found, _, err = c.list(ctx, s)
		return found, err
	}
	for _, name := range s.names {
		one, failed := c.get(ctx, s.namespace, name)
		err = errors.Join(err, failed)
		switch {
		case failed == nil:
			found = append(found, one)
		case !apierrors.IsNotFound(failed) || isWithoutCRD(failed):
			return found, err // It is the same for all others.
		}
	}
	return found, err
}

// list lists the PipedreamTokens of a selection, and returns the version of the list,
// from which it can be watched.
func (c *cluster) list(ctx context.Context, s selection) (found []entry, version string, err error) {
	options := s.listOptions()
	options.Limit = pageSize
	for {
		page, err := c.dynamic.Resource(tokenResource).Namespace(s.namespace).List(ctx, options)
		if err != nil {
			return nil, "", err
		}
		for i := range page.Items {
			if !s.has(page.Items[i].GetName()) {
				continue
			}
			one, err := newEntry(&page.Items[i])
			if err != nil {
				c.complain(err.Error())
				continue
			}
			found = append(found, one)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return found, page.GetResourceVersion(), nil
		}
	}
}

func (s selection) listOptions() metav1.ListOptions {
	options := metav1.ListOptions{LabelSelector: s.selector}
	if len(s.names) == 1 {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", s.names[0]).String()
	}
	return options
}

// namesIn returns the names among arguments that may be written as -o name prints
// them.
func namesIn(arguments []string) ([]string, error) {
	names := make([]string, 0, len(arguments))
	for _, argument := range arguments {
		kind, name, hasKind := strings.Cut(argument, "/")
		switch {
		case !hasKind:
			name = argument
		case !slices.Contains(kindNames, strings.ToLower(kind)):
			return nil, usage("%q is no PipedreamToken: write its name only", argument)
		}
		if name == "" {
			return nil, usage("%q has no name of a PipedreamToken", argument)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// kindNames are those that may stand before a name.
var kindNames = []string{
	"pdt", "pipedreamtoken", "pipedreamtokens",
	"pipedreamtoken." + v1alpha1.SchemeGroupVersion.Group, "pipedreamtokens." + v1alpha1.SchemeGroupVersion.Group,
}
