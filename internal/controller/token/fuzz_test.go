// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/renewal"
)

// ordersToken is the PipedreamToken shop/orders.
func ordersToken() *v1alpha1.PipedreamToken {
	return &v1alpha1.PipedreamToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "orders", UID: "uid", Generation: 2, ResourceVersion: "9"},
		Spec: v1alpha1.PipedreamTokenSpec{
			ClientSecretRef: v1alpha1.ClientSecretReference{Name: "credentials"},
			ProjectID:       "proj_abc123",
			Verification:    v1alpha1.Verification{IntervalSeconds: 60},
		},
	}
}

// FuzzRecord reads what anybody may have written into the annotations of a Secret.
func FuzzRecord(f *testing.F) {
	f.Add("orders", "2026-01-02T03:04:05Z", "2026-01-02T04:04:05Z", "connect:*", "https://api.pipedream.com", "", "inputs",
		"pipedream-operator.io/v1alpha1", "PipedreamToken", "orders", true, "access_token", []byte("eyJ0"))
	f.Fuzz(func(t *testing.T, owner, issuedAt, expiresAt, scopes, api, renewRequest, inputs,
		controllerVersion, controllerKind, controllerName string, controls bool, key string, value []byte,
	) {
		token := ordersToken()
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Name: "orders", ResourceVersion: "5",
				Annotations: map[string]string{
					v1alpha1.OwnerAnnotation: owner, v1alpha1.IssuedAtAnnotation: issuedAt, v1alpha1.ExpiresAtAnnotation: expiresAt,
					v1alpha1.ScopesAnnotation: scopes, v1alpha1.APIAnnotation: api, v1alpha1.RenewRequestAnnotation: renewRequest,
					v1alpha1.InputsAnnotation: inputs,
				},
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: controllerVersion, Kind: controllerKind, Name: controllerName, Controller: &controls,
				}},
			},
			Data: map[string][]byte{key: value},
		}
		isOurs := ownedsecret.BelongsTo(secret, token)
		if isOurs && (owner != "orders" || controls && (controllerKind != "PipedreamToken" || controllerName != "orders")) {
			t.Errorf("a Secret of %q, controlled by %s %s %s, counts as ours", owner, controllerVersion, controllerKind, controllerName)
		}
		built := layout.Build(token, &metav1.PartialObjectMetadata{ObjectMeta: secret.ObjectMeta}, ownedsecret.Desired{})
		if controller := metav1.GetControllerOf(built); controller == nil || controller.UID != token.UID {
			t.Errorf("the owner references are %+v, want ours to control", built.OwnerReferences)
		}
		checkContent(t, secret)
		record := parseRecord(secret.Annotations)
		if record == nil {
			return
		}
		checkRecord(t, secret, *record)
		if isOurs {
			checkStatusOf(t, token, secret, *record)
		}
	})
}

// checkContent checks that a Secret is intact with its digest, and not after any
// change of what the digest covers.
func checkContent(t *testing.T, secret *corev1.Secret) {
	t.Helper()
	if layout.IsIntact(secret) {
		t.Error("a Secret without a digest counts as intact")
	}
	whole := secret.DeepCopy()
	whole.Annotations[v1alpha1.ContentAnnotation] = layout.Digest(whole.Annotations, whole.Data)
	if !layout.IsIntact(whole) {
		t.Error("a Secret with its digest does not count as intact")
	}
	for _, name := range []string{
		v1alpha1.OwnerAnnotation, v1alpha1.IssuedAtAnnotation, v1alpha1.ExpiresAtAnnotation, v1alpha1.ScopesAnnotation,
		v1alpha1.APIAnnotation, v1alpha1.RenewRequestAnnotation, v1alpha1.InputsAnnotation, v1alpha1.CredentialsAnnotation,
		v1alpha1.GrantedScopeAnnotation, v1alpha1.TokenKeyAnnotation, v1alpha1.RenderingAnnotation,
		v1alpha1.LabelsAnnotation, v1alpha1.AnnotationsAnnotation,
	} {
		edited := whole.DeepCopy()
		edited.Annotations[name] += "x"
		if layout.IsIntact(edited) {
			t.Errorf("an edit of %s is not seen", name)
		}
	}
	for key, value := range whole.Data {
		for what, data := range map[string]map[string][]byte{
			"another value":  {key: append([]byte("x"), value...)},
			"another key":    {key + "x": value},
			"a shifted byte": {key + "x": append([]byte("x"), value...)},
			"one more key":   {key: value, key + "x": nil},
			"nothing":        {},
		} {
			edited := whole.DeepCopy()
			edited.Data = data
			if layout.IsIntact(edited) {
				t.Errorf("%s in place of the data is not seen", what)
			}
		}
	}
}

