// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // The ways to log in that a kubeconfig can name.
	"k8s.io/client-go/tools/clientcmd"
)

// pageSize is the maximum number of objects in one answer to a list request.
const pageSize = 500

var secretResource = corev1.SchemeGroupVersion.WithResource("secrets")

// cluster is the cluster and the namespace that the flags and the kubeconfig select.
type cluster struct {
	kube      kubernetes.Interface
	dynamic   dynamic.Interface
	metadata  metadata.Interface
	namespace string
	// printError tells the user which objects the plugin could not read.
	printError func(text string)
}

// connect makes the clients. It sends no request.
func (p *plugin) connect() (*cluster, error) {
	config, err := p.config.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	p.isGuess = p.hasNoKubeconfig() && config.Host == clientcmd.ClusterDefaults.Server
	c := &cluster{printError: p.printError}
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

// selection says which objects of one kind a command reads.
type selection struct {
	kind *kind
	// namespace is empty for all namespaces.
	namespace string
	// names are the names of the objects; nil for all objects.
	names    []string
	selector string
}

func (s selection) has(name string) bool {
	return len(s.names) == 0 || slices.Contains(s.names, name)
}

// checkSelector returns a usage error if a selector is malformed.
func checkSelector(selector string) error {
	if _, err := labels.Parse(selector); err != nil {
		return usage("--selector: %w", err)
	}
	return nil
}

// where returns the namespaces of the selection in words.
func (s selection) where() string {
	if s.namespace == "" {
		return "in any namespace"
	}
	return "in namespace " + s.namespace
}

// get returns one object of a kind.
func (c *cluster) get(ctx context.Context, k *kind, namespace, name string) (entry, error) {
	object, err := c.dynamic.Resource(k.resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return entry{}, aboutKind(k, err)
	}
	return newEntry(k, object)
}

// pick returns the objects of a selection. If the selection names objects and some of them do not exist, pick
// returns the objects that exist, and an error for each missing object.
func (c *cluster) pick(ctx context.Context, s selection) (found []entry, err error) {
	if len(s.names) == 0 {
		found, _, err = c.list(ctx, s)
		return found, err
	}
	for _, name := range s.names {
		one, failed := c.get(ctx, s.kind, s.namespace, name)
		if isMissing(failed) {
			failed = c.hintAt(ctx, reference{kind: s.kind, name: name}, s.namespace, failed)
		}
		err = errors.Join(err, failed)
		switch {
		case failed == nil:
			found = append(found, one)
		case !isMissing(failed):
			return found, err // The requests for the other names would fail in the same way.
		}
	}
	return found, err
}

// hintAt adds to the error about a missing object that there is an object of this name of another kind, if so.
func (c *cluster) hintAt(ctx context.Context, missing reference, namespace string, err error) error {
	for _, k := range allKinds {
		if k == missing.kind {
			continue
		}
		if other, failed := c.get(ctx, k, namespace, missing.name); failed == nil {
			return &elsewhereError{other: other, cause: err}
		}
	}
	return err
}

// list returns the objects of a selection, and the resource version from which a watch can start.
func (c *cluster) list(ctx context.Context, s selection) (found []entry, version string, err error) {
	options := s.listOptions()
	options.Limit = pageSize
	for {
		page, err := c.dynamic.Resource(s.kind.resource).Namespace(s.namespace).List(ctx, options)
		if err != nil {
			return nil, "", aboutKind(s.kind, err)
		}
		for i := range page.Items {
			if !s.has(page.Items[i].GetName()) {
				continue
			}
			one, err := newEntry(s.kind, &page.Items[i])
			if err != nil {
				c.printError(err.Error())
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
