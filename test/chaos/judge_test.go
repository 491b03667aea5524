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

// seen returns what is seen of an object that holds a token until then.
func seen(held string, said answer, ready bool, expires time.Time) sight {
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
	s := sight{token: token, answer: said, owned: 1}
	if held != "" {
		claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, expires.Unix()))
		s.secret = &corev1.Secret{Data: map[string][]byte{accessTokenKey: []byte(held + "." + claims + ".")}}
		s.secret.OwnerReferences = []metav1.OwnerReference{{UID: token.UID, Controller: new(true)}}
	}
	return s
}

func tokenOf(expires time.Time) string { return seen("t", accepted, true, expires).held() }

func TestWhatIsSeenIsJudged(t *testing.T) {
	t.Parallel()
	const verified, unverified = 4, 1
	expires := at(500)
	tests := map[string]struct {
		object int
		sight  sight
		before func(*judge)
		want   map[invariant]int
	}{
		"all is well":                      {object: unverified, sight: seen("t", accepted, true, expires)},
		"a refused token":                  {object: unverified, sight: seen("t", refused, false, expires), want: map[invariant]int{liveToken: 1}},
		"no Secret":                        {object: unverified, sight: seen("", unknown, false, expires), want: map[invariant]int{liveToken: 1}},
		"Ready, and refused":               {object: unverified, sight: seen("t", refused, true, expires), want: map[invariant]int{liveToken: 1, trueStatus: 1}},
		"Ready, and no Secret":             {object: unverified, sight: seen("", unknown, true, expires), want: map[invariant]int{liveToken: 1, trueStatus: 1}},
		"Ready, and expired by the status": {object: unverified, sight: seen("t", refused, true, at(90)), want: map[invariant]int{liveToken: 1, trueStatus: 2}},
		"live, and overdue":                {object: unverified, sight: seen("t", accepted, true, at(115)), want: map[invariant]int{liveToken: 1}},
		"not Ready, and live":              {object: unverified, sight: seen("t", accepted, false, expires), want: map[invariant]int{trueStatus: 1}},
		"an answer that means nothing":     {object: unverified, sight: seen("t", unknown, true, expires)},
		"refused, and Pipedream was faulty": {
			object: unverified, sight: seen("t", refused, false, expires),
			before: func(j *judge) { j.promises.touch(ofPipedream, 0, at(90)) },
		},
		"Ready, refused, and Pipedream was faulty": {
			object: unverified, sight: seen("t", refused, true, expires),
			before: func(j *judge) { j.promises.touch(ofPipedream, 0, at(90)) }, want: map[invariant]int{trueStatus: 1},
		},
		"all wrong, and the cluster was away": {
			object: unverified, sight: seen("t", refused, true, at(90)),
			before: func(j *judge) { j.promises.touch(ofCluster, 0, at(90)) },
		},
		"revoked without verification": {
			object: unverified, sight: seen("t", refused, true, expires),
			before: func(j *judge) {
				j.revoke(unverified, tokenOf(expires), j.promises.begin(ofObject, unverified, at(1)), at(1))
			},
		},
		"revoked with verification, long ago": {
			object: verified, sight: seen("t", refused, true, expires),
			before: func(j *judge) {
				j.revoke(verified, tokenOf(expires), j.promises.begin(ofObject, verified, at(1)), at(1))
			},
			want: map[invariant]int{liveToken: 1, trueStatus: 1},
		},
		"revoked with verification, just now": {
			object: verified, sight: seen("t", refused, true, expires),
			before: func(j *judge) {
				j.revoke(verified, tokenOf(expires), j.promises.begin(ofObject, verified, at(90)), at(90))
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJudge(&promises{}, &ledger{}, newDiary(io.Discard))
			if test.before != nil {
				test.before(j)
			}
			for second := 100; second <= 110; second++ {
				j.look(test.object, test.sight, at(second))
			}
			want := test.want
			if want == nil {
				want = map[invariant]int{}
			}
			if diff := cmp.Diff(want, j.diary.breaches); diff != "" {
				t.Errorf("breaches (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASecretLeftOverIsABreachOnceTheCollectorHadItsTime(t *testing.T) {
	t.Parallel()
	j := newJudge(&promises{}, &ledger{}, newDiary(io.Discard))
	for _, second := range []int{100, 101, 100 + int(collecting/time.Second)} {
		j.lookAtOwners(nil, []string{"team-0/left"}, at(second))
	}
	if j.diary.breached() != 0 {
		t.Error("too early")
	}
	j.lookAtOwners([]sight{{owned: 2}, {owned: 1}}, []string{"team-0/left"}, at(101+int(collecting/time.Second)))
	if got := j.diary.breaches[oneSecret]; got != 2 {
		t.Errorf("%d breaches, want one of a Secret left over and one of two Secrets", got)
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
		"its own":                       {secretOf(1).Name, controller(token.Name, "new"), 1, 0},
		"a second one":                  {"other", controller(token.Name, "new"), 1, 0},
		"inherited from its like":       {secretOf(1).Name, controller(token.Name, "old"), 1, 0},
		"that of one that is gone":      {"other", controller("other", "old"), 0, 1},
		"of ours, controlled by nobody": {secretOf(1).Name, nil, 0, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := corev1.Secret{ObjectMeta: metav1.ObjectMeta{
				Namespace: namespaceOf(1), Name: test.name, OwnerReferences: test.owners,
				Annotations: map[string]string{v1alpha1.OwnerAnnotation: token.Name},
			}}
			sights, orphans := assemble([]v1alpha1.PipedreamToken{*token}, []corev1.Secret{secret})
			if sights[1].owned != test.owned || len(orphans) != test.orphans {
				t.Errorf("%d owned and %d left over, want %d and %d", sights[1].owned, len(orphans), test.owned, test.orphans)
			}
		})
	}
}
