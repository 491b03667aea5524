// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// workers is how many PipedreamTokens of a fleet are visited at the same time.
const workers = 4

// fleet is a world with many PipedreamTokens, which are visited as a manager would
// visit them: when they have asked to be, and when their turn has come at a limiter. Time
// stands still during visits, and leaps to the next one.
type fleet struct {
	*world
	next map[types.NamespacedName]time.Time
	// ready is the reader of the turns for token requests.
	ready *throttle.Ready
}

// newFleet returns a fleet without members, with token requests as the manager's flags
// have them by default.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{world: newWorld(t), next: map[types.NamespacedName]time.Time{}}
	config := rest.CopyConfig(cluster.Config)
	config.QPS = -1
	options := controller.CacheOptions()
	options.Scheme = newScheme(t)
	informers, err := controller.NewCache([]string{f.namespace})(config, options)
	must(t, err)
	secrets := &metav1.PartialObjectMetadata{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	for _, object := range []client.Object{&v1alpha1.PipedreamToken{}, secrets} {
		_, err := informers.GetInformer(t.Context(), object)
		must(t, err)
	}
	go func() { _ = informers.Start(t.Context()) }()
	informers.WaitForCacheSync(t.Context())
	f.reconciler.Cache = informers
	f.reconciler.Events = &events.FakeRecorder{} // which would block when nobody looks at so many
	f.reconciler.TokenRequests, f.ready = throttle.NewLimiter(throttle.Options{PerSecond: 5, Burst: 10, InFlight: workers, Now: f.clock.Now})
	return f
}

// add creates PipedreamTokens, and has them visited.
func (f *fleet) add(count int) {
	f.Helper()
	f.inParallel(count, func(i int) {
		err := f.admin.Create(f.Context(), &v1alpha1.PipedreamToken{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: fmt.Sprintf("token-%04d", i)},
			Spec:       v1alpha1.PipedreamTokenSpec{ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"}},
		})
		if err != nil {
			f.Error(err)
		}
	})
	tokens := &v1alpha1.PipedreamTokenList{}
	f.awaitCache(func() bool {
		must(f.T, f.reconciler.Cache.List(f.Context(), tokens))
		return len(tokens.Items) == count
	})
	for _, token := range tokens.Items {
		f.next[client.ObjectKeyFromObject(&token)] = f.clock.Now()
	}
}

func (f *fleet) awaitCache(holds func() bool) {
	f.Helper()
	harness.Wait{Patience: patience, Every: 10 * time.Millisecond}.Eventually(f.T, "the cache to come up with the API server", harness.Holds(holds))
}

// inParallel calls do with each number below count, from as many goroutines as there
// are workers.
func (f *fleet) inParallel(count int, do func(int)) {
	numbers := make(chan int)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for i := range numbers {
				do(i)
			}
		})
	}
	for i := range count {
		numbers <- i
	}
	close(numbers)
	running.Wait()
}

// runFor lets so much time pass.
func (f *fleet) runFor(duration time.Duration) {
	f.Helper()
	end := f.clock.Now().Add(duration)
	for now := f.clock.Now(); !now.After(end); now = f.clock.Now() {
		woken, wait := f.ready.Next()
		for _, requester := range woken {
			f.next[types.NamespacedName{Namespace: requester.Group, Name: requester.Name}] = now
		}
		if f.visitAllDue(now) > 0 {
			continue
		}
		soonest := end.Add(1)
		if wait > 0 {
			soonest = now.Add(wait)
		}
		for _, at := range f.next {
			soonest = earlier(soonest, at)
		}
		f.clock.SetTime(soonest)
	}
	f.clock.SetTime(end)
}

func (f *fleet) visitAllDue(now time.Time) int {
	f.Helper()
	var due []types.NamespacedName
	for name, at := range f.next {
		if !at.After(now) {
			due = append(due, name)
		}
	}
	slices.SortFunc(due, func(a, b types.NamespacedName) int { return f.next[a].Compare(f.next[b]) })
	after := make([]time.Duration, len(due))
	f.inParallel(len(due), func(i int) {
		result, err := f.reconciler.Reconcile(f.Context(), ctrl.Request{NamespacedName: due[i]})
		if after[i] = result.RequeueAfter; err != nil {
			f.Errorf("%s: %v", due[i], err)
			after[i] = time.Second
		}
	})
	for i, name := range due {
		f.next[name] = now.Add(after[i])
	}

	return len(due)
}

// reasons counts the PipedreamTokens by the reason of condition Renewed.
func (f *fleet) reasons() map[string]int {
	f.Helper()
	tokens := &v1alpha1.PipedreamTokenList{}
	must(f.T, f.admin.List(f.Context(), tokens, client.InNamespace(f.namespace)))
	count := map[string]int{}
	for _, token := range tokens.Items {
		count[meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionRenewed).Reason]++
	}
	return count
}

func (f *fleet) wantReasons(want map[string]int) {
	f.Helper()
	if got := f.reasons(); fmt.Sprint(got) != fmt.Sprint(want) {
		f.Errorf("the PipedreamTokens have the reasons %v, want %v", got, want)
	}
}

func TestOneBadClientCostsOneExchangeForAll(t *testing.T) {
	const count = 250
	f := newFleet(t)
	f.createCredentials()
	must(t, f.pipedream.SetClient(clientID, "another secret"))
	f.add(count)
	f.runFor(59 * time.Second)
	f.wantExchanges(1)
	f.wantReasons(map[string]int{v1alpha1.ReasonCredentialsRejected: count})

	f.runFor(2 * time.Second) // The next attempt, too, is made by one for all.
	f.wantExchanges(2)

	// Corrected credentials are not held up by what was refused.
	before := f.exchanges()
	change(f.world, f.secret("credentials"), func(s *corev1.Secret) { s.Data["client_secret"] = []byte("another secret") })
	f.awaitCache(func() bool {
		seen, err := ownedsecret.Metadata(t.Context(), f.reconciler.Cache, f.key("credentials"))
		must(t, err)
		return seen.ResourceVersion == f.secret("credentials").ResourceVersion
	})
	for name := range f.next {
		f.next[name] = f.clock.Now()
	}
	f.runFor(count/5*time.Second + 10*time.Second)
	f.wantReasons(map[string]int{v1alpha1.ReasonIssued: count})
	if got := f.exchanges() - before; got != count {
		t.Errorf("the corrected credentials were exchanged %d times, want once for each of %d", got, count)
	}
}

func TestARateLimitAmongManyLosesNone(t *testing.T) {
	const count = 250
	f := newFleet(t)
	f.createCredentials()
	f.add(count)
	f.runFor(20 * time.Second)
	issued := f.exchanges()
	if issued < 100 || issued > 111 {
		t.Errorf("in 20 s Pipedream was asked for %d tokens, want 5 a second and the burst", issued)
	}

	must(t, f.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointToken, Status: 429, Headers: map[string]string{"Retry-After": "120"}, Calls: 1,
	}))
	f.runFor(time.Second)
	limited := f.exchanges()
	f.runFor(118 * time.Second)
	f.wantExchanges(limited)

	f.runFor(10 * time.Second)
	if got := f.exchanges() - limited; got < 30 || got > 60 {
		t.Errorf("within 10 s of the pause Pipedream was asked for %d tokens, want 5 a second", got)
	}
	f.runFor(25 * time.Second)
	f.wantReasons(map[string]int{v1alpha1.ReasonIssued: count})
	f.wantExchanges(count + 1)
}
