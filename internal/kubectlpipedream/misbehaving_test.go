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
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: kind},
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
	return m.callWith(t.Context(), &lockedBuffer{}, arguments...)
}

func (m *misbehaving) callWith(ctx context.Context, out *lockedBuffer, arguments ...string) said {
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
		m.serveSecret(w, path.Base(r.URL.Path))
	case path.Base(r.URL.Path) == resource:
		list := &v1alpha1.PipedreamTokenList{TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: kind + "List"}}
		list.ResourceVersion = "5"
		for _, name := range slices.Sorted(maps.Keys(m.tokens)) {
			list.Items = append(list.Items, *m.tokens[name])
		}
		send(w, list)
	case m.tokens[path.Base(r.URL.Path)] == nil:
		fail(w, apierrors.NewNotFound(tokenResource.GroupResource(), path.Base(r.URL.Path)))
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

// serveSecret serves the metadata of the Secret whose token is for the last request.
func (m *misbehaving) serveSecret(w http.ResponseWriter, name string) {
	secret := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
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
	m.hangs = func(r *http.Request) bool { return r.URL.Path == "/version" || strings.HasSuffix(r.URL.Path, "/v1alpha1") }
	out := &lockedBuffer{}
	doctor := []string{"doctor", "--kubeconfig=" + os.DevNull, "--server=" + m.URL, "--api-url=" + m.URL, "--allow-insecure-api-url"}
	got := callWithOptions(t.Context(), Options{Now: time.Now, CheckTimeout: 100 * time.Millisecond}, out, doctor...)
	if got.code != exitNo || !strings.Contains(got.out, "failed    cluster") || !strings.Contains(got.out, "deadline exceeded") {
		t.Errorf("it says\n%v", got)
	}
	p := newPlugin(Options{CheckTimeout: 100 * time.Millisecond})
	*p.config.KubeConfig, *p.config.APIServer = os.DevNull, m.URL
	c, err := p.connect()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if found := (&examination{plugin: p, cluster: c}).discoverCRD(ctx); found[0].state != stateUnknown {
		t.Errorf("it has found %v", found)
	}
	interrupted, interrupt := context.WithCancel(t.Context())
	timer := time.AfterFunc(200*time.Millisecond, interrupt)
	defer timer.Stop()
	got = callWithOptions(interrupted, Options{Now: time.Now}, &lockedBuffer{}, doctor...)
	if got.code != exitError || strings.Contains(got.out, "cluster") || got.errOut != "kubectl pipedream: interrupted\n" {
		t.Errorf("it says\n%v", got)
	}
}
