// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

const goodSecret = "the-client-secret"

// site is a namespace, and a Pipedream of its own, on which managers are run
// behind a tripwire.
type site struct {
	// T is that of the subtest that runs; owner is the test that the managers outlive
	// it in.
	*testing.T
	owner      *testing.T
	plane      *controlplane.ControlPlane
	admin      client.Client
	namespace  string
	pipedream  *simulator.Simulator
	wire       *tripwire
	kubeconfig string
	apiURL     string
	manager    *manager
	project    int // the last project that wantNoticed has set
}

func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteOn(t, cluster)
}

// newSiteOn returns a site on a control plane.
func newSiteOn(t *testing.T, plane *controlplane.ControlPlane) *site {
	t.Helper()
	s := &site{T: t, owner: t, plane: plane, admin: plane.Client, wire: &tripwire{}}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "crash-"}}
	harness.Must(t, s.admin.Create(t.Context(), namespace))
	s.namespace = namespace.Name
	s.pipedream = simulator.New(simulator.Options{Now: time.Now})
	s.apiURL = s.wire.toPipedream(t, s.pipedream)
	s.kubeconfig = writeKubeconfig(t, s.wire.toAPIServer(t, plane.Config))
	return s
}

// arguments are those of a manager that visits one object after the other.
func (s *site) arguments() []string {
	return []string{
		"--kubeconfig=" + s.kubeconfig, "--namespaces=" + s.namespace, "--api-url=" + s.apiURL, "--allow-insecure-api-url",
		"--max-concurrent-reconciles=1", "--metrics-bind-address=0", "--health-probe-bind-address=0",
	}
}

func (s *site) eventually(what string, holds func() bool) {
	s.Helper()
	s.within(patience, what, holds)
}

// within is eventually with another limit than the usual one.
func (s *site) within(limit time.Duration, what string, holds func() bool) {
	s.Helper()
	harness.Wait{Patience: limit, Every: 20 * time.Millisecond}.Eventually(s.T, what, harness.Holds(holds))
}

func (s *site) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: name}
}

func (s *site) token(name string) *v1alpha1.PipedreamToken {
	s.Helper()
	token := &v1alpha1.PipedreamToken{}
	harness.Must(s.T, s.admin.Get(s.Context(), s.key(name), token))
	return token
}

func (s *site) credentials(name string) *corev1.Secret {
	s.Helper()
	secret := &corev1.Secret{}
	harness.Must(s.T, s.admin.Get(s.Context(), s.key(name+"-client"), secret))
	return secret
}

// secrets returns the Secrets that are said to belong to a PipedreamToken.
func (s *site) secrets(name string) []corev1.Secret {
	s.Helper()
	all, ours := &corev1.SecretList{}, []corev1.Secret(nil)
	harness.Must(s.T, s.admin.List(s.Context(), all, client.InNamespace(s.namespace)))
	for _, secret := range all.Items {
		if secret.Annotations[v1alpha1.OwnerAnnotation] == name {
			ours = append(ours, secret)
		}
	}
	return ours
}

// register registers an OAuth client for an object, and puts its credentials into
// the Secret that the object names.
func (s *site) register(name, clientSecret string) {
	s.Helper()
	harness.Must(s.T, s.pipedream.SetClient(name, goodSecret))
	harness.Must(s.T, s.admin.Create(s.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name + "-client"},
		StringData: map[string]string{"client_id": name, "client_secret": clientSecret},
	}))
}

func (s *site) create(name string) {
	s.Helper()
	harness.Must(s.T, s.admin.Create(s.Context(), &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: name + "-client"},
			Scopes:          []string{"connect:accounts:read"},
			ProjectID:       "proj_abc123",
		},
	}))
}

// change changes an object, with a patch that no other writer can disturb.
func change[T client.Object](s *site, object T, fn func(T)) {
	s.Helper()
	original := object.DeepCopyObject().(T)
	fn(object)
	harness.Must(s.T, s.admin.Patch(s.Context(), object, client.MergeFrom(original)))
}

func (s *site) requestRenewal(name string) {
	s.Helper()
	change(s, s.token(name), func(p *v1alpha1.PipedreamToken) {
		p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "please"}
	})
}

func (s *site) touchCredentials(name string) {
	s.Helper()
	change(s, s.credentials(name), func(secret *corev1.Secret) { secret.Labels = map[string]string{"touched": "yes"} })
}

func (s *site) exchanges(name string) int {
	return s.pipedream.Counters().Exchanges[name].Total
}

