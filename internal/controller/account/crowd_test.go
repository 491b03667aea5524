// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/bearer"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/internal/throttle"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	// crowdWorkers is how many PipedreamAccounts of a crowd are reconciled at the same time.
	crowdWorkers = 10
	// crowdInFlight is how many of their requests may wait for an answer at the same time.
	crowdInFlight = 4
)

// crowd is a world with many PipedreamAccounts, which are reconciled as the manager does it: when the reconciler has
// asked for it, and when the turn of one has come. It reads through the product's cache.
type crowd struct {
	*world
	cache cache.Cache
	// turns report whose turn has come.
	turns []interface {
		Next() ([]throttle.Requester, time.Duration)
	}

	// written is how many writes there were when the cache last showed all of them.
	written int

	mu sync.Mutex
	// due is when each is reconciled next.
	due map[types.NamespacedName]time.Time
}

// newCrowd returns a crowd without PipedreamAccounts. As many requests as may be sent in a second may be sent at once.
func newCrowd(t *testing.T, perSecond float64) *crowd {
	t.Helper()
	c := &crowd{world: newWorld(t), due: map[types.NamespacedName]time.Time{}}
	options := controller.CacheOptions()
	options.Scheme, options.DefaultNamespaces = newScheme(t), map[string]cache.Config{c.namespace: {}}
	var err error
	c.cache, err = cache.New(cluster.Config, options)
	must(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	stopped := make(chan error, 1)
	go func() { stopped <- c.cache.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-stopped)
	})
	for _, object := range controller.WatchedKinds() {
		_, err := c.cache.GetInformer(t.Context(), object)
		must(t, err)
	}
	limiter, turns := throttle.NewLimiter(throttle.Options{PerSecond: perSecond, Burst: int(perSecond), InFlight: crowdInFlight, Now: c.clock.Now})
	projects, projectTurns := throttle.NewProjects(throttle.ProjectsOptions{PerSecond: perSecond, Burst: int(perSecond), InFlight: crowdInFlight, Now: c.clock.Now})
	bearers, bearerTurns := bearer.New(bearer.Options{Limiter: limiter, Issue: c.issue.Issue, Scopes: []string{"connect:accounts:read"}, Now: c.clock.Now})
	c.turns = append(c.turns, turns, projectTurns, bearerTurns)
	c.reconciler.Cache, c.reconciler.Requests, c.reconciler.Bearers = c.cache, projects, bearers
	c.reconciler.Events = events.NewFakeRecorder(10_000) // A recorder that is full stops who uses it.
	return c
}

// add connects accounts of a project, and creates a PipedreamAccount for each of them.
func (c *crowd) add(project string, count int, changes ...func(*v1alpha1.PipedreamAccount)) {
	c.Helper()
	each(count, func(i int) {
		name := fmt.Sprintf("%s-%d", project[len("proj_"):], i)
		connected := simulator.NewAccount(project, "user-"+name, "slack")
		connected.Refresh, connected.Life = "lead:1h", 24*time.Hour
		account := &v1alpha1.PipedreamAccount{
			ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name},
			Spec: v1alpha1.PipedreamAccountSpec{
				ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"}, ProjectID: project, AccountID: "apn_" + name,
			},
		}
		for _, change := range changes {
			change(account)
		}
		if err := c.pipedream.Accounts.Set(account.Spec.AccountID, connected); err != nil {
			c.Error(err)
		}
		if err := c.admin.Create(c.Context(), account); err != nil {
			c.Error(err)
		}
		c.wake(client.ObjectKeyFromObject(account), c.clock.Now())
	})
	if c.Failed() {
		c.FailNow()
	}
	c.awaitCache()
}

