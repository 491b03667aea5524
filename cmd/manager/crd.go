// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// missingCRDError says that the API server does not serve one of the operator's kinds, and what to do.
type missingCRDError struct {
	// crd is the name of the CRD of the kind.
	crd string
	// served are the other versions of the operator's API group that the API server serves; empty if the
	// CRD is not installed.
	served []string
}

// Error implements error.
func (e *missingCRDError) Error() string {
	group, version := v1alpha1.SchemeGroupVersion.Group, v1alpha1.SchemeGroupVersion.Version
	state := "the CRD " + e.crd + " is not installed"
	if len(e.served) > 0 {
		state = fmt.Sprintf("the CRD %s does not serve the version %s (the API group %s has %s)", e.crd, version, group, strings.Join(e.served, ", "))
	}
	return state + ": install the CRDs of this version of the operator, which are in install.yaml and in the Helm chart of the release, " +
		"or in a clone with `kubectl apply --server-side --kustomize config/crd`"
}

// crdOf returns the name of the CRD that an error is about. It is the one of PipedreamTokens if the error names
// no kind.
func crdOf(err error) string {
	kind := v1alpha1.KindPipedreamToken
	if unknown, ok := errors.AsType[*meta.NoKindMatchError](err); ok {
		kind = unknown.GroupKind.Kind
	}
	return strings.ToLower(kind) + "s." + v1alpha1.SchemeGroupVersion.Group
}

// explainMissingCRD returns a *missingCRDError in place of an error that has come because the API server
// does not serve one of the operator's kinds. It returns any other error as it is.
func explainMissingCRD(err error, config *rest.Config) error {
	if !meta.IsNoMatchError(err) {
		return err
	}
	missing := &missingCRDError{crd: crdOf(err)}
	client, clientErr := discovery.NewDiscoveryClientForConfig(config)
	if clientErr != nil {
		return missing
	}
	groups, groupsErr := client.ServerGroups()
	if groupsErr != nil {
		return missing
	}
	for _, group := range groups.Groups {
		if group.Name != v1alpha1.SchemeGroupVersion.Group {
			continue
		}
		for _, version := range group.Versions {
			missing.served = append(missing.served, version.Version)
		}
	}
	slices.Sort(missing.served)
	if slices.Contains(missing.served, v1alpha1.SchemeGroupVersion.Version) {
		missing.served = nil // It is the version of another CRD of the group.
	}
	return missing
}
