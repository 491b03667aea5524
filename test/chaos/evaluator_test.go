// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// snapshotOf returns the snapshot of an object whose token expires at that time.
func snapshotOf(secretToken string, answered answer, ready bool, expires time.Time) snapshot {
	token := newToken(1)
	token.UID, token.Generation = "uid", 1
	status := metav1.ConditionFalse
	if ready {
		status = metav1.ConditionTrue
	}
	token.Status = v1alpha1.PipedreamTokenStatus{
		ObservedGeneration: 1,
		ExpirationTime:     new(metav1.NewTime(expires)),
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: status, Reason: v1alpha1.ReasonTokenValid},
			{Type: v1alpha1.ConditionRenewed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonIssued},
		},
	}
	s := snapshot{token: token, held: held{answer: answered, owned: 1}}
	if secretToken != "" {
		claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, expires.Unix()))
		s.secret = &corev1.Secret{Data: map[string][]byte{accessTokenKey: []byte(secretToken + "." + claims + ".")}}
		s.secret.OwnerReferences = []metav1.OwnerReference{{UID: token.UID, Controller: new(true)}}
	}
	return s
}

func tokenOf(expires time.Time) string { return snapshotOf("t", accepted, true, expires).accessToken() }

func TestSnapshotsAreEvaluated(t *testing.T) {
	t.Parallel()
	const verified, unverified = 4, 1
	expires := at(500)
	tests := map[string]struct {
		object   int
		snapshot snapshot
		before   func(*evaluator)
		want     map[invariant]int
	}{
		"all is well":                      {object: unverified, snapshot: snapshotOf("t", accepted, true, expires)},
		"a refused token":                  {object: unverified, snapshot: snapshotOf("t", refused, false, expires), want: map[invariant]int{liveToken: 1}},
		"no Secret":                        {object: unverified, snapshot: snapshotOf("", unknown, false, expires), want: map[invariant]int{liveToken: 1}},
		"Ready, and refused":               {object: unverified, snapshot: snapshotOf("t", refused, true, expires), want: map[invariant]int{liveToken: 1, trueStatus: 1}},
		"Ready, and no Secret":             {object: unverified, snapshot: snapshotOf("", unknown, true, expires), want: map[invariant]int{liveToken: 1, trueStatus: 1}},
		"Ready, and expired by the status": {object: unverified, snapshot: snapshotOf("t", refused, true, at(90)), want: map[invariant]int{liveToken: 1, trueStatus: 2}},
		"live, and overdue":                {object: unverified, snapshot: snapshotOf("t", accepted, true, at(115)), want: map[invariant]int{liveToken: 1}},
		"not Ready, and live":              {object: unverified, snapshot: snapshotOf("t", accepted, false, expires), want: map[invariant]int{trueStatus: 1}},
		"an answer that proves nothing":    {object: unverified, snapshot: snapshotOf("t", unknown, true, expires)},
		"refused, and Pipedream was faulty": {
			object: unverified, snapshot: snapshotOf("t", refused, false, expires),
			before: func(e *evaluator) { e.promises.touch(ofPipedream, 0, at(90)) },
		},
		"Ready, refused, and Pipedream was faulty": {
			object: unverified, snapshot: snapshotOf("t", refused, true, expires),
			before: func(e *evaluator) { e.promises.touch(ofPipedream, 0, at(90)) }, want: map[invariant]int{trueStatus: 1},
		},
		"all wrong, and the cluster was unavailable": {
			object: unverified, snapshot: snapshotOf("t", refused, true, at(90)),
			before: func(e *evaluator) { e.promises.touch(ofCluster, 0, at(90)) },
		},
		"revoked without verification": {
			object: unverified, snapshot: snapshotOf("t", refused, true, expires),
			before: func(e *evaluator) {
				e.revoke(unverified, tokenOf(expires), e.promises.begin(ofObject, unverified, at(1)), at(1))
			},
		},
		"revoked with verification, long ago": {
			object: verified, snapshot: snapshotOf("t", refused, true, expires),
			before: func(e *evaluator) {
				e.revoke(verified, tokenOf(expires), e.promises.begin(ofObject, verified, at(1)), at(1))
			},
			want: map[invariant]int{liveToken: 1, trueStatus: 1},
		},
		"revoked with verification, just now": {
			object: verified, snapshot: snapshotOf("t", refused, true, expires),
			before: func(e *evaluator) {
				e.revoke(verified, tokenOf(expires), e.promises.begin(ofObject, verified, at(90)), at(90))
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEvaluator(&promises{}, &budget{}, newReporter(io.Discard))
			if test.before != nil {
				test.before(e)
			}
			for second := 100; second <= 110; second++ {
				e.evaluate(test.object, test.snapshot, at(second))
			}
			want := test.want
			if want == nil {
				want = map[invariant]int{}
			}
			if diff := cmp.Diff(want, e.reporter.breaches); diff != "" {
				t.Errorf("breaches (-want +got):\n%s", diff)
			}
		})
	}
}

func TestALeftOverSecretIsABreachAfterTheCollectorsDelay(t *testing.T) {
	t.Parallel()
	e := newEvaluator(&promises{}, &budget{}, newReporter(io.Discard))
	for _, second := range []int{100, 101, 100 + int(collectorDelay/time.Second)} {
		e.evaluateOwners(nil, []string{"team-0/left"}, at(second))
	}
	if e.reporter.breachCount() != 0 {
		t.Error("a breach before the collector had its time")
	}
	e.evaluateOwners([]snapshot{{held: held{owned: 2}}, {held: held{owned: 1}}}, []string{"team-0/left"}, at(101+int(collectorDelay/time.Second)))
	if got := e.reporter.breaches[oneSecret]; got != 2 {
		t.Errorf("%d breaches, want one for the left-over Secret and one for the two Secrets", got)
	}
}

func TestSecretsAreCountedByTheirController(t *testing.T) {
	t.Parallel()
	token := newToken(1)
	token.UID = "new"
	controller := func(name string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: "PipedreamToken", Name: name, UID: uid, Controller: new(true)}}
	}
	tests := map[string]struct {
		name    string
		owners  []metav1.OwnerReference
		owned   int
		orphans int
	}{
		"its own":                        {secretOf(1).Name, controller(token.Name, "new"), 1, 0},
		"a second one":                   {"other", controller(token.Name, "new"), 1, 0},
		"inherited from its predecessor": {secretOf(1).Name, controller(token.Name, "old"), 1, 0},
		"of a deleted PipedreamToken":    {"other", controller("other", "old"), 0, 1},
		"without a controller":           {secretOf(1).Name, nil, 0, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := corev1.Secret{ObjectMeta: metav1.ObjectMeta{
				Namespace: namespaceOf(1), Name: test.name, OwnerReferences: test.owners,
				Annotations: map[string]string{v1alpha1.OwnerAnnotation: token.Name},
			}}
			snapshots, orphans := assemble([]v1alpha1.PipedreamToken{*token}, []corev1.Secret{secret})
			if snapshots[1].owned != test.owned || len(orphans) != test.orphans {
				t.Errorf("%d owned and %d left over, want %d and %d", snapshots[1].owned, len(orphans), test.owned, test.orphans)
			}
		})
	}
}
