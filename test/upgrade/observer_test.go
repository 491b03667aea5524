//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// lookEvery is how often the observer reads all objects.
const lookEvery = 300 * time.Millisecond

// issuedToken finds the token in a value of a Secret, whatever the template has put around it.
var issuedToken = regexp.MustCompile(`eyJ[-_A-Za-z0-9]+\.[-_A-Za-z0-9]+\.[-_A-Za-z0-9]+`)

// sight is an object as it was first seen at a time. The pointers are nil for what is not there.
type sight struct {
	at     time.Time
	token  *v1alpha1.PipedreamToken
	secret *corev1.Secret
}

func (s *sight) isSame(other *sight) bool {
	return versionOf(s.token) == versionOf(other.token) && versionOf(s.secret) == versionOf(other.secret)
}

// versionOf returns what changes with each write of an object; nothing for no object.
func versionOf[T any, P interface {
	*T
	metav1.Object
}](object P) string {
	if object == nil {
		return ""
	}
	return string(object.GetUID()) + "/" + object.GetResourceVersion()
}

// condition returns a condition of the PipedreamToken; an empty one if it is not there.
func (s *sight) condition(kind string) metav1.Condition {
	if s == nil || s.token == nil {
		return metav1.Condition{}
	}
	if found := meta.FindStatusCondition(s.token.Status.Conditions, kind); found != nil {
		return *found
	}
	return metav1.Condition{}
}

// held returns the token in the Secret; nothing if there is none.
func (s *sight) held() string {
	if s == nil || s.secret == nil {
		return ""
	}
	for _, value := range s.secret.Data {
		if found := issuedToken.Find(value); found != nil {
			return string(found)
		}
	}
	return ""
}

// observer reads all objects again and again. It remembers how each of them changed, and it uses each token as a
// consumer does.
type observer struct {
	site *site
	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	history  map[types.NamespacedName][]*sight
	lastLook time.Time
	uses     int
	leastAge time.Duration // of a use, what was left of the life of the token
	problems []string
	served   map[types.NamespacedName]bool // objects whose token has worked before
}

func (s *site) observe() {
	s.Helper()
	ctx, stop := context.WithCancel(s.Context())
	s.observer = &observer{
		site: s, stop: stop, done: make(chan struct{}), leastAge: usualLifetime,
		history: map[types.NamespacedName][]*sight{}, served: map[types.NamespacedName]bool{},
	}
	go func() {
		defer close(s.observer.done)
		for ctx.Err() == nil {
			if err := s.observer.look(ctx); err != nil && ctx.Err() == nil {
				s.observer.report("the observer: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(lookEvery):
			}
		}
	}()
	s.Cleanup(func() {
		stop()
		<-s.observer.done
	})
}

func (o *observer) report(format string, arguments ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problems = append(o.problems, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, arguments...))
}

// take returns what was found wrong since the last call.
func (o *observer) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	problems := o.problems
	o.problems = nil
	return problems
}

// look reads all objects once.
func (o *observer) look(ctx context.Context) error {
	// What was changed after this moment may be missing.
	at := time.Now()
	tokens, secrets := &v1alpha1.PipedreamTokenList{}, &corev1.SecretList{}
	if err := o.site.admin.List(ctx, tokens); err != nil {
		return err
	}
	if err := o.site.admin.List(ctx, secrets); err != nil {
		return err
	}
	now := map[types.NamespacedName]*sight{}
	for i := range tokens.Items {
		now[client.ObjectKeyFromObject(&tokens.Items[i])] = &sight{at: at, token: &tokens.Items[i]}
	}
	bySecret := map[types.NamespacedName]*corev1.Secret{}
	for i := range secrets.Items {
		bySecret[client.ObjectKeyFromObject(&secrets.Items[i])] = &secrets.Items[i]
	}
	for _, object := range o.site.all() {
		seen := now[object.key()]
		if seen == nil {
			seen = &sight{at: at}
		}
		seen.secret = bySecret[types.NamespacedName{Namespace: object.namespace, Name: object.secretName()}]
		o.remember(object, seen)
		o.use(object, seen)
	}
	o.mu.Lock()
	o.lastLook = at
	o.mu.Unlock()
	return nil
}

func (o *observer) remember(object *object, seen *sight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	history := o.history[object.key()]
	if len(history) == 0 || !history[len(history)-1].isSame(seen) {
		o.history[object.key()] = append(history, seen)
	}
}

// use tries the token of an object. From the first time on that the object is Ready, its token must always work, unless
// the test itself takes that token away.
func (o *observer) use(object *object, seen *sight) {
	if object.lapses || object.isRetired() {
		return
	}
	token := seen.held()
	works := token != "" && o.site.pipedream.accepts(token)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case works:
		o.uses++
		if expiry, err := time.Parse(time.RFC3339, seen.secret.Annotations[v1alpha1.ExpiresAtAnnotation]); err == nil {
			o.leastAge = min(o.leastAge, time.Until(expiry))
		}
		if seen.condition(v1alpha1.ConditionReady).Status == metav1.ConditionTrue {
			o.served[object.key()] = true
		}
	case o.served[object.key()]:
		o.problems = append(o.problems, fmt.Sprintf("%s a gap: the Secret of %s holds no token that works (a token is there: %t)",
			seen.at.Format("15:04:05.000"), object, token != ""))
	}
}

// last returns an object as it was seen last, which may be up to a look ago.
func (o *observer) last(object *object) *sight {
	o.mu.Lock()
	defer o.mu.Unlock()
	history := o.history[object.key()]
	if len(history) == 0 {
		return &sight{}
	}
	return history[len(history)-1]
}

// sights returns how an object has changed so far, and until when that is known.
func (o *observer) sights(object *object) (history []*sight, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.history[object.key()][:len(o.history[object.key()]):len(o.history[object.key()])], o.lastLook
}

// awaitLook returns when all objects were read once after this call.
func (o *observer) awaitLook() {
	for called := time.Now(); ; time.Sleep(lookEvery / 10) {
		o.mu.Lock()
		looked := o.lastLook
		o.mu.Unlock()
		if looked.After(called) {
			return
		}
	}
}
