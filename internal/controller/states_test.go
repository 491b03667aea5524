// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestStates(t *testing.T) {
	t.Parallel()
	var states States[int]
	orders := types.NamespacedName{Namespace: "shop", Name: "orders"}
	if _, ok := states.Of(orders, "1"); ok {
		t.Error("something is known of an object that nobody has put")
	}
	states.Put(orders, "1", 7)
	if state, ok := states.Of(orders, "1"); !ok || state != 7 {
		t.Errorf("the state is %d, %v", state, ok)
	}
	if state, ok := states.Of(orders, "2"); ok || state != 0 {
		t.Errorf("of another object with the same name %d is known", state)
	}
	if state, ok := states.LastOf(orders); !ok || state != 7 || states.Len() != 1 {
		t.Errorf("of %d objects the last state with the name is %d, %v", states.Len(), state, ok)
	}
	states.Forget(orders)
	if _, ok := states.LastOf(orders); ok || states.Len() != 0 {
		t.Error("a forgotten object is known")
	}
}
