// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// answer is a Lease that the API server answers with.
type answer struct {
	uid             types.UID
	resourceVersion string
	holder          string
	transitions     int32
	renewed         time.Duration // after the first answer
}

func (a answer) lease() *coordinationv1.Lease {
	renewed := metav1.NewMicroTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(a.renewed))
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: leaseName, UID: a.uid, ResourceVersion: a.resourceVersion},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &a.holder, LeaseTransitions: &a.transitions, RenewTime: &renewed},
	}
}

func TestLeaseHistory(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answers []answer
		// lost is the answer that shows that changes were lost, or -1.
		lost int
	}{
		"the first answer": {
			answers: []answer{{"a", "1490", "me", 3, 0}},
			lost:    -1,
		},
		"a leader renews": {
			answers: []answer{{"a", "999", "me", 3, 0}, {"a", "1000", "me", 3, 2 * time.Second}, {"a", "1042", "me", 3, 4 * time.Second}},
			lost:    -1,
		},
		"a standby reads the same again": {
			answers: []answer{{"a", "1490", "other", 3, 0}, {"a", "1490", "other", 3, 0}},
			lost:    -1,
		},
		"the leader's Lease was restored": {
			answers: []answer{{"a", "1480", "me", 3, 0}, {"a", "1490", "me", 3, 2 * time.Second}, {"a", "1010", "me", 3, -5 * time.Minute}},
			lost:    2,
		},
		"the number of digits went back": {
			answers: []answer{{"a", "10000", "me", 3, 0}, {"a", "9999", "me", 3, -time.Minute}},
			lost:    1,
		},
		"the Lease of another leader was restored, with an earlier holder": {
			answers: []answer{{"a", "1490", "other", 3, 0}, {"a", "1010", "third", 2, -5 * time.Minute}},
			lost:    1,
		},
		"another replica has written the restored Lease already": {
			answers: []answer{{"a", "1490", "other", 3, 0}, {"a", "1012", "third", 4, 20 * time.Second}},
			lost:    1,
		},
		"restored to a moment before the Lease was made": {
			answers: []answer{{"a", "1490", "me", 0, 0}, {"b", "1012", "me", 0, 2 * time.Second}},
			lost:    1,
		},
		"the clock of the holder was set back while it leads": {
			answers: []answer{{"a", "1000", "me", 3, 0}, {"a", "1010", "me", 3, -time.Hour}, {"a", "1020", "me", 3, -time.Hour + 2*time.Second}},
			lost:    -1,
		},
		"the next leader's clock is behind": {
			answers: []answer{{"a", "1000", "other", 3, 0}, {"a", "1010", "third", 4, -time.Minute}},
			lost:    -1,
		},
		"two that both believe to lead, with clocks that differ": {
			answers: []answer{{"a", "1000", "me", 3, 0}, {"a", "1002", "other", 4, -time.Minute}, {"a", "1004", "me", 5, 4 * time.Second}, {"a", "1006", "other", 6, -50 * time.Second}},
			lost:    -1,
		},
		"the Lease was deleted and made again": {
			answers: []answer{{"a", "1000", "me", 7, 0}, {"b", "1010", "me", 0, 2 * time.Second}},
			lost:    -1,
		},
		"somebody set renewTime and leaseTransitions back": {
			answers: []answer{{"a", "1000", "me", 7, 0}, {"a", "1010", "me", 1, -24 * time.Hour}, {"a", "1012", "me", 1, 2 * time.Second}},
			lost:    -1,
		},
		"a write whose answer got lost": {
			answers: []answer{{"a", "1000", "me", 7, 0}, {"a", "1002", "me", 7, 2 * time.Second}, {"a", "1009", "me", 7, time.Second}},
			lost:    -1,
		},
		"a restore that raises all resourceVersions, for which watches begin again by themselves": {
			answers: []answer{{"a", "1490", "me", 3, 0}, {"a", "1000001010", "me", 3, -5 * time.Minute}},
			lost:    -1,
		},
		"resourceVersions that are no numbers": {
			answers: []answer{{"a", "x9", "me", 3, 0}, {"a", "x1", "me", 3, -time.Minute}, {"a", "", "me", 3, -time.Minute}},
			lost:    -1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			history := &leaseHistory{lost: make(chan struct{})}
			for i, answer := range test.answers {
				err := history.observe(answer.lease())
				if want := test.lost >= 0 && i >= test.lost; (err != nil) != want {
					t.Errorf("answer %d, %+v: %v; want that changes were lost: %v", i, answer, err, want)
				}
			}
			select {
			case <-history.lost:
				if test.lost < 0 {
					t.Error("the manager is told to end")
				}
			default:
				if test.lost >= 0 {
					t.Error("the manager is not told to end")
				}
			}
		})
	}
}

