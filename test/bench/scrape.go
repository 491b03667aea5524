// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// scrapes is how often the metrics are read where that is measured, and requested how
	// many renewals are asked for, one after the other, beside it and without it.
	scrapes, requested = 20, 50
	scraperRole        = "bench-scraper"
)

// scraper reads the metrics of a manager.
type scraper struct {
	url, token string
	client     *http.Client
	// took is what each scrape has taken, bytes the size of the last one, and series the
	// lines of it that tell of PipedreamTokens.
	took   []time.Duration
	bytes  int
	series int
}

// newScraper gives the manager's own account the right to read metrics, and uses it.
func (b *bench) newScraper(ctx context.Context, address string) (*scraper, error) {
	for _, arguments := range [][]string{
		{"create", "clusterrole", scraperRole, "--verb=get", "--non-resource-url=/metrics"},
		{"create", "clusterrolebinding", scraperRole, "--clusterrole=" + scraperRole, "--serviceaccount=" + systemNamespace + ":pipedream-operator-manager"},
	} {
		if _, err := b.cluster.Kubectl().Run(ctx, arguments...); err != nil && !strings.Contains(err.Error(), "already exists") {
			return nil, err
		}
	}
	token, err := b.cluster.Token(ctx, systemNamespace, "pipedream-operator-manager")
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // The certificate is self-signed.
	return &scraper{url: "https://" + address + "/metrics", token: token, client: &http.Client{Transport: transport}}, nil
}

// scrape reads the metrics once, compressed, as Prometheus does.
func (s *scraper) scrape(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	began := time.Now()
	response, err := s.client.Do(request) // It asks for gzip by itself.
	if err != nil {
		return fmt.Errorf("scrape: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("scrape: %s: %w", response.Status, err)
	}
	s.took = append(s.took, time.Since(began))
	s.bytes, s.series = len(content), strings.Count(string(content), "\npipedream_token_condition{")+
		strings.Count(string(content), "\npipedream_token_expiration_timestamp_seconds")+strings.Count(string(content), "\npipedream_token_renewal_timestamp_seconds")
	return nil
}

// measureScrape measures what it costs to read the metrics where many tokens are held.
func (b *bench) measureScrape(ctx context.Context) error {
	f, err := b.fleetOf(ctx, b.options.many, true)
	if err != nil {
		return err
	}
	return errors.Join(
		b.measureScrapeOf(ctx, f, fmt.Sprintf("scrape of %d", f.size)),
		b.measureScrapeOf(ctx, f, fmt.Sprintf("scrape of %d without names", f.size), "--per-object-metrics=false"),
	)
}

func (b *bench) measureScrapeOf(ctx context.Context, f *fleet, of string, flags ...string) error {
	address, err := harness.FreeAddress(ctx)
	if err != nil {
		return err
	}
	s, err := b.newScraper(ctx, address)
	if err != nil {
		return err
	}
	m, err := b.startManager(ctx, managerOptions{namespaces: b.namespacesFor(f), metrics: address, flags: flags})
	if err != nil {
		return err
	}
	if _, err := m.awaitQuiet(ctx); err != nil {
		return err
	}
	if err := harness.Pause(ctx, settling); err != nil {
		return err
	}
	before, err := b.use(ctx, m, f)
	if err != nil {
		return err
	}
	for range scrapes {
		if err := errors.Join(s.scrape(ctx), harness.Pause(ctx, time.Second)); err != nil {
			return err
		}
	}
	used, err := b.useSince(ctx, m, f, before)
	if err != nil {
		return err
	}
	slices.Sort(s.took)
	b.report.add(of, "series that tell of PipedreamTokens", float64(s.series), "", nil)
	b.report.add(of, "size, before it is compressed", float64(s.bytes)/(1<<20), "MiB", nil)
	b.report.add(of, "a scrape takes, p50", percentile(s.took, 50).Seconds()*1000, "ms", nil)
	b.report.add(of, "CPU of the manager per scrape", used.cpuPer(scrapes), "ms", nil)
	b.report.add(of, "resident memory before", before.memory, "MiB", nil)
	b.report.add(of, "resident memory after scrapes, one a second", used.memory, "MiB", nil)
	b.report.add(of, "requests about objects and reads of Secrets for that", float64(used.requests.aboutObjects()), "", atMost(0))
	err = b.measureBesideScrapes(ctx, f, m, s, of)
	return errors.Join(err, b.stopManagers())
}

// measureBesideScrapes measures whether scrapes, one right after the other, hold up
// renewals.
func (b *bench) measureBesideScrapes(ctx context.Context, f *fleet, m *manager, s *scraper, of string) error {
	without, err := f.renewals(ctx, m)
	if err != nil {
		return err
	}
	scraping, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for scraping.Err() == nil {
			if err := s.scrape(scraping); err != nil && scraping.Err() == nil {
				f.fail(err)
				return
			}
		}
	}()
	beside, err := f.renewals(ctx, m)
	stop()
	<-stopped
	b.report.add(of, "renewal asked for to token in the Secret, p50", percentile(without, 50).Seconds()*1000, "ms", nil)
	b.report.add(of, "the same, beside scrapes without pause", percentile(beside, 50).Seconds()*1000, "ms", nil)
	peak, peakErr := m.memory(peakResident)
	b.report.add(of, "resident memory at its peak, the start included", peak, "MiB", nil)
	return errors.Join(err, peakErr, f.failure())
}

// renewals asks for renewals, one after the other, and returns what each has taken, the
// shortest first. Each time it is another member's turn.
func (f *fleet) renewals(ctx context.Context, by *manager) (took []time.Duration, err error) {
	for range requested {
		f.renewed++
		name := f.kind.memberName(f.renewed % f.size)
		tokens := f.tokensOf(name)
		began := time.Now()
		token := &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}
		body := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"%d"}}}`, v1alpha1.RenewRequestAnnotation, began.UnixNano())
		if err := f.admin.Patch(ctx, token, client.RawPatch(types.MergePatchType, body)); err != nil {
			return nil, fmt.Errorf("ask for a renewal: %w", err)
		}
		if err := by.await(ctx, "the renewal of "+name, func() bool { return len(f.tokensOf(name)) > len(tokens) }); err != nil {
			return nil, err
		}
		issued := f.tokensOf(name)
		took = append(took, issued[len(issued)-1].Sub(began))
	}
	slices.Sort(took)
	return took, nil
}

// tokensOf returns when the tokens of a member were seen.
func (f *fleet) tokensOf(name string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.of(name).issued)
}
