// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// misbehaving is an API server that has just enough PipedreamTokens to be asked for
// them, and misbehaves as a test says.
type misbehaving struct {
	*httptest.Server
	mu     sync.Mutex
	tokens map[string]*v1alpha1.PipedreamToken
	// answer answers in place of the server, and tells whether it did. It is called
	// with the lock held.
	answer func(w http.ResponseWriter, r *http.Request) bool
	// hangs tells whether a request is never answered.
	hangs func(r *http.Request) bool
}

// serverTime is the time by the misbehaving server.
var serverTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newMisbehaving(t *testing.T, names ...string) *misbehaving {
	t.Helper()
	m := &misbehaving{tokens: map[string]*v1alpha1.PipedreamToken{}}
	for _, name := range names {
		m.tokens[name] = tokenOf(name)
	}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

// tokenOf returns a PipedreamToken that works.
func tokenOf(name string) *v1alpha1.PipedreamToken {
	token := &v1alpha1.PipedreamToken{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: tokenKind.name},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, ResourceVersion: "5", Annotations: map[string]string{}},
	}
	token.Status.IssueTime = new(metav1.NewTime(serverTime))
	token.Status.ExpirationTime = new(metav1.NewTime(serverTime.Add(time.Hour)))
	token.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid},
		{Type: v1alpha1.ConditionRenewed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonIssued},
	}
	return token
}

// renew gives a PipedreamToken a new token.
func (m *misbehaving) renew(name string) {
	m.tokens[name].Status.IssueTime = new(metav1.NewTime(serverTime.Add(time.Minute)))
}

// call calls the plugin.
func (m *misbehaving) call(t *testing.T, arguments ...string) said {
	t.Helper()
	return m.callWith(t.Context(), &harness.Buffer{}, arguments...)
}

func (m *misbehaving) callWith(ctx context.Context, out *harness.Buffer, arguments ...string) said {
	arguments = append([]string{"--kubeconfig=" + os.DevNull, "--server=" + m.URL, "--namespace=shop"}, arguments...)
	return call(ctx, func() time.Time { return serverTime }, out, arguments...)
}

func (m *misbehaving) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch isWatch := r.URL.Query().Has("watch"); {
	case m.hangs != nil && m.hangs(r):
		m.waitFor(r)
	case m.answer != nil && m.answer(w, r):
	case isWatch:
		m.waitFor(r)
	case r.URL.Path == "/version":
		send(w, map[string]string{"gitVersion": "v1.36.3"})
	case strings.Contains(r.URL.Path, "/secrets/"):
		m.serveSecret(w, r)
	case path.Base(r.URL.Path) == tokenKind.resource.Resource:
		list := &v1alpha1.PipedreamTokenList{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: tokenKind.name + "List"}}
		list.ResourceVersion = "5"
		for _, name := range slices.Sorted(maps.Keys(m.tokens)) {
			list.Items = append(list.Items, *m.tokens[name])
		}
		send(w, list)
	case path.Base(r.URL.Path) == accountKind.resource.Resource:
		send(w, &v1alpha1.PipedreamAccountList{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: accountKind.name + "List"}})
	case m.tokens[path.Base(r.URL.Path)] == nil:
		fail(w, apierrors.NewNotFound(tokenKind.resource.GroupResource(), path.Base(r.URL.Path)))
	default:
		m.serveToken(w, r)
	}
}

// waitFor waits until the client gives up, and does not keep others from being served.
func (m *misbehaving) waitFor(r *http.Request) {
	m.mu.Unlock()
	defer m.mu.Lock()
	<-r.Context().Done()
}

func (m *misbehaving) serveToken(w http.ResponseWriter, r *http.Request) {
	token := m.tokens[path.Base(r.URL.Path)]
	if r.Method == http.MethodPatch {
		if err := json.NewDecoder(r.Body).Decode(token); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	send(w, token)
}

// serveSecret serves the Secret whose token is for the last request, or its metadata.
func (m *misbehaving) serveSecret(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	secret := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
	if strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata") {
		secret.TypeMeta = metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}
	}
	secret.Name, secret.Annotations = name, m.tokens[name].Annotations
	send(w, secret)
}

func send(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object)
}

func fail(w http.ResponseWriter, err *apierrors.StatusError) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(err.ErrStatus.Code))
	err.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	_ = json.NewEncoder(w).Encode(err.ErrStatus)
}

