// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// metadataEdits are the i-th edits of metadata that are nobody's business but the
// editor's.
var metadataEdits = map[string]func(object client.Object, i int){
	"labels":      func(object client.Object, i int) { object.SetLabels(map[string]string{"edit": strconv.Itoa(i)}) },
	"annotations": annotate,
	"finalizers": func(object client.Object, i int) {
		object.SetFinalizers([]string{"example.com/edit-" + strconv.Itoa(i)})
	},
}

func annotate(object client.Object, i int) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations["example.com/edit"] = strconv.Itoa(i)
	annotations[corev1.LastAppliedConfigAnnotation] = `{"edit":"` + strconv.Itoa(i) + `"}`
	object.SetAnnotations(annotations)
}

// edited are the objects whose metadata is edited.
var edited = map[string]func(*world) client.Object{
	"the PipedreamToken": func(w *world) client.Object { return w.token() },
	"its Secret":         func(w *world) client.Object { return w.target() },
	"its credentials":    func(w *world) client.Object { return w.secret("credentials") },
}

func TestEditOfMetadataCostsNoExchange(t *testing.T) {
	states := map[string]struct {
		given func(*world)
		want  int
	}{
		"a token is held": {given: func(*world) {}, want: 1},
		"a renewal was refused": {
			given: func(w *world) {
				must(w.T, w.pipedream.SetClient(clientID, "rotated"))
				w.passUntil(w.token().Status.RenewalTime)
				w.reconcile()
			},
			want: 2,
		},
		"a renewed token can't be stored": {
			given: func(w *world) {
				change(w, w.target(), func(s *corev1.Secret) { s.Immutable = new(true) })
				w.passUntil(w.token().Status.RenewalTime)
				w.reconcile()
			},
			want: 2,
		},
	}
	for state, test := range states {
		for whose, get := range edited {
			for what, edit := range metadataEdits {
				t.Run(what+" of "+whose+" while "+state, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.issued()
					test.given(w)
					for i := range 5 {
						// Longer than two tokens of one object are apart, so that the spacing hides nothing.
						w.pass(11 * time.Second)
						change(w, get(w), func(object client.Object) { edit(object, i) })
						w.reconcile()
						w.wantExchanges(test.want)
						w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
					}
					w.wantAccepted()
				})
			}
		}
	}
}

// echo is a watch that tells each event about certain objects many times. An event
// is a frame: its length, in four bytes, and its content.
type echo struct {
	io.ReadCloser
	about  string
	times  int
	told   *atomic.Int32
	unread []byte
}

func (e *echo) Read(buffer []byte) (int, error) {
	if len(e.unread) == 0 {
		frame := make([]byte, 4)
		if _, err := io.ReadFull(e.ReadCloser, frame); err != nil {
			return 0, err
		}
		frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
		if _, err := io.ReadFull(e.ReadCloser, frame[4:]); err != nil {
			return 0, err
		}
		e.unread = frame
		if bytes.Contains(frame, []byte(e.about)) {
			e.unread = bytes.Repeat(frame, e.times)
			e.told.Add(int32(e.times)) //nolint:gosec // A hundred.
		}
	}
	n := copy(buffer, e.unread)
	e.unread = e.unread[n:]
	return n, nil
}

// TestEventsOfUnrelatedSecretsCostNothing has a hundred Secrets written beside a
// manager that watches their namespace, and is told of each a hundred times. Half of
// them carry the annotations of one of ours, as a copy does.
func TestEventsOfUnrelatedSecretsCostNothing(t *testing.T) {
	const secrets, times = 100, 100
	w := newWorld(t)
	told := &atomic.Int32{}
	w.startManager(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if err == nil && request.URL.Query().Get("watch") == "true" && strings.HasSuffix(request.URL.Path, "/secrets") {
				response.Body = &echo{ReadCloser: response.Body, about: "unrelated-", times: times, told: told}
			}
			return response, err
		})
	})
	w.createCredentials()
	w.create()
	w.eventually("Ready", w.isReady)
	w.catchUp()

	w.wire.reset()
	record := w.target().Annotations
	for i := range secrets {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "unrelated-" + strconv.Itoa(i)}}
		if i%2 == 0 {
			secret.Annotations = record
		}
		must(t, w.admin.Create(t.Context(), secret))
	}
	w.catchUp()
	w.wantRequests(catchUpRequests)
	w.wantExchanges(1)
	if got := told.Load(); got != secrets*times {
		t.Errorf("the manager was told of %d events, want %d", got, secrets*times)
	}
}

// catchUp returns when the manager has seen all that has happened to the Secrets: it
// has seen a last edit of the credentials, which it hears of by the same watch, and
// has reported that it looked at them.
func (w *world) catchUp() {
	w.Helper()
	credentials := w.secret("credentials")
	change(w, credentials, func(s *corev1.Secret) { annotate(s, w.clock.Now().Nanosecond()) })
	w.pass(1)
	w.eventually("the manager has caught up", func() bool {
		return w.token().Status.ClientSecretResourceVersion == credentials.ResourceVersion
	})
}

// catchUpRequests are what that takes.
var catchUpRequests = map[string]int{"GET secrets": 2, "PATCH pipedreamtokens/status": 1}
