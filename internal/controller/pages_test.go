// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// server answers lists as an API server does.
type server struct {
	size int
	// pages are the pages that were sent.
	pages []*v1alpha1.PipedreamTokenList
	// failAt is the page at which it fails; 0 for none.
	failAt int
}

var errExpired = errors.New("the continue token is too old")

func (s *server) list(_ context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if options.ResourceVersion != "" || options.Limit == 0 {
		return nil, fmt.Errorf("this would be all objects at once: %+v", options)
	}
	for i, page := range s.pages {
		for j := range page.Items {
			if len(page.Items[j].Annotations) > 0 {
				return nil, fmt.Errorf("page %d is still in memory as it was sent", i)
			}
		}
	}
	if s.failAt > 0 && len(s.pages) == s.failAt {
		return nil, errExpired
	}
	from, _ := strconv.Atoi(options.Continue)
	page := &v1alpha1.PipedreamTokenList{ListMeta: metav1.ListMeta{ResourceVersion: "42"}}
	for i := from; i < min(s.size, from+int(options.Limit)); i++ {
		page.Items = append(page.Items, v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: strconv.Itoa(i), Annotations: map[string]string{"example.com/junk": strings.Repeat("x", 1000)},
		}})
	}
	if next := from + len(page.Items); next < s.size {
		page.Continue = strconv.Itoa(next)
		page.RemainingItemCount = new(int64(s.size - next))
	}
	s.pages = append(s.pages, page)
	return page, nil
}

func TestAListComesInPages(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, pageSize - 1, pageSize, pageSize + 1, 10*pageSize + 7} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			t.Parallel()
			s := &server{size: size}
			listed, err := listInPages(t.Context(), s.list, metav1.ListOptions{ResourceVersion: "0", Limit: 500}, stripObject)
			if err != nil {
				t.Fatal(err)
			}
			list := listed.(*v1alpha1.PipedreamTokenList)
			if len(list.Items) != size || list.Continue != "" || list.ResourceVersion != "42" {
				t.Errorf("it lists %d objects of version %q, and continues at %q", len(list.Items), list.ResourceVersion, list.Continue)
			}
			for i := range list.Items {
				if list.Items[i].Name != strconv.Itoa(i) || len(list.Items[i].Annotations) > 0 {
					t.Errorf("object %d is %+v", i, list.Items[i].ObjectMeta)
				}
			}
		})
	}
}

func TestAListThatFailsOnTheWayIsNone(t *testing.T) {
	t.Parallel()
	s := &server{size: 3 * pageSize, failAt: 2}
	if listed, err := listInPages(t.Context(), s.list, metav1.ListOptions{}, stripObject); !errors.Is(err, errExpired) || listed != nil {
		t.Errorf("it lists %v (%v)", listed, err)
	}
}

// TestAnInformerListsInPages runs an informer on a server that can't stream.
func TestAnInformerListsInPages(t *testing.T) {
	t.Parallel()
	s := &server{size: 3*pageSize + 1}
	informer := CacheOptions().NewInformer(&toolscache.ListWatch{
		ListWithContextFunc: s.list,
		WatchFuncWithContext: func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
			if options.SendInitialEvents != nil {
				return nil, errors.New("streaming is not supported")
			}
			return watch.NewFake(), nil
		},
	}, &v1alpha1.PipedreamToken{}, 0, toolscache.Indexers{})
	if err := informer.SetTransform(CacheOptions().DefaultTransform); err != nil {
		t.Fatal(err)
	}
	go informer.RunWithContext(t.Context())
	if !toolscache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer has not listed")
	}
	if got := len(informer.GetStore().ListKeys()); got != s.size || len(s.pages) != 4 {
		t.Errorf("the informer has %d objects from %d pages", got, len(s.pages))
	}
}