func TestDoctorDoesNotWaitForEver(t *testing.T) {
	m := newMisbehaving(t)
	m.hangs = func(r *http.Request) bool {
		return r.URL.Path == "/version" || strings.HasSuffix(r.URL.Path, "/v1alpha1")
	}
	out := &harness.Buffer{}
	doctor := []string{"doctor", "--kubeconfig=" + os.DevNull, "--server=" + m.URL, "--api-url=" + m.URL, "--allow-insecure-api-url"}
	got := callWithOptions(t.Context(), Options{Now: time.Now, CheckTimeout: 100 * time.Millisecond}, out, doctor...)
	if got.code != exitNo || !strings.Contains(got.out, "failed    cluster") || !strings.Contains(got.out, "deadline exceeded") {
		t.Errorf("it says\n%v", got)
	}
	p := newPlugin(Options{CheckTimeout: 100 * time.Millisecond})
	*p.config.KubeConfig, *p.config.APIServer = os.DevNull, m.URL
	c, err := p.connect()
	harness.Must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if found := (&crdCheck{plugin: p, cluster: c, kind: tokenKind}).discover(ctx); found[0].state != stateUnknown {
		t.Errorf("it has found %v", found)
	}
	interrupted, interrupt := context.WithCancel(t.Context())
	timer := time.AfterFunc(200*time.Millisecond, interrupt)
	defer timer.Stop()
	got = callWithOptions(interrupted, Options{Now: time.Now}, &harness.Buffer{}, doctor...)
	if got.code != exitError || strings.Contains(got.out, "cluster") || got.errOut != "kubectl pipedream: interrupted\n" {
		t.Errorf("it says\n%v", got)
	}
}

func TestRenewOutlivesTrouble(t *testing.T) {
	all := []string{"renew", "--all", "--wait", "--timeout=2s"}
	isLook := func(r *http.Request, name string) bool {
		return r.Method == http.MethodGet && path.Base(r.URL.Path) == name && !strings.Contains(r.URL.Path, "/secrets/")
	}
	for name, test := range map[string]struct {
		answer func(m *misbehaving, w http.ResponseWriter, r *http.Request) bool
		hangs  func(r *http.Request) bool
		code   int
		out    []string
		errOut []string
	}{
		"one look fails": {
			answer: func() func(*misbehaving, http.ResponseWriter, *http.Request) bool {
				looks := 0
				return func(m *misbehaving, w http.ResponseWriter, r *http.Request) bool {
					if !isLook(r, "a") {
						return false
					}
					if looks++; looks == 1 {
						fail(w, apierrors.NewServiceUnavailable("it starts"))
						return true
					}
					m.renew("a")
					m.renew("b")
					return false
				}
			}(),
			out: []string{"/a renewed, expires in", "/b renewed, expires in"},
		},
		"all looks at one fail": {
			answer: func(m *misbehaving, w http.ResponseWriter, r *http.Request) bool {
				if isLook(r, "a") {
					m.renew("b")
					fail(w, apierrors.NewServiceUnavailable("it starts"))
				}
				return isLook(r, "a")
			},
			code: exitUnknown, out: []string{"/b renewed, expires in"},
			errOut: []string{"/a not renewed within 2s: Issued (the last look has failed: it starts)"},
		},
		"the server does not answer": {
			hangs: func(r *http.Request) bool { return isLook(r, "a") },
			code:  exitUnknown, errOut: []string{"/a not renewed within 2s: ", "deadline exceeded"},
		},
		"one is deleted": {
			answer: func(m *misbehaving, _ http.ResponseWriter, r *http.Request) bool {
				if isLook(r, "a") {
					m.renew("b")
					delete(m.tokens, "a")
				}
				return false
			},
			code: exitNo, out: []string{"/b renewed, expires in"}, errOut: []string{"/a not renewed: it was deleted"},
		},
		"one is deleted and one is not renewed in time": {
			answer: func(m *misbehaving, _ http.ResponseWriter, r *http.Request) bool {
				if isLook(r, "a") {
					delete(m.tokens, "a")
				}
				return false
			},
			code: exitNo, errOut: []string{"/a not renewed: it was deleted", "/b not renewed within 2s: Issued"},
		},
		"one can't be asked for": {
			answer: func(m *misbehaving, w http.ResponseWriter, r *http.Request) bool {
				if isLook(r, "b") {
					m.renew("b")
				}
				isRefused := r.Method == http.MethodPatch && path.Base(r.URL.Path) == "a"
				if isRefused {
					fail(w, apierrors.NewForbidden(tokenKind.resource.GroupResource(), "a", nil))
				}
				return isRefused
			},
			code: exitError, out: []string{"/b renewal requested", "/b renewed, expires in"},
			errOut: []string{"/a renewal not requested: ", "is forbidden"},
		},
		"one must not be looked at any more": {
			answer: func(_ *misbehaving, w http.ResponseWriter, r *http.Request) bool {
				if isLook(r, "a") {
					fail(w, apierrors.NewForbidden(tokenKind.resource.GroupResource(), "a", nil))
				}
				return isLook(r, "a")
			},
			code: exitError, errOut: []string{"is forbidden"},
		},
		"somebody else asks, too": {
			answer: func(m *misbehaving, _ http.ResponseWriter, r *http.Request) bool {
				for _, name := range []string{"a", "b"} {
					if isLook(r, name) {
						m.renew(name)
						m.tokens[name].Annotations[v1alpha1.RenewRequestAnnotation] = "later"
					}
				}
				return false
			},
			out: []string{"/a renewed, expires in", "/b renewed, expires in"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMisbehaving(t, "a", "b")
			m.hangs = test.hangs
			if test.answer != nil {
				m.answer = func(w http.ResponseWriter, r *http.Request) bool { return test.answer(m, w, r) }
			}
			got := m.call(t, all...)
			if got.code != test.code || (len(test.errOut) == 0) != (got.errOut == "") {
				t.Errorf("it says\n%v\nwant exit code %d", got, test.code)
			}
			for _, want := range test.out {
				if !strings.Contains(got.out, want) {
					t.Errorf("it says\n%v\nwant %q", got, want)
				}
			}
			for _, want := range test.errOut {
				if !strings.Contains(got.errOut, want) {
					t.Errorf("it complains\n%v\nwant %q", got, want)
				}
			}
		})
	}
}