// wrong says what is wrong with an object that should have its token; nothing if
// all is well: one Secret with a token that Pipedream accepts, and a status that
// says what the Secret's record says.
func (s *site) wrong(name string) string {
	s.Helper()
	token, secrets := s.token(name), s.secrets(name)
	if len(secrets) != 1 {
		return fmt.Sprintf("%d Secrets are there, want 1", len(secrets))
	}
	secret, status := secrets[0], token.Status
	ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
	renewed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed)
	if ready == nil || renewed == nil || ready.Reason != v1alpha1.ReasonTokenValid || renewed.Reason != v1alpha1.ReasonIssued {
		return fmt.Sprintf("the conditions are %+v", status.Conditions)
	}
	want := map[string]string{
		"generation observed":   fmt.Sprint(token.Generation),
		"Secret's version":      secret.ResourceVersion,
		"credentials' version":  s.credentials(name).ResourceVersion,
		"issue time":            secret.Annotations[v1alpha1.IssuedAtAnnotation],
		"expiration time":       secret.Annotations[v1alpha1.ExpiresAtAnnotation],
		"expiration time again": string(secret.Data["expires_at"]),
		"renewal asked for":     token.Annotations[v1alpha1.RenewRequestAnnotation],
		"project":               token.Spec.ProjectID,
		"answer of Pipedream":   "200",
	}
	got := map[string]string{
		"generation observed":   fmt.Sprint(status.ObservedGeneration),
		"Secret's version":      status.Secret.ResourceVersion,
		"credentials' version":  status.ClientSecretResourceVersion,
		"issue time":            show(status.IssueTime),
		"expiration time":       show(status.ExpirationTime),
		"expiration time again": show(status.ExpirationTime),
		"renewal asked for":     secret.Annotations[v1alpha1.RenewRequestAnnotation],
		"project":               string(secret.Data["project_id"]),
		"answer of Pipedream":   fmt.Sprint(s.use(string(secret.Data["access_token"]))),
	}
	return cmp.Diff(want, got)
}

// use uses a token as its consumer does, and returns the status of the answer. It
// does not pass the tripwire.
func (s *site) use(token string) int {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "/v1/connect/proj_abc123/accounts", http.NoBody)
	harness.Must(s.T, err)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-Pd-Environment", "production")
	answer := httptest.NewRecorder()
	s.pipedream.ServeHTTP(answer, request)
	return answer.Code
}

func show(at *metav1.Time) string {
	if at == nil {
		return "none"
	}
	return at.UTC().Format(time.RFC3339)
}

func (s *site) awaitRight(name string) {
	s.Helper()
	harness.Wait{Patience: patience, Every: 20 * time.Millisecond}.Eventually(s.T, name+" to come right (-want +got)", func() string { return s.wrong(name) })
}

// isRefused tells whether the status says that the credentials are rejected.
func (s *site) isRefused(name string) bool {
	s.Helper()
	status := s.token(name).Status
	renewed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRenewed)
	return renewed != nil && renewed.Reason == v1alpha1.ReasonCredentialsRejected && status.NextAttemptTime != nil &&
		meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled) &&
		meta.IsStatusConditionFalse(status.Conditions, v1alpha1.ConditionReady)
}

// crash is a moment to kill a manager at, and what the world is like then.
type crash struct {
	// call is the request, with $ for the name of the object.
	call string
	at   moment
	// exchanges is how many exchanges there were, stored whether the Secret is as it
	// is wanted, and reported whether the status is. After an answer, the manager may
	// have come a little further.
	exchanges        int
	stored, reported bool
}

// task is what a manager is about to do when it is killed.
type task struct {
	// prepare brings an object into the state before, with a manager that runs;
	// provoke asks for what the task does.
	prepare, provoke func(s *site, name string)
	// exchanges is what an undisturbed manager needs.
	exchanges int
	crashes   []crash
}