// each calls do with each number below count, from as many goroutines as there are workers.
func each(count int, do func(int)) {
	numbers := make(chan int)
	var running sync.WaitGroup
	for range crowdWorkers {
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

func (c *crowd) wake(name types.NamespacedName, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due[name] = at
}

// live lets time pass, and reconciles each PipedreamAccount whenever that is due.
func (c *crowd) live(duration time.Duration) {
	c.Helper()
	for end := c.clock.Now().Add(duration); ; {
		next := c.settle(end)
		if c.Failed() {
			c.FailNow()
		}
		c.clock.SetTime(next)
		if next.Equal(end) {
			return
		}
	}
}

// settle reconciles all that are due now, until none is and the cache shows what was written. It returns the time of
// the next reconcile or turn, or the end if that is earlier.
func (c *crowd) settle(end time.Time) time.Time {
	c.Helper()
	for {
		names, next := c.whoIsDue(end)
		each(len(names), func(i int) { c.reconcileOne(names[i]) })
		switch writes := c.writes(); {
		case len(names) > 0:
		case writes != c.written:
			c.awaitCache()
			c.written = writes
		default:
			return next
		}
	}
}

// writes returns how many requests the reconciler has sent that may have changed something.
func (c *crowd) writes() (count int) {
	for call, times := range c.wire.Requests() {
		if !strings.HasPrefix(call, http.MethodGet+" ") {
			count += times
		}
	}
	return count
}

// whoIsDue returns whose reconcile is due, or whose turn has come. If there is nobody, it returns the time when that
// changes, or the end if that is earlier.
func (c *crowd) whoIsDue(end time.Time) (names []types.NamespacedName, next time.Time) {
	now := c.clock.Now()
	next = end
	consider := func(at time.Time) {
		if at.After(now) && at.Before(next) {
			next = at
		}
	}
	isDue := map[types.NamespacedName]bool{}
	for _, turns := range c.turns {
		requesters, wait := turns.Next()
		for _, requester := range requesters {
			isDue[types.NamespacedName{Namespace: requester.Group, Name: requester.Name}] = true
		}
		if wait > 0 {
			consider(now.Add(wait))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, at := range c.due {
		if !at.After(now) {
			isDue[name] = true
		}
		consider(at)
	}
	return slices.Collect(maps.Keys(isDue)), next
}

func (c *crowd) reconcileOne(name types.NamespacedName) {
	ctx := log.IntoContext(c.Context(), logr.Discard())
	result, err := c.reconciler.Reconcile(ctx, ctrl.Request{NamespacedName: name})
	if err != nil || result.RequeueAfter <= 0 {
		c.Errorf("the reconcile of %s ends with RequeueAfter %v and %v", name, result.RequeueAfter, err)
		return
	}
	c.wake(name, c.clock.Now().Add(result.RequeueAfter))
}

// awaitCache waits until the cache shows what the API server has. So no request is made because the cache lags.
func (c *crowd) awaitCache() {
	c.Helper()
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	for _, list := range []client.ObjectList{&v1alpha1.PipedreamAccountList{}, secrets} {
		harness.Eventually(c.T, "the cache to show what the API server has", func() string {
			shown := list.DeepCopyObject().(client.ObjectList)
			must(c.T, c.admin.List(c.Context(), list, client.InNamespace(c.namespace)))
			must(c.T, c.cache.List(c.Context(), shown, client.InNamespace(c.namespace)))
			if !maps.Equal(versionsOf(c.T, list), versionsOf(c.T, shown)) {
				return "a version differs"
			}
			return ""
		})
	}
}

func versionsOf(t *testing.T, list client.ObjectList) map[string]string {
	t.Helper()
	objects, err := meta.ExtractList(list)
	must(t, err)
	versions := map[string]string{}
	for _, object := range objects {
		accessor, err := meta.Accessor(object)
		must(t, err)
		versions[accessor.GetName()] = accessor.GetResourceVersion()
	}
	return versions
}

// wantAll checks that the conditions Fetched and Ready of each PipedreamAccount of a project have these reasons.
func (c *crowd) wantAll(project, fetched, ready string, want int) {
	c.Helper()
	list := &v1alpha1.PipedreamAccountList{}
	must(c.T, c.admin.List(c.Context(), list, client.InNamespace(c.namespace)))
	reasons := map[string]int{}
	for _, account := range list.Items {
		if account.Spec.ProjectID != project {
			continue
		}
		reason := func(kind string) string {
			if condition := meta.FindStatusCondition(account.Status.Conditions, kind); condition != nil {
				return condition.Reason
			}
			return ""
		}
		reasons[reason(v1alpha1.ConditionFetched)+", "+reason(v1alpha1.ConditionReady)]++
	}
	if got := reasons[fetched+", "+ready]; got != want {
		c.Errorf("of the PipedreamAccounts of %s %d are %s, %s, want %d: %v", project, got, fetched, ready, want, reasons)
	}
}

// TestABadClientOfManyAccounts has 1,000 PipedreamAccounts with an OAuth client that Pipedream refuses.
func TestABadClientOfManyAccounts(t *testing.T) {
	t.Parallel()
	const size = 1000
	c := newCrowd(t, 1000)
	c.createCredentials()
	c.pipedream.DeleteClient(clientID)
	c.add(projectID, size)

	c.live(time.Minute)

	c.wantAll(projectID, v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonNotFetched, size)
	exchanges := c.exchanges()
	if exchanges < 1 || exchanges > 3 {
		t.Errorf("in the first minute there were %d exchanges, want one to three", exchanges)
	}
	c.wantFetches(0)
	requests := c.wire.Requests()
	if reads := requests["GET secrets"]; reads > exchanges {
		t.Errorf("the client credentials were read %d times for %d exchanges", reads, exchanges)
	}
	delete(requests, "GET secrets")
	if want := map[string]int{"PATCH pipedreamaccounts/status": size}; !maps.Equal(requests, want) {
		t.Errorf("the API server got %v, want %v", requests, want)
	}
}

// TestARevokedBearerOfManyAccounts has the operator's own access token revoked before 1,000 looks that are due at the
// same time.
func TestARevokedBearerOfManyAccounts(t *testing.T) {
	t.Parallel()
	const size = 1000
	c := newCrowd(t, 1000)
	c.createCredentials()
	c.add(projectID, size, eachTenMinutes)
	c.live(time.Minute)
	c.wantAll(projectID, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
	// The first credentials cost one read of the client's Secret, and no more for each further PipedreamAccount.
	c.wantRequests(map[string]int{"GET secrets": 1, "POST secrets": size, "PATCH pipedreamaccounts/status": size})
	c.wantFetches(size)
	c.wantExchanges(1)

	c.pipedream.RevokeAll()
	c.wire.Reset()
	c.live(10 * time.Minute)

	c.wantAll(projectID, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
	c.wantExchanges(2)
	c.wantRequests(map[string]int{"GET secrets": 1}) // of the client's Secret, for the exchange
	looks := c.pipedream.Counters().Calls[simulator.EndpointAccount]
	if looks.Refused < 1 || looks.Refused > crowdInFlight {
		t.Errorf("%d requests were refused, want at most the %d requests that were in flight", looks.Refused, crowdInFlight)
	}
	if looks.Accepted != 2*size {
		t.Errorf("%d requests were accepted, want %d", looks.Accepted, 2*size)
	}
}

// TestRoutineLooksThatWaitForTheirTurnCostNoRequest has looks at good accounts wait behind each other for a minute.
func TestRoutineLooksThatWaitForTheirTurnCostNoRequest(t *testing.T) {
	t.Parallel()
	const size = 60
	c := newCrowd(t, 1)
	c.createCredentials()
	c.add(projectID, size, eachTenMinutes)
	c.live(2 * time.Minute)
	c.wantAll(projectID, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
	c.pass(15 * time.Minute)
	c.wire.Reset()

	c.live(2 * time.Minute)

	c.wantFetches(2 * size)
	c.wantRequests(map[string]int{})
	c.wantAll(projectID, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
}

// TestAGatewayThatAnswers404ForAMinute has all accounts of a project answered with 404, which are there.
func TestAGatewayThatAnswers404ForAMinute(t *testing.T) {
	t.Parallel()
	const size = 50
	c := newCrowd(t, 100)
	c.createCredentials()
	c.add(projectID, size, func(a *v1alpha1.PipedreamAccount) { a.Spec.FetchIntervalSeconds = 60 })
	c.live(30 * time.Second)
	c.wantAll(projectID, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
	must(t, c.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccount, Status: http.StatusNotFound}))

	for range 6 {
		c.live(10 * time.Second)
		c.wantNoUnready()
	}
	c.wantAll(projectID, v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonCredentialsValid, size)
	c.pipedream.ClearFaults()
	for range 12 {
		c.live(10 * time.Second)
		c.wantNoUnready()
	}
	c.wantAll(projectID, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
}

// wantNoUnready checks that condition Ready of each PipedreamAccount is True.
func (c *crowd) wantNoUnready() {
	c.Helper()
	list := &v1alpha1.PipedreamAccountList{}
	must(c.T, c.admin.List(c.Context(), list, client.InNamespace(c.namespace)))
	for _, account := range list.Items {
		if !meta.IsStatusConditionTrue(account.Status.Conditions, v1alpha1.ConditionReady) {
			c.Fatalf("at %s the conditions of %s are %+v", c.clock.Now(), account.Name, account.Status.Conditions)
		}
	}
}

// TestA404IsBelievedSoonerBesideAnAccountThatIsFound has one account of a project deleted, and another one looked at
// after the first 404.
func TestA404IsBelievedSoonerBesideAnAccountThatIsFound(t *testing.T) {
	t.Parallel()
	const project = "proj_two"
	c := newCrowd(t, 100)
	c.createCredentials()
	c.add(project, 2, func(a *v1alpha1.PipedreamAccount) { a.Spec.FetchIntervalSeconds = 600 })
	c.live(25 * time.Second)
	c.wantAll(project, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, 2)
	c.pipedream.Accounts.Delete("apn_two-0")
	c.request("two-0")
	c.live(10 * time.Second)
	c.wantAll(project, v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonCredentialsValid, 1)

	c.request("two-1")
	c.live(30 * time.Second)

	c.wantAll(project, v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonAccountNotFound, 1)
	c.wantAll(project, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, 1)
}

// request asks for a fetch of a PipedreamAccount.
func (c *crowd) request(name string) {
	c.Helper()
	account := &v1alpha1.PipedreamAccount{}
	must(c.T, c.admin.Get(c.Context(), c.key(name), account))
	change(c.world, account, func(a *v1alpha1.PipedreamAccount) {
		a.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
	})
	c.awaitCache()
	c.wake(c.key(name), c.clock.Now())
}

// TestALimitOfOneProjectStopsNoOther has Pipedream refuse more requests about one project than it allows.
func TestALimitOfOneProjectStopsNoOther(t *testing.T) {
	t.Parallel()
	const crowded, quiet, most = "proj_crowded", "proj_quiet", 5
	c := newCrowd(t, 100)
	c.createCredentials()
	must(t, c.pipedream.Accounts.SetLimit(most, 5*time.Minute))
	c.add(crowded, 20)
	c.live(10 * time.Second)
	c.wantAll(crowded, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, most)
	c.add(quiet, most)

	c.live(30 * time.Second)

	c.wantAll(quiet, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, most)
	c.wantAll(crowded, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, most)
	if got := c.pipedream.Accounts.Counters().Throttled; got < 1 || got > crowdInFlight {
		t.Errorf("%d requests were too many, want at most the %d requests that were in flight", got, crowdInFlight)
	}
	must(t, c.pipedream.Accounts.SetLimit(0, 0))
	c.live(10 * time.Minute)
	c.wantAll(crowded, v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, 20)
}

// connectAll has the accounts of a project be ones of the user with the API key.
func (c *crowd) connectAll(count int) {
	c.Helper()
	for i := range count {
		must(c.T, c.pipedream.Accounts.Change(fmt.Sprintf("apn_%s-%d", projectID[len("proj_"):], i), ofUser))
	}
}

// wakeAll has each PipedreamAccount reconciled, as the watch of their common Secret does it.
func (c *crowd) wakeAll() {
	c.Helper()
	c.awaitCache()
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.due {
		c.due[name] = c.clock.Now()
	}
}