func TestEachMissingNameIsNamed(t *testing.T) {
	m := newMisbehaving(t, "a")
	for _, command := range []string{"status", "renew"} {
		got := m.call(t, command, "lost", "a", "gone")
		if got.code != exitError || !strings.Contains(got.out, "a ") ||
			!strings.Contains(got.errOut, `"lost" not found`) || !strings.Contains(got.errOut, `"gone" not found`) || strings.Count(got.errOut, "\n") != 2 {
			t.Errorf("%s says\n%v", command, got)
		}
	}
}

// TestOnlyAGuessedAddressIsBlamedOnTheKubeconfig is about pods, which have none.
func TestOnlyAGuessedAddressIsBlamedOnTheKubeconfig(t *testing.T) {
	p := newPlugin(Options{})
	*p.config.KubeConfig = os.DevNull
	_, err := p.connect()
	harness.Must(t, err)
	if got := p.explain(context.DeadlineExceeded); !p.isGuess || !strings.HasPrefix(got, "there is no kubeconfig") {
		t.Errorf("without an address, it says %q", got)
	}
	if got := p.explain(os.ErrPermission); got != os.ErrPermission.Error() {
		t.Errorf("of another error, it says %q", got)
	}
	p.isGuess = false
	if got := p.explain(context.DeadlineExceeded); strings.Contains(got, "there is no kubeconfig") {
		t.Errorf("with an address, it says %q", got)
	}
}

func TestWatchOutlivesTrouble(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(round int, m *misbehaving, w http.ResponseWriter, isWatch bool) bool
		want   string
		errOut string
	}{
		"the version is too old each time": {
			answer: func(_ int, m *misbehaving, w http.ResponseWriter, isWatch bool) bool {
				if isWatch {
					delete(m.tokens, "b")
					status := apierrors.NewResourceExpired("too old").ErrStatus
					status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
					send(w, map[string]any{"type": "ERROR", "object": status})
				}
				return isWatch
			},
			want: "pdt/b   <deleted>",
		},
		"the watch is refused, and then not": {
			answer: func(round int, m *misbehaving, w http.ResponseWriter, isWatch bool) bool {
				if isWatch && round < 4 {
					fail(w, apierrors.NewServiceUnavailable("it starts"))
					return true
				}
				if isWatch {
					delete(m.tokens, "b")
				}
				return isWatch
			},
			want: "pdt/b   <deleted>", errOut: "kubectl pipedream: watching again: it starts\n",
		},
		"the list is refused, and then not": {
			answer: func(round int, m *misbehaving, w http.ResponseWriter, isWatch bool) bool {
				if !isWatch && round > 0 && round < 3 {
					fail(w, apierrors.NewServiceUnavailable("it starts"))
					return true
				}
				if isWatch {
					delete(m.tokens, "b")
				}
				return isWatch
			},
			want: "pdt/b   <deleted>", errOut: "kubectl pipedream: watching again: it starts\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMisbehaving(t, "a", "b")
			round := 0
			var began []time.Time
			m.answer = func(w http.ResponseWriter, r *http.Request) bool {
				isWatch := r.URL.Query().Has("watch")
				if !isWatch {
					began = append(began, time.Now())
				}
				answered := test.answer(round, m, w, isWatch)
				if isWatch || answered {
					round++
				}
				return answered
			}
			ctx, interrupt := context.WithCancel(t.Context())
			out := &harness.Buffer{}
			ended := make(chan said)
			go func() { ended <- m.callWith(ctx, out, "status", "--watch", "--kind=pdt") }()
			harness.Eventually(t, "status --watch", func() string {
				m.mu.Lock()
				defer m.mu.Unlock()
				if !strings.Contains(out.String(), test.want) || round < 5 {
					return "it says " + out.String()
				}
				return ""
			})
			interrupt()
			if got := <-ended; got.code != 0 || got.errOut != test.errOut || strings.Count(got.out, "\n") != 4 {
				t.Errorf("it says\n%v", got)
			}
			for i := range began[1:] {
				if between := began[i+1].Sub(began[i]); between < 35*time.Millisecond {
					t.Errorf("it lists again after %v", between)
				}
			}
		})
	}
	got := newMisbehaving(t, "a").call(t, "status", "typo", "--watch")
	if got.code != exitError || !strings.Contains(got.errOut, `"typo" not found`) {
		t.Errorf("with a name that is not there, it says\n%v", got)
	}
}