var tasks = map[string]task{
	"first token": {
		prepare:   func(s *site, name string) { s.register(name, goodSecret) },
		provoke:   (*site).create,
		exchanges: 1,
		crashes: []crash{
			{call: "GET secrets/$-client", at: before},
			{call: "GET secrets/$-client", at: unanswered},
			{call: callExchange, at: before},
			{call: callExchange, at: unanswered, exchanges: 1},
			{call: callExchange, at: answered, exchanges: 1},
			{call: "POST secrets", at: before, exchanges: 1},
			{call: "POST secrets", at: unanswered, exchanges: 1, stored: true},
			{call: "PATCH pipedreamtokens/$/status", at: before, exchanges: 1, stored: true},
			{call: "PATCH pipedreamtokens/$/status", at: unanswered, exchanges: 1, stored: true, reported: true},
			{call: "POST events/$", at: before, exchanges: 1, stored: true, reported: true},
		},
	},
	"renewal": {
		prepare: func(s *site, name string) {
			s.register(name, goodSecret)
			s.create(name)
			s.awaitRight(name)
		},
		provoke:   (*site).requestRenewal,
		exchanges: 1,
		crashes: []crash{
			{call: "GET secrets/$-client", at: before},
			{call: "GET secrets/$-client", at: unanswered},
			{call: callExchange, at: before},
			{call: callExchange, at: unanswered, exchanges: 1},
			{call: callExchange, at: answered, exchanges: 1},
			{call: "PUT secrets/$", at: before, exchanges: 1},
			{call: "PUT secrets/$", at: unanswered, exchanges: 1, stored: true},
			{call: "PATCH pipedreamtokens/$/status", at: before, exchanges: 1, stored: true},
			{call: "PATCH pipedreamtokens/$/status", at: unanswered, exchanges: 1, stored: true, reported: true},
		},
	},
	"rewrite": {
		prepare: func(s *site, name string) {
			s.register(name, goodSecret)
			s.create(name)
			s.awaitRight(name)
		},
		provoke: func(s *site, name string) {
			change(s, s.token(name), func(p *v1alpha1.PipedreamToken) { p.Spec.ProjectID = "proj_other" })
		},
		crashes: []crash{
			{call: "GET secrets/$", at: before},
			{call: "GET secrets/$", at: unanswered},
			{call: "PUT secrets/$", at: before},
			{call: "PUT secrets/$", at: unanswered, stored: true},
			{call: "PATCH pipedreamtokens/$/status", at: before, stored: true},
			{call: "PATCH pipedreamtokens/$/status", at: unanswered, stored: true, reported: true},
		},
	},
}

// refusals are the crashes over an object whose credentials are rejected.
var refusals = []crash{
	{call: callExchange, at: before},
	{call: callExchange, at: unanswered, exchanges: 1},
	{call: callExchange, at: answered, exchanges: 1},
	{call: "PATCH pipedreamtokens/$/status", at: before, exchanges: 1},
	{call: "PATCH pipedreamtokens/$/status", at: unanswered, exchanges: 1, reported: true},
	{call: "POST events/$", at: before, exchanges: 1, reported: true},
}

func (c crash) String() string {
	return strings.NewReplacer("$", "it", "/", " ").Replace(c.call) + " " + string(c.at)
}

// crash has the manager killed over an object.
func (s *site) crash(name string, point crash, provoke func(*site, string)) {
	s.Helper()
	s.wire.arm(strings.ReplaceAll(point.call, "$", name), point.at, s.manager.Kill)
	provoke(s, name)
	select {
	case <-s.manager.Ended():
	case <-time.After(patience):
	}
	if s.wire.disarm() {
		s.Fatalf("the manager never came to %s", point)
	}
}

// start starts a manager, which outlives the subtest.
func (s *site) start() {
	s.Helper()
	s.manager = startManager(s.owner, s.arguments()...)
}

// restart starts another manager after a crash, and returns when it has reconciled each
// object once. It reconciles one after the other in the order of their names, and a
// status for the last one shows that it has come to the end.
func (s *site) restart() {
	s.Helper()
	const last = "z-last"
	s.create(last)
	s.wire.reset()
	s.start()
	s.eventually("the new manager has reconciled "+last, func() bool {
		return missesCredentials(s.token(last).Status.Conditions, v1alpha1.ConditionRenewed)
	})
	harness.Must(s.T, s.admin.Delete(s.Context(), s.token(last)))
}

// missesCredentials reports whether a condition says that there are no client credentials.
func missesCredentials(conditions []metav1.Condition, kind string) bool {
	condition := meta.FindStatusCondition(conditions, kind)
	return condition != nil && condition.Reason == v1alpha1.ReasonCredentialsMissing
}

// crashes runs a subtest for each crash, with an object of its own in the state
// before, and a manager that runs.
func (s *site) crashes(points []crash, prepare func(s *site, name string), survive func(name string, point crash)) {
	s.Helper()
	s.start()
	for i := range points {
		prepare(s, fmt.Sprintf("orders-%d", i))
	}
	for i, point := range points {
		s.owner.Run(point.String(), func(t *testing.T) {
			s.T = t
			if s.manager.HasEnded() {
				s.start()
			}
			survive(fmt.Sprintf("orders-%d", i), point)
		})
	}
}

