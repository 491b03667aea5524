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

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

const (
	// lookEvery is the time between two looks at everything.
	lookEvery = time.Second
	// searchEvery is the time between two searches for secrets.
	searchEvery = 10 * time.Second
	// tooBusy is how long two lists may take before the API server counts as away.
	tooBusy = 2 * time.Second
	// consumers is how many calls are made at once.
	consumers = 16
)

// observer looks at everything all the time, and uses every token as a pod would.
type observer struct {
	stage    *stage
	judge    *judge
	promises *promises

	mu sync.Mutex
	// muted is until when the answers to tokens are those of a fault.
	muted  bool
	latest []sight

	versions map[types.UID]string
	looks    int
}

func newObserver(s *stage, j *judge, p *promises) *observer {
	return &observer{stage: s, judge: j, promises: p, versions: map[types.UID]string{}, latest: make([]sight, objectCount)}
}

// mute tells that answers to tokens mean nothing now, or do again.
func (o *observer) mute(muted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.muted = muted
}

func (o *observer) isMuted() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.muted
}

// run looks until ctx ends.
func (o *observer) run(ctx context.Context) {
	looks, searches := time.NewTicker(lookEvery), time.NewTicker(searchEvery)
	defer looks.Stop()
	defer searches.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
			o.look(ctx)
		case <-searches.C:
			o.search(ctx)
		}
	}
}

// look looks at everything once.
func (o *observer) look(ctx context.Context) {
	began := time.Now()
	tokens, secrets := &v1alpha1.PipedreamTokenList{}, &corev1.SecretList{}
	err := o.stage.client.List(ctx, tokens)
	if err == nil {
		err = o.stage.client.List(ctx, secrets)
	}
	if ctx.Err() != nil {
		return
	}
	read := time.Now()
	slow := read.Sub(began)
	if err != nil || slow > tooBusy || leader(o.stage.managers) == nil {
		o.promises.touch(ofCluster, 0, read)
	}
	if err != nil {
		return
	}
	sights, orphans := assemble(tokens.Items, secrets.Items)
	o.learn(tokens.Items, sights)
	o.call(ctx, sights)
	if ctx.Err() != nil {
		return
	}
	for i, s := range sights {
		s.slow = slow
		o.judge.look(i, s, read)
	}
	o.judge.lookAtOwners(sights, orphans, read)
	o.mu.Lock()
	o.latest = sights
	o.looks++
	o.mu.Unlock()
}

// assemble sorts what was read by object. Orphans are Secrets of ours whose
// PipedreamToken does not exist.
func assemble(tokens []v1alpha1.PipedreamToken, secrets []corev1.Secret) (sights []sight, orphans []string) {
	sights = make([]sight, objectCount)
	byName, bySecret, uids := map[types.NamespacedName]int{}, map[types.NamespacedName]int{}, map[types.UID]int{}
	for i := range objectCount {
		byName[nameOf(i)], bySecret[secretOf(i)] = i, i
	}
	for k := range tokens {
		if i, ok := byName[types.NamespacedName{Namespace: tokens[k].Namespace, Name: tokens[k].Name}]; ok {
			sights[i].token = &tokens[k]
			uids[tokens[k].UID] = i
		}
	}
	for k := range secrets {
		secret := &secrets[k]
		name := types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
		place, expected := bySecret[name]
		if expected {
			sights[place].secret = secret
		}
		owner := metav1.GetControllerOfNoCopy(secret)
		if owner != nil {
			if i, ok := uids[owner.UID]; ok {
				sights[i].owned++
				continue
			}
		}
		if expected && sights[place].inherits() {
			sights[place].owned++
			continue
		}
		if _, ours := secret.Annotations[v1alpha1.OwnerAnnotation]; ours {
			orphans = append(orphans, name.String())
		}
	}
	return sights, orphans
}

// learn takes from what was read the secrets to search for, and the texts to search.
func (o *observer) learn(tokens []v1alpha1.PipedreamToken, sights []sight) {
	now := time.Now()
	for k := range tokens {
		if o.isNew(&tokens[k]) {
			o.read("PipedreamToken", &tokens[k], now)
		}
	}
	for i, s := range sights {
		if s.secret == nil || !o.isNew(s.secret) {
			continue
		}
		if token := s.held(); strings.Count(token, ".") == 2 {
			o.stage.leaks.learnToken("a token of "+nameOf(i).String(), token)
		}
		// What is beside the token must not be secret.
		shown := s.secret.DeepCopy()
		delete(shown.Data, accessTokenKey)
		o.read("Secret", shown.ObjectMeta, now)
		for _, value := range shown.Data {
			o.stage.leaks.add("Secret", string(value), now)
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
		o.stage.leaks.add(where, string(content), now)
	}
}

// call uses the tokens, some at a time. One that is refused is read again, for it
// may have been replaced since.
func (o *observer) call(ctx context.Context, sights []sight) {
	muted := o.isMuted()
	next := make(chan int)
	var working sync.WaitGroup
	for range consumers {
		working.Go(func() {
			for i := range next {
				o.callOne(ctx, i, &sights[i])
			}
		})
	}
	for i := range sights {
		if sights[i].held() != "" {
			next <- i
		}
	}
	close(next)
	working.Wait()
	if muted || o.isMuted() {
		for i := range sights {
			sights[i].answer = unknown
		}
	}
}

func (o *observer) callOne(ctx context.Context, i int, s *sight) {
	s.answer = o.stage.pipedream.listAccounts(ctx, s.held())
	if s.answer != refused {
		return
	}
	again := &corev1.Secret{}
	if o.stage.client.Get(ctx, secretOf(i), again) != nil {
		return
	}
	if s.secret = again; s.held() != "" {
		s.answer = o.stage.pipedream.listAccounts(ctx, s.held())
	}
}

// search looks for secrets in all that was written.
func (o *observer) search(ctx context.Context) {
	o.readEvents(ctx)
	for _, m := range o.stage.managers {
		o.readMetrics(ctx, m)
	}
	o.report(time.Now())
}

func (o *observer) report(now time.Time) {
	for _, l := range o.stage.leaks.search(now) {
		o.stage.diary.judge(true, nothingSecret, l.where, l.name, "")
	}
}

func (o *observer) readEvents(ctx context.Context) {
	events := &eventsv1.EventList{}
	if o.stage.client.List(ctx, events) != nil {
		return
	}
	for k := range events.Items {
		if o.isNew(&events.Items[k]) {
			o.read("Event", &events.Items[k], time.Now())
		}
	}
}

// strangers is a client for those whose certificates only their clients know.
var strangers = &http.Client{
	Timeout:   callTimeout,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, //nolint:gosec // On this machine.
}

func (o *observer) readMetrics(ctx context.Context, m *manager) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.call.Metrics+"/metrics", nil)
	if err != nil {
		return
	}
	request.Header.Set("Authorization", "Bearer "+o.stage.scraper)
	response, err := strangers.Do(request)
	if err != nil {
		return
	}
	content, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err == nil && response.StatusCode == http.StatusOK {
		o.stage.leaks.add("metrics", string(content), time.Now())
	}
}

// areReady tells how many objects are as they are to be in the end.
func (o *observer) wellCount() (well int, unwell []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, s := range o.latest {
		if problem := s.problem(); problem != "" {
			unwell = append(unwell, fmt.Sprintf("%s: %s", nameOf(i), problem))
		} else {
			well++
		}
	}
	return well, unwell
}