// checkRecord checks that a record is written again just as it was read.
func checkRecord(t *testing.T, secret *corev1.Secret, record renewal.Record) {
	t.Helper()
	if !record.ExpirationTime.After(record.IssueTime) {
		t.Errorf("the token lives from %s to %s", record.IssueTime, record.ExpirationTime)
	}
	again := currentIn(secret, record).record()
	again[v1alpha1.OwnerAnnotation] = secret.Annotations[v1alpha1.OwnerAnnotation]
	want := maps.Clone(secret.Annotations)
	want[v1alpha1.CredentialsAnnotation], want[v1alpha1.GrantedScopeAnnotation] = "", ""
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("a record that was read is written differently (-read +written):\n%s", diff)
	}
	if got := parseRecord(again); !cmp.Equal(got, &record) {
		t.Errorf("the record %+v becomes %+v", record, got)
	}
}

// checkStatusOf checks that what a record says can be said in a status.
func checkStatusOf(t *testing.T, token *v1alpha1.PipedreamToken, secret *corev1.Secret, record renewal.Record) {
	t.Helper()
	now := time.Date(2026, 1, 2, 3, 30, 0, 0, time.UTC)
	s := snapshot{
		token: token, desired: desiredBy(token, record.API),
		target: &metav1.PartialObjectMetadata{ObjectMeta: secret.ObjectMeta},
		now:    now, firstSeen: now,
	}
	st := &state{}
	st.apply(s, observed{rendering: renderMadeUp(token, s.desired.Scopes)})
	checkProjection(t, s, st)
}

// checkProjection checks that the status and the time to the next reconcile are such that the API
// server and the queue can do with them.
func checkProjection(t *testing.T, s snapshot, st *state) {
	t.Helper()
	v := view{snapshot: s, state: *st, decision: renewal.Decide(s.desired, factsOf(s, *st), s.now), previous: s.token.Status, at: s.now}
	status := project(v)
	encoded, err := json.Marshal(status)
	if err != nil {
		t.Fatalf("the status can't be encoded: %v", err)
	}
	var decoded v1alpha1.PipedreamTokenStatus
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatalf("the status can't be read back: %v\n%s", err, encoded)
	}
	for _, condition := range status.Conditions {
		generation := s.token.Generation
		if condition.Type == v1alpha1.ConditionVerified {
			generation = st.verification.triedFor
		}
		stands := meta.FindStatusCondition(s.token.Status.Conditions, condition.Type)
		isStanding := stands != nil && stands.Message == condition.Message
		if condition.ObservedGeneration != generation || condition.Message == "" && !isStanding {
			t.Errorf("the condition is %+v", condition)
		}
	}
	if sleep := sleepOf(v); sleep <= 0 || sleep > 5*time.Minute {
		t.Errorf("the next reconcile is in %s", sleep)
	}
}

// FuzzRestore restores the state from any status, of an object that holds a good token.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{}`), "5", "7", int64(0), true, true)
	f.Fuzz(func(t *testing.T, status []byte, secretVersion, credentialsVersion string, clock int64, hasTarget, hasCredentials bool) {
		token := ordersToken()
		if json.Unmarshal(status, &token.Status) != nil {
			return
		}
		issued := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		s := snapshot{token: token, desired: desiredBy(token, "https://api.pipedream.com"), now: issued.Add(time.Duration(clock))}
		s.firstSeen = s.now
		if hasTarget {
			current := recordedToken{
				token:  pipedream.Token{IssueTime: issued, ExpirationTime: issued.Add(time.Hour)},
				scopes: s.desired.Scopes, api: s.desired.API, inputs: "inputs",
			}
			annotations := current.record()
			annotations[v1alpha1.OwnerAnnotation] = "orders"
			s.target = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Name: "orders", ResourceVersion: secretVersion, Annotations: annotations,
			}}
		}
		if hasCredentials {
			s.credentialsSecret = &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ResourceVersion: credentialsVersion}}
		}
		st := restore(s)
		st.apply(s, observed{rendering: renderMadeUp(token, s.desired.Scopes)})

		for _, failed := range []*attempt.Failure{st.attempt.failure, st.attempt.blocker} {
			if failed == nil {
				continue
			}
			if wait := failed.NotBefore.Sub(s.now); wait > 15*time.Minute {
				t.Errorf("the next attempt is in %s, want 15 minutes at most", wait)
			}
			if failed.Since.After(s.now) {
				t.Errorf("it has failed since %s, which is after %s", failed.Since, s.now)
			}
		}
		if st.attempt.lastIssue.After(s.now) {
			t.Errorf("the last token was issued at %s, which is after %s", st.attempt.lastIssue, s.now)
		}
		if checkOf(s, *st) == renewal.Good {
			was := token.Status
			isSeen := s.target != nil && was.Secret.ResourceVersion == secretVersion && was.ObservedGeneration == token.Generation &&
				(s.credentialsSecret == nil || was.ClientSecretResourceVersion == credentialsVersion)
			if !isSeen {
				t.Errorf("the Secret counts as good without having been read, after the status %s", status)
			}
		}
		checkProjection(t, s, st)
	})
}
