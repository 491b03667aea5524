// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
)

// pageSize is how many objects a page of a list has. Each object can have half a megabyte.
const pageSize = 50

// newInformer returns an informer like the usual one, which also lists in pages. An informer lists objects
// when the API server does not stream them, which depends on its version and feature gates.
func newInformer(from toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	source := toolscache.ToListerWatcherWithContext(from)
	transform := stripObject
	if _, isMetadata := object.(*metav1.PartialObjectMetadata); isMetadata {
		transform = stripSecret
	}
	return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return listInPages(ctx, source.ListWithContext, options, transform)
		},
		WatchFuncWithContext: source.WatchWithContext,
	}, object, resync, indexers)
}

// listInPages lists all objects, as the API server has them now, and transforms each page before it asks for
// the next one. So the objects of one page only are in memory as the API server sends them. Without pages,
// these would be all objects, however large somebody has made them.
func listInPages(
	ctx context.Context, list func(context.Context, metav1.ListOptions) (runtime.Object, error), options metav1.ListOptions, transform toolscache.TransformFunc,
) (runtime.Object, error) {
	// With any version, such as "0", the API server may send all objects from its cache at once.
	options.ResourceVersion, options.ResourceVersionMatch = "", ""
	options.Limit, options.Continue = pageSize, ""
	all := []runtime.Object{}
	for {
		page, err := list(ctx, options)
		if err != nil {
			return nil, err
		}
		items, err := meta.ExtractList(page)
		if err != nil {
			return nil, fmt.Errorf("read a page of a list: %w", err)
		}
		for _, item := range items {
			if _, err := transform(item); err != nil {
				return nil, err
			}
		}
		all = append(all, items...)
		listed, err := meta.ListAccessor(page)
		if err != nil {
			return nil, fmt.Errorf("read a page of a list: %w", err)
		}
		if options.Continue = listed.GetContinue(); options.Continue != "" {
			continue
		}
		return page, meta.SetList(page, all)
	}
}