// TestKilledManager kills the manager at each step of what it does for an object.
// The next one is to finish what was begun: with no more than one exchange more
// than it would have taken, and none when the token was stored; with one report, and
// none when all was reported.
func TestKilledManager(t *testing.T) {
	for doing, task := range tasks {
		t.Run(doing, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.crashes(task.crashes, task.prepare, func(name string, point crash) { s.survive(name, task, point) })
		})
	}
}

func (s *site) survive(name string, task task, point crash) {
	s.Helper()
	exchanges, version := s.exchanges(name), s.versionOf(name)
	s.crash(name, point, task.provoke)
	if got := s.exchanges(name) - exchanges; got != point.exchanges {
		s.Errorf("Pipedream was asked %d times before the crash, want %d", got, point.exchanges)
	}
	stored, reported := s.versionOf(name) != version, s.wrong(name) == ""
	if point.at != answered && (stored != point.stored || reported != point.reported) {
		s.Errorf("after the crash, the Secret is written: %v, the status right: %v; want %v, %v", stored, reported, point.stored, point.reported)
	}

	s.restart()
	s.awaitRight(name)
	exchanges += point.exchanges
	want := map[string]int{}
	if !stored {
		exchanges += task.exchanges
		want["Secret"] = 1
	}
	if !reported {
		want["status"] = 1
	}
	s.wantWritten(name, exchanges, want)

	// Now it looks again, and reads both Secrets: it finds the record as it was
	// written, and says so.
	s.touchCredentials(name)
	s.awaitRight(name)
	want["status"]++
	s.wantWritten(name, exchanges, want)
}

// TestManagerKilledOverRejectedCredentials does the same to an object whose
// credentials are rejected: the failure is not forgotten once it is reported.
func TestManagerKilledOverRejectedCredentials(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.crashes(refusals, func(s *site, name string) { s.register(name, "wrong") }, s.surviveRefusal)
}

func (s *site) surviveRefusal(name string, point crash) {
	s.Helper()
	s.crash(name, point, (*site).create)
	reported := s.isRefused(name)
	if got := s.exchanges(name); got != point.exchanges || point.at != answered && reported != point.reported {
		s.Errorf("after the crash, Pipedream was asked %d times and the failure reported: %v; want %d, %v", got, reported, point.exchanges, point.reported)
	}

	s.restart()
	s.eventually("CredentialsRejected", func() bool { return s.isRefused(name) })
	exchanges, want := point.exchanges, map[string]int{}
	if !reported {
		exchanges++
		want["status"] = 1
	}
	s.wantWritten(name, exchanges, want)

	credentials := s.credentials(name)
	change(s, credentials, func(secret *corev1.Secret) { secret.Data["client_secret"] = []byte(goodSecret) })
	s.awaitRight(name)
	want["status"]++
	want["Secret"]++
	s.wantWritten(name, exchanges+1, want)
}

// versionOf returns the version of the target; nothing if there is none.
func (s *site) versionOf(name string) string {
	s.Helper()
	secret := &corev1.Secret{}
	harness.Must(s.T, client.IgnoreNotFound(s.admin.Get(s.Context(), s.key(name), secret)))
	return secret.ResourceVersion
}

// wantWritten checks how often Pipedream was ever asked for a token of an object,
// and what a manager has written for it since it was started.
func (s *site) wantWritten(name string, exchanges int, want map[string]int) {
	s.Helper()
	if got := s.exchanges(name); got != exchanges {
		s.Errorf("Pipedream was asked %d times, want %d", got, exchanges)
	}
	if diff := cmp.Diff(want, s.written(name)); diff != "" {
		s.Errorf("what the new manager has written (-want +got): %s", diff)
	}
}

// written returns how often the status of an object was applied, and its Secret
// written or, for that names none, any Secret created.
func (s *site) written(name string) map[string]int {
	written := map[string]int{}
	for call, count := range s.wire.counted() {
		switch call {
		case "PATCH pipedreamtokens/" + name + "/status":
			written["status"] += count
		case "POST secrets", "PUT secrets/" + name, "PATCH secrets/" + name, "DELETE secrets/" + name:
			written["Secret"] += count
		}
	}
	return written
}