func TestTextOfOthersCantSteerTheTerminal(t *testing.T) {
	m := newMisbehaving(t, "a")
	m.tokens["a"].Status.Secret.Name = "x\u009b31m\u202eevil"
	m.tokens["a"].Status.Conditions[1].Reason = "Is\u009b2Jsued"
	got := m.call(t, "status", "--output=wide")
	if got.code != 0 || strings.ContainsAny(got.out, "\u009b\u202e") {
		t.Errorf("it says %q", got.out)
	}
}

func TestDoctorWarnsOfATokenWithoutStatus(t *testing.T) {
	token := tokenOf("a")
	token.Status = v1alpha1.PipedreamTokenStatus{}
	c := &objectsCheck{now: func() time.Time { return serverTime }}
	want := "the operator has not said yet whether shop/a is Ready"
	if got := c.evaluate(entry{subject: tokenSubject{token}, kind: tokenKind}); got.state != stateWarning || got.what != want {
		t.Errorf("it has found %v, want a warning %q", got, want)
	}
}

func TestDoctorWarnsOfAnAPIOutOfOrder(t *testing.T) {
	m := newMisbehaving(t)
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		isAPI := strings.HasPrefix(r.URL.Path, "/.well-known")
		if isAPI {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return isAPI
	}
	got := m.call(t, "doctor", "--api-url="+m.URL, "--allow-insecure-api-url")
	if want := "warning   API          " + m.URL + " answers with HTTP status 503\n"; !strings.Contains(got.out, want) {
		t.Errorf("it says\n%v\nwant %q", got, want)
	}
}

func TestAJustExpiredTokenIsSpokenOfWithoutNonsense(t *testing.T) {
	m := newMisbehaving(t, "a")
	m.tokens["a"].Status.ExpirationTime = new(metav1.NewTime(serverTime.Add(-10 * time.Second)))
	m.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && path.Base(r.URL.Path) == "a" && m.tokens["a"].Annotations[v1alpha1.RenewRequestAnnotation] != "" {
			m.renew("a")
		}
		return false
	}
	if got := m.call(t, "inspect", "a"); !strings.Contains(got.out, "Works:        yes, until 2026-01-02T03:03:55Z\n") {
		t.Errorf("it says\n%v", got)
	}
	if got := m.call(t, "renew", "a", "--wait"); !strings.Contains(got.out, "/a renewed, expires 10s ago (2026-01-02T03:03:55Z)\n") {
		t.Errorf("it says\n%v", got)
	}
}

func TestAnEntryThatCantBeReadIsLeftOut(t *testing.T) {
	m := newMisbehaving(t, "a")
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if path.Base(r.URL.Path) != tokenKind.resource.Resource {
			return false
		}
		list := map[string]any{
			"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": tokenKind.name + "List", "metadata": map[string]any{"resourceVersion": "5"},
			"items": []any{m.tokens["a"], map[string]any{
				"apiVersion": v1alpha1.SchemeGroupVersion.String(), "kind": tokenKind.name,
				"metadata": map[string]any{"name": "odd", "namespace": "shop"}, "spec": "nonsense",
			}},
		}
		send(w, list)
		return true
	}
	got := m.call(t, "status")
	if got.code != 0 || !strings.Contains(got.out, "\npdt/a ") || !strings.Contains(got.errOut, "read PipedreamToken odd: ") {
		t.Errorf("it says\n%v", got)
	}
}

func TestCompletionDoesNotWaitForEver(t *testing.T) {
	m := newMisbehaving(t)
	m.hangs = func(*http.Request) bool { return true }
	began := time.Now()
	got := call(t.Context(), time.Now, &harness.Buffer{}, "__complete", "--kubeconfig="+os.DevNull, "--server="+m.URL, "status", "")
	if took := time.Since(began); took > patience/2 || !strings.Contains(got.out, ":1\n") {
		t.Errorf("after %v, it offers\n%v", took, got)
	}
}
