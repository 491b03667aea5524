// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// observeEvery is the time between two snapshots of all objects.
	observeEvery = time.Second
	// searchEvery is the time between two searches for secrets.
	searchEvery = 10 * time.Second
	// tooBusy is how long three list requests may take before the API server counts as unavailable.
	tooBusy = 2 * time.Second
	// consumers is how many calls with tokens run at once.
	consumers = 16
)

// observer reads every object once a second, and calls Pipedream's API with every token, and the app with the
// credentials of every account, as a pod would.
type observer struct {
	env       *environment
	evaluator *evaluator
	accounts  *accountEvaluator
	promises  *promises

	mu sync.Mutex
	// ignoring is true while a fault changes the simulator's answers to consumers.
	ignoring bool
	latest   []snapshot

	versions     map[types.UID]string
	observations int
}

func newObserver(env *environment, e *evaluator, a *accountEvaluator, p *promises) *observer {
	return &observer{env: env, evaluator: e, accounts: a, promises: p, versions: map[types.UID]string{}, latest: make([]snapshot, objectCount)}
}

// ignoreAnswers says whether the simulator's answers to consumers prove nothing, because of a fault.
func (o *observer) ignoreAnswers(ignore bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ignoring = ignore
}

func (o *observer) ignoresAnswers() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ignoring
}

// run observes and searches until ctx ends.
func (o *observer) run(ctx context.Context) {
	observations, searches := time.NewTicker(observeEvery), time.NewTicker(searchEvery)
	defer observations.Stop()
	defer searches.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-observations.C:
			o.observe(ctx)
		case <-searches.C:
			o.search(ctx)
		}
	}
}

// observe reads and evaluates all objects once.
func (o *observer) observe(ctx context.Context) {
	began := time.Now()
	tokens, accounts, secrets := &v1alpha1.PipedreamTokenList{}, &v1alpha1.PipedreamAccountList{}, &corev1.SecretList{}
	var err error
	for _, list := range []client.ObjectList{tokens, accounts, secrets} {
		if err == nil {
			err = o.env.client.List(ctx, list)
		}
	}
	if ctx.Err() != nil {
		return
	}
	read := time.Now()
	slow := read.Sub(began)
	if err != nil || slow > tooBusy || leader(o.env.managers) == nil {
		o.promises.touch(ofCluster, 0, read)
	}
	if err != nil {
		return
	}
	o.observeTokens(ctx, tokens.Items, secrets.Items, slow, read)
	o.observeAccounts(ctx, accounts.Items, secrets.Items, slow, read)
}

// observeTokens evaluates the PipedreamTokens that were read at a time. slow is how long that took.
func (o *observer) observeTokens(ctx context.Context, tokens []v1alpha1.PipedreamToken, secrets []corev1.Secret, slow time.Duration, read time.Time) {
	snapshots, orphans := assemble(tokens, secrets)
	o.learn(tokens, snapshots)
	o.call(ctx, snapshots)
	if ctx.Err() != nil {
		return
	}
	for i, s := range snapshots {
		s.slow = slow
		o.evaluator.evaluate(i, s, read)
	}
	o.evaluator.evaluateOwners(snapshots, orphans, read)
	o.mu.Lock()
	o.latest = snapshots
	o.observations++
	o.mu.Unlock()
}

// assemble sorts the tokens and Secrets by object. orphans are Secrets of the operator whose PipedreamToken does
// not exist.
func assemble(tokens []v1alpha1.PipedreamToken, secrets []corev1.Secret) (snapshots []snapshot, orphans []string) {
	snapshots = make([]snapshot, objectCount)
	owners, numbers := make([]metav1.Object, objectCount), tokenFleet.numbers()
	for k := range tokens {
		if i, ok := numbers[types.NamespacedName{Namespace: tokens[k].Namespace, Name: tokens[k].Name}]; ok {
			snapshots[i].token, owners[i] = &tokens[k], &tokens[k]
		}
	}
	places, orphans := tokenFleet.place(owners, secrets)
	for i := range places {
		snapshots[i].held = places[i]
	}
	return snapshots, orphans
}

