// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// TestADeletedNamespaceLeavesNoErrorInTheLog deletes namespaces with PipedreamTokens in them, while the events about
// the tokens are on their way to the API server.
func TestADeletedNamespaceLeavesNoErrorInTheLog(t *testing.T) {
	t.Parallel()
	var sites []*site
	var names []string
	for range 3 {
		s := newSite(t)
		if len(sites) > 0 {
			s.pipedream = sites[0].pipedream
		}
		sites, names = append(sites, s), append(names, s.namespace)
	}
	first := sites[0]
	areDeleted := make(chan struct{})
	first.wire.holdEvents(areDeleted)
	manager := startManager(t, append(first.arguments(), "--namespaces="+strings.Join(names, ","), "--zap-log-level=debug")...)
	for _, s := range sites {
		for _, name := range []string{"one", "two"} {
			s.register(name, goodSecret)
			s.create(name)
		}
	}
	for _, s := range sites {
		for _, name := range []string{"one", "two"} {
			s.eventually(name+" is Ready", func() bool { return s.condition(name, "Ready").Status == metav1.ConditionTrue })
		}
	}
	for _, name := range names {
		harness.Must(t, first.admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	close(areDeleted)
	first.eventually("an event is refused", func() bool {
		return strings.Contains(manager.Log.String(), "Server rejected event")
	})
	// A request about an event that is on its way when the manager stops is cancelled, and that is logged.
	logged := manager.Log.String()
	manager.stop(t)
	for line := range strings.Lines(logged) {
		if strings.Contains(line, `"level":"error"`) && strings.Contains(line, "event") {
			t.Errorf("an error is logged: %s", line)
		}
	}
}

// TestErrorsThatAreStillLogged describes errors of requests.
func TestErrorsThatAreStillLogged(t *testing.T) {
	t.Parallel()
	events := schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
	terminating := apierrors.NewForbidden(events, "orders.1", errors.New("the namespace is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, test := range map[string]struct {
		err     error
		isError bool
	}{
		"a namespace that is being deleted": {terminating, false},
		"a namespace that was deleted":      {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "shop"), false},
		"no permission":                     {apierrors.NewForbidden(events, "orders.1", errors.New("no")), true},
		"no such resource":                  {apierrors.NewGenericServerResponse(http.StatusNotFound, "post", events, "", "", 0, true), true},
		"an invalid event":                  {apierrors.NewBadRequest("no"), true},
		"another error":                     {errors.New("broken pipe"), true},
		"no error":                          {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lines []string
			logger := newLogger(funcr.NewJSON(func(line string) { lines = append(lines, line) }, funcr.Options{Verbosity: 1}))
			logger.WithName("events").WithValues("a", 1).WithCallDepth(1).Error(test.err, "Server rejected event", "event", "x")
			if len(lines) != 1 || strings.Contains(lines[0], `"error":`) != test.isError || !strings.Contains(lines[0], `"a":1`) {
				t.Errorf("it is logged as %q", lines)
			}
			lines = nil
			quiet := newLogger(funcr.NewJSON(func(line string) { lines = append(lines, line) }, funcr.Options{}))
			quiet.Error(test.err, "Server rejected event")
			if (len(lines) == 1) != test.isError {
				t.Errorf("at the default level it is logged as %q", lines)
			}
		})
	}
}
