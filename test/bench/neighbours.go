// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	neighbourSize = 32 << 10
	// updatesPerSecond is how many of the unrelated Secrets are changed in a second.
	updatesPerSecond = 100
	updateTime       = 15 * time.Second
	flushes          = 300
	// flushStep is by how much each of the harmless events is larger than the one before, in units
	// of eight bytes. The events are then from 64 to 207 KiB, and end at ever other places in the
	// buffers that they pass through: otherwise the last bytes of a buffer may never be overwritten.
	flushStep = 61
)

// measureNeighbours has many large Secrets live beside a few PipedreamTokens that they
// have nothing to do with. Half of them were made as by kubectl apply.
func (b *bench) measureNeighbours(ctx context.Context) error {
	f, err := b.newFleet(ctx, "neighbours", rightClientSecret)
	if err != nil {
		return err
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}})
	if err != nil {
		return err
	}
	if err := errors.Join(f.add(ctx, 10), f.awaitReady(ctx, m), b.stopManagers()); err != nil {
		return err
	}
	alone, _, err := b.besideNeighbours(ctx, f, nil)
	if err != nil {
		return err
	}
	b.say("creating %d unrelated Secrets", b.options.neighbours)
	if err := inParallel(b.options.neighbours, func(i int) error { return b.createNeighbour(ctx, f.namespace, i) }); err != nil {
		return err
	}
	listed, updated, err := b.besideNeighbours(ctx, f, b.updateNeighbours)
	if err != nil {
		return err
	}
	of := fmt.Sprintf("neighbours, %d", b.options.neighbours)
	b.report.add(of, "resident memory without them", alone.memory, "MiB", nil)
	b.report.add(of, "more with them, after the start", listed.memory-alone.memory, "MiB", nil)
	b.report.add(of, fmt.Sprintf("more after %v with %d updates a second", updateTime, updatesPerSecond), updated.memory-alone.memory, "MiB", atMost(10).soft())
	b.report.add(of, "more at the peak", updated.peak-alone.peak, "MiB", nil)
	b.report.add(of, "CPU for the updates", updated.cpuPer(updateTime.Seconds()), "thousandths of a core", nil)
	b.report.add(of, "requests about objects", float64(updated.requests.aboutObjects()), "", atMost(0))
	b.report.add(of, "exchanges", float64(updated.exchanges), "", atMost(0))
	return b.searchForNeighbours(ctx, of, f)
}

// besideNeighbours starts a manager, and returns what it has after its start, and then
// what it has used while something happens. It stops it.
func (b *bench) besideNeighbours(ctx context.Context, f *fleet, happens func(context.Context, string) error) (started, used usage, err error) {
	m, err := b.startManager(ctx, managerOptions{namespaces: []string{f.namespace}})
	if err != nil {
		return started, used, err
	}
	if err := harness.Pause(ctx, settling); err != nil {
		return started, used, err
	}
	started, err = b.use(ctx, m, f)
	if err != nil || happens == nil {
		return started, used, errors.Join(err, b.stopManagers())
	}
	if err := happens(ctx, f.namespace); err != nil {
		return started, used, err
	}
	used, err = b.useSince(ctx, m, f, started)
	return started, used, errors.Join(err, b.stopManagers())
}

// mark is in a neighbour's data, again and again. It has 24 bytes, so that its base64
// is the same wherever it begins.
func mark(i int) string { return fmt.Sprintf("%s-%05d-SECRETS;", markStart, i) }

// createNeighbour creates an unrelated Secret. Every other one has the annotation that
// kubectl apply leaves, which holds the data.
func (b *bench) createNeighbour(ctx context.Context, namespace string, i int) error {
	data := map[string][]byte{"blob": []byte(strings.Repeat(mark(i), neighbourSize/len(mark(i))))}
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: neighbourName(i)},
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
	if i%2 == 0 {
		applied, err := json.Marshal(secret)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		secret.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: string(applied)}
	}
	if err := b.admin.Create(ctx, secret); err != nil {
		return fmt.Errorf("create a neighbour: %w", err)
	}
	return nil
}

// updateNeighbours changes the data of one after the other, at a steady rate.
func (b *bench) updateNeighbours(ctx context.Context, namespace string) error {
	tick := time.NewTicker(time.Second / updatesPerSecond)
	defer tick.Stop()
	count := int(updateTime.Seconds() * updatesPerSecond)
	return inParallel(count, func(i int) error {
		<-tick.C
		version := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%d", i))
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: neighbourName(i % b.options.neighbours)}}
		if err := b.admin.Patch(ctx, secret, client.RawPatch(types.MergePatchType, []byte(`{"data":{"version":"`+version+`"}}`))); err != nil {
			return fmt.Errorf("update a neighbour: %w", err)
		}
		return nil
	})
}

// searchForNeighbours looks for the data of neighbours in a manager's memory. What it
// receives passes through its memory; what counts is what it keeps. So its garbage
// collector overwrites what it frees, and runs often; and after the neighbours were
// updated, larger events about a harmless Secret pass through the same buffers.
func (b *bench) searchForNeighbours(ctx context.Context, of string, f *fleet) error {
	m, err := b.startManager(ctx, managerOptions{
		namespaces:  []string{f.namespace},
		environment: []string{"GODEBUG=clobberfree=1", "GOGC=10"},
	})
	if err != nil {
		return err
	}
	if err := errors.Join(b.updateNeighbours(ctx, f.namespace), b.flush(ctx, f.namespace)); err != nil {
		return err
	}
	if _, err := m.awaitQuiet(ctx); err != nil {
		return err
	}
	_ = m.Signal(syscall.SIGSTOP)
	found, err := m.search(b.options.neighbours)
	_ = m.Signal(syscall.SIGCONT)
	if err != nil {
		return err
	}
	if found.names < b.options.neighbours {
		return fmt.Errorf("the search has found %d names of neighbours, and must find all: it proves nothing", found.names)
	}
	b.report.add(of, "names of them found in memory, in a search", float64(found.names), "", nil)
	b.report.add(of, "of how many of them data was found, in the same search", float64(found.holders), "", atMost(0))
	b.report.add(of, "marks of data found, 24 bytes each", float64(found.marks), "", atMost(0))
	return nil
}

// flush has large events about a harmless Secret happen.
func (b *bench) flush(ctx context.Context, namespace string) error {
	harmless := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "harmless"}}
	if err := b.admin.Create(ctx, harmless); err != nil {
		return fmt.Errorf("create a harmless Secret: %w", err)
	}
	for i := range flushes {
		harmless.Annotations = map[string]string{"example.com/filler": strings.Repeat("harmless", 8<<10+i*flushStep)}
		if err := b.admin.Update(ctx, harmless); err != nil {
			return fmt.Errorf("update a harmless Secret: %w", err)
		}
	}
	return nil
}