// learn adds the tokens that it reads to the secrets to search for, and the rest of the objects to the texts to search.
func (o *observer) learn(tokens []v1alpha1.PipedreamToken, snapshots []snapshot) {
	now := time.Now()
	for k := range tokens {
		if o.isNew(&tokens[k]) {
			o.read("PipedreamToken", &tokens[k], now)
		}
	}
	for i, s := range snapshots {
		if s.secret == nil || !o.isNew(s.secret) {
			continue
		}
		if token := s.accessToken(); strings.Count(token, ".") == 2 {
			o.env.leaks.learnToken("a token of "+nameOf(i).String(), token)
		}
		// Only the token itself may be secret. The rest of the Secret is searched.
		shown := s.secret.DeepCopy()
		delete(shown.Data, accessTokenKey)
		o.read("Secret", shown.ObjectMeta, now)
		for _, value := range shown.Data {
			o.env.leaks.add("Secret", string(value), now)
		}
	}
}

func (o *observer) isNew(object metav1.Object) bool {
	if o.versions[object.GetUID()] == object.GetResourceVersion() {
		return false
	}
	o.versions[object.GetUID()] = object.GetResourceVersion()
	return true
}

func (o *observer) read(where string, object any, now time.Time) {
	if content, err := json.Marshal(object); err == nil {
		o.env.leaks.add(where, string(content), now)
	}
}

// call uses all tokens, several at once. After a refusal it reads the Secret again, for the operator may have
// replaced the token.
func (o *observer) call(ctx context.Context, snapshots []snapshot) {
	ignoring := o.ignoresAnswers()
	consume(len(snapshots), func(i int) {
		if snapshots[i].accessToken() != "" {
			o.callOne(ctx, i, &snapshots[i])
		}
	})
	if ignoring || o.ignoresAnswers() {
		for i := range snapshots {
			snapshots[i].answer = unknown
		}
	}
}

// consume calls a function for each of so many objects, for several of them at once.
func consume(count int, call func(i int)) {
	next := make(chan int)
	var working sync.WaitGroup
	for range consumers {
		working.Go(func() {
			for i := range next {
				call(i)
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	working.Wait()
}

func (o *observer) callOne(ctx context.Context, i int, s *snapshot) {
	s.answer = o.env.pipedream.listAccounts(ctx, s.accessToken())
	if s.answer != refused {
		return
	}
	again := &corev1.Secret{}
	if o.env.client.Get(ctx, secretOf(i), again) != nil {
		return
	}
	if s.secret = again; s.accessToken() != "" {
		s.answer = o.env.pipedream.listAccounts(ctx, s.accessToken())
	}
}

// search searches the Events, the metrics and the collected texts for secrets.
func (o *observer) search(ctx context.Context) {
	o.readEvents(ctx)
	for _, m := range o.env.managers {
		o.readMetrics(ctx, m)
	}
	o.report(time.Now())
}

func (o *observer) report(now time.Time) {
	for _, l := range o.env.leaks.search(now) {
		o.env.reporter.setBreach(true, noLeak, l.where, l.name, "")
	}
}

func (o *observer) readEvents(ctx context.Context) {
	events := &eventsv1.EventList{}
	if o.env.client.List(ctx, events) != nil {
		return
	}
	for k := range events.Items {
		if o.isNew(&events.Items[k]) {
			o.read("Event", &events.Items[k], time.Now())
		}
	}
}

// insecureClient calls servers whose certificates this program cannot verify.
var insecureClient = &http.Client{
	Timeout:   callTimeout,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, //nolint:gosec // The servers run on this machine.
}

func (o *observer) readMetrics(ctx context.Context, m *manager) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.call.Metrics+"/metrics", nil)
	if err != nil {
		return
	}
	request.Header.Set("Authorization", "Bearer "+o.env.scraper)
	response, err := insecureClient.Do(request)
	if err != nil {
		return
	}
	content, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err == nil && response.StatusCode == http.StatusOK {
		o.env.leaks.add("metrics", string(content), time.Now())
	}
}

// healthyCount returns how many objects are as they must be in the end, and describes the other objects.
func (o *observer) healthyCount() (healthy int, unhealthy []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, s := range o.latest {
		if problem := s.problem(); problem != "" {
			unhealthy = append(unhealthy, fmt.Sprintf("%s: %s", nameOf(i), problem))
		} else {
			healthy++
		}
	}
	return healthy, unhealthy
}