// scripted answers with one Lease after the other, and counts the requests.
type scripted struct {
	coordinationv1client.LeaseInterface
	answers  []any // *coordinationv1.Lease or error
	requests []string
}

func (s *scripted) Leases(string) coordinationv1client.LeaseInterface { return s }

func (s *scripted) next(request string) (*coordinationv1.Lease, error) {
	s.requests = append(s.requests, request)
	answered := s.answers[0]
	s.answers = s.answers[1:]
	if err, ok := answered.(error); ok {
		return nil, err
	}
	return answered.(*coordinationv1.Lease), nil
}

func (s *scripted) Get(context.Context, string, metav1.GetOptions) (*coordinationv1.Lease, error) {
	return s.next("get")
}

func (s *scripted) Create(context.Context, *coordinationv1.Lease, metav1.CreateOptions) (*coordinationv1.Lease, error) {
	return s.next("create")
}

func (s *scripted) Update(context.Context, *coordinationv1.Lease, metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return s.next("update")
}

// TestLostHistoryEndsLeaderElection checks that nothing is asked or written any more once
// changes were lost: to give the Lease back would hide from a standby that it was restored.
func TestLostHistoryEndsLeaderElection(t *testing.T) {
	t.Parallel()
	conflict := apierrors.NewConflict(coordinationv1.Resource("leases"), leaseName, errors.New("it was changed"))
	server := &scripted{answers: []any{
		answer{"a", "1480", "other", 3, 0}.lease(),
		answer{"a", "1490", "me", 4, 2 * time.Second}.lease(),
		conflict,
		answer{"a", "1010", "other", 3, -5 * time.Minute}.lease(),
	}}
	history := &leaseHistory{LeasesGetter: server, lost: make(chan struct{})}
	leases := history.Leases("system")
	get := func() error { _, err := leases.Get(t.Context(), leaseName, metav1.GetOptions{}); return err }
	update := func() error {
		_, err := leases.Update(t.Context(), &coordinationv1.Lease{}, metav1.UpdateOptions{})
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- history.Start(t.Context()) }()

	harness.Must(t, get())
	harness.Must(t, update())
	if err := update(); !apierrors.IsConflict(err) {
		t.Fatalf("Update = %v, want the API server's own error", err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the manager is told to end with %v before changes were lost", err)
	default:
	}
	lost := &historyLostError{}
	if err := get(); !errors.As(err, &lost) {
		t.Fatalf("Get = %v, want that changes were lost", err)
	}
	if err := <-ended; !errors.As(err, &lost) {
		t.Errorf("the manager ends with %v, want that changes were lost", err)
	}
	for _, want := range []string{"system/pipedream-operator", "resourceVersion 1010 (renewed 2026-03-01T11:55:00Z)", "resourceVersion 1490 (renewed 2026-03-01T12:00:02Z)", "backup"} {
		if !strings.Contains(lost.Error(), want) {
			t.Errorf("the error has no %q: %v", want, lost)
		}
	}
	lease, created := leases.Create(t.Context(), &coordinationv1.Lease{}, metav1.CreateOptions{})
	if lease == nil {
		t.Error("Create returns no Lease, about which leader election records an event when it ends")
	}
	for request, err := range map[string]error{"get": get(), "update": update(), "create": created} {
		if !errors.As(err, &lost) {
			t.Errorf("%s = %v, want that changes were lost", request, err)
		}
	}
	if got := strings.Join(server.requests, " "); got != "get update update get" {
		t.Errorf("the requests are %q, want none after changes were lost, and none of its own before", got)
	}
}

func TestLeaseHistoryEndsWithTheManager(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&leaseHistory{lost: make(chan struct{})}).Start(ctx); err != nil {
		t.Errorf("Start = %v when the manager is told to stop, want no error", err)
	}
}
