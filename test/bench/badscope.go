// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// badScope is a scope that Pipedream does not know.
const badScope = "connect:acounts:read"

// measureBadScope has all PipedreamTokens ask for a scope that Pipedream does not know, and
// then corrects it in all of them.
func (b *bench) measureBadScope(ctx context.Context) error {
	f, err := b.newFleet(ctx, "badscope", rightClientSecret)
	if err != nil {
		return err
	}
	f.scopes = []string{badScope}
	of := fmt.Sprintf("bad scope of %d", b.options.objects)
	m, err := b.measureRefused(ctx, f, of)
	if err != nil {
		return err
	}
	before, err := b.use(ctx, m, f)
	if err != nil {
		return err
	}
	corrected := time.Now()
	if err := f.correctScopes(ctx); err != nil {
		return err
	}
	if err := f.awaitReady(ctx, m); err != nil {
		return err
	}
	allReady := time.Since(corrected)
	used, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return err
	}
	b.report.add(of, "first scopes corrected to the first Ready", f.firstReady.Sub(corrected).Seconds(), "s", atMost(2).soft())
	b.report.add(of, "first scopes corrected to all Ready", allReady.Seconds(), "s", nil)
	b.report.add(of, "exchanges for that, per object, without refused ones", float64(used.exchanges-used.refused)/float64(f.size), "", atMost(1))
	b.report.add(of, "exchanges refused meanwhile", float64(used.refused), "", atMost(3))
	return nil
}

// correctScopes corrects the scopes of all PipedreamTokens.
func (f *fleet) correctScopes(ctx context.Context) error {
	body := fmt.Appendf(nil, `{"spec":{"scopes":[%q]}}`, goodScope)
	return inParallel(f.size, func(i int) error {
		token := &v1alpha1.PipedreamToken{ObjectMeta: f.metadata(i)}
		return f.admin.Patch(ctx, token, client.RawPatch(types.MergePatchType, body))
	})
}
