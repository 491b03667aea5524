// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// namesake is the name of a PipedreamToken and of a PipedreamAccount in one namespace, which use one OAuth client.
const namesake = "orders"

// half is what a test does with one of two objects that have the same name.
type half struct {
	kind, attempt, good string
	// secretName is the Secret that the operator writes, key the key of the credential in it, and owner what the record
	// on it says of its owner.
	secretName, key, owner string
	// create creates the object, and object returns it.
	create func(s *site, secretName string)
	object func(s *site) client.Object
}

var (
	tokenHalf = half{
		kind: "PipedreamToken", attempt: v1alpha1.ConditionRenewed, good: v1alpha1.ReasonIssued,
		secretName: namesake, key: "access_token", owner: namesake,
		create: func(s *site, _ string) { s.create(namesake) },
		object: func(s *site) client.Object { return s.token(namesake) },
	}
	accountHalf = half{
		kind: "PipedreamAccount", attempt: v1alpha1.ConditionFetched, good: v1alpha1.ReasonAccountFetched,
		secretName: namesake, key: "oauth_access_token", owner: "PipedreamAccount/" + namesake,
		create: func(s *site, secretName string) { s.createAccountInto(namesake, secretName) },
		object: func(s *site) client.Object { return s.account(namesake) },
	}
)

// status returns the conditions of the object, and when the next attempt is made.
func (h half) status(s *site) (conditions []metav1.Condition, nextAttempt *metav1.Time) {
	s.Helper()
	switch object := h.object(s).(type) {
	case *v1alpha1.PipedreamToken:
		return object.Status.Conditions, object.Status.NextAttemptTime
	case *v1alpha1.PipedreamAccount:
		return object.Status.Conditions, object.Status.NextAttemptTime
	default:
		s.Fatalf("there is no status of a %T", object)
		return nil, nil
	}
}

// reason returns the reason of the condition that is about the last attempt.
func (h half) reason(s *site) string {
	s.Helper()
	conditions, _ := h.status(s)
	if found := meta.FindStatusCondition(conditions, h.attempt); found != nil {
		return found.Reason
	}
	return ""
}

// refusedUntil returns when the next attempt is made if the last attempt was refused, and otherwise zero.
func (h half) refusedUntil(s *site) time.Time {
	s.Helper()
	conditions, nextAttempt := h.status(s)
	found := meta.FindStatusCondition(conditions, h.attempt)
	if found == nil || found.Reason != v1alpha1.ReasonCredentialsRejected || nextAttempt == nil {
		return time.Time{}
	}
	return nextAttempt.Time
}

// isGood reports whether the object says that its Secret is good, and the Secret belongs to it.
func (h half) isGood(s *site) bool {
	s.Helper()
	conditions, _ := h.status(s)
	secret := s.namedSecret(h.secretName)
	return h.reason(s) == h.good && meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) && h.owns(s, secret) && len(secret.Data[h.key]) > 0
}

func (h half) owns(s *site, secret *corev1.Secret) bool {
	s.Helper()
	return metav1.IsControlledBy(secret, h.object(s)) && secret.Annotations[v1alpha1.OwnerAnnotation] == h.owner
}

// ask asks for a new credential.
func (h half) ask(s *site, request string) {
	s.Helper()
	change(s, h.object(s), func(object client.Object) {
		object.SetAnnotations(map[string]string{v1alpha1.RenewRequestAnnotation: request})
	})
}

// namedSecret returns a Secret; an empty one if there is none.
func (s *site) namedSecret(name string) *corev1.Secret {
	s.Helper()
	secret := &corev1.Secret{}
	harness.Must(s.T, client.IgnoreNotFound(s.admin.Get(s.Context(), s.key(name), secret)))
	return secret
}

// newNamesakes returns a site with an OAuth client and a connected account, without a manager.
func newNamesakes(t *testing.T, clientSecret string) *site {
	t.Helper()
	s := newSite(t)
	s.register(namesake, clientSecret)
	s.connect(namesake)
	return s
}

// startSlowManager starts a manager that sends one token request in each interval.
func (s *site) startSlowManager(interval time.Duration) {
	s.Helper()
	perSecond := fmt.Sprint(1 / interval.Seconds())
	s.manager = startManager(s.T, append(s.arguments(), "--token-requests-per-second="+perSecond, "--token-request-burst=1")...)
}

// A PipedreamToken and a PipedreamAccount name the same Secret. The first one keeps it, and the second one gets it when
// the first one is gone.
func TestASecretIsNotTakenFromAnotherKind(t *testing.T) {
	for _, pair := range [][2]half{{tokenHalf, accountHalf}, {accountHalf, tokenHalf}} {
		first, second := pair[0], pair[1]
		t.Run("the "+first.kind+" first", func(t *testing.T) {
			t.Parallel()
			s := newNamesakes(t, goodSecret)
			s.startSlowManager(time.Second)
			first.create(s, first.secretName)
			s.eventually("the Secret of the "+first.kind, func() bool { return first.isGood(s) })
			before := s.namedSecret(namesake)

			second.create(s, second.secretName)
			s.eventually("SecretNotOwned of the "+second.kind, func() bool { return second.reason(s) == v1alpha1.ReasonSecretNotOwned })
			if diff := cmp.Diff(before, s.namedSecret(namesake)); diff != "" {
				t.Errorf("the Secret of the %s was changed (-before +after): %s", first.kind, diff)
			}

			// Both are asked for something new. The owner of the Secret has it written, the other one does not.
			if first.kind == accountHalf.kind {
				harness.Must(t, s.pipedream.Accounts.Refresh("apn_"+namesake))
			}
			second.ask(s, "please")
			first.ask(s, "please")
			s.eventually("the answer to the request", func() bool {
				after := s.namedSecret(namesake)
				return first.isGood(s) && after.Annotations[v1alpha1.RenewRequestAnnotation] == "please" && string(after.Data[first.key]) != string(before.Data[first.key])
			})
			after := s.namedSecret(namesake)
			if got, want := slices.Sorted(maps.Keys(after.Data)), slices.Sorted(maps.Keys(before.Data)); after.UID != before.UID || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("the Secret is %s with the keys %v, want %s with %v", after.UID, got, before.UID, want)
			}
			if got := second.reason(s); got != v1alpha1.ReasonSecretNotOwned {
				t.Errorf("the %s says %s, want SecretNotOwned", second.kind, got)
			}

			harness.Must(t, s.admin.Delete(t.Context(), first.object(s)))
			s.eventually("the Secret of the "+second.kind, func() bool { return second.isGood(s) })
			if got := s.namedSecret(namesake); got.UID == before.UID {
				t.Error("the Secret was taken over, and not created again")
			}
		})
	}
}

// A PipedreamToken and a PipedreamAccount take turns at the limiter of the token requests. The turn of one is not taken
// for the turn of the other, whichever waits.
func TestTheTurnsOfTwoKindsAreNotMixedUp(t *testing.T) {
	account := accountHalf
	account.secretName = "orders-account"
	for _, pair := range [][2]half{{tokenHalf, account}, {account, tokenHalf}} {
		first, second := pair[0], pair[1]
		t.Run("the "+second.kind+" waits", func(t *testing.T) {
			t.Parallel()
			s := newNamesakes(t, goodSecret)
			s.startSlowManager(20 * time.Second) // The status says Queued after ten seconds.
			first.create(s, first.secretName)
			s.eventually("the Secret of the "+first.kind, func() bool { return first.isGood(s) })
			second.create(s, second.secretName)
			s.eventually("the "+second.kind+" to wait", func() bool { return second.reason(s) == v1alpha1.ReasonQueued })
			s.eventually("the Secret of the "+second.kind, func() bool { return second.isGood(s) })
			if got := s.exchanges(namesake); got != 2 {
				t.Errorf("Pipedream was asked for %d tokens, want one for each of both", got)
			}
		})
	}
}

// When Pipedream refuses the client credentials of a PipedreamToken and of a PipedreamAccount, one of both finds out,
// and for both. When the credentials are good again, both are woken.
func TestARefusalIsSharedByTwoKinds(t *testing.T) {
	t.Parallel()
	s := newNamesakes(t, "wrong")
	tokenHalf.create(s, namesake)
	accountHalf.create(s, namesake)
	s.startSlowManager(time.Second)
	first := s.awaitSharedRefusal(time.Time{})
	if got := s.exchanges(namesake); got != 1 {
		t.Errorf("Pipedream has refused %d token requests, want 1 for both", got)
	}
	s.awaitSharedRefusal(first)
	log := s.pipedream.Counters().Log
	if len(log) != 2 || log[1].Time.Before(first) {
		t.Errorf("the token requests were at %v, want one at once, and one from %s on", log, first)
	}

	change(s, s.credentials(namesake), func(secret *corev1.Secret) { secret.Data["client_secret"] = []byte(goodSecret) })
	s.eventually("the Secret of one of both, and SecretNotOwned of the other", func() bool {
		return tokenHalf.isGood(s) && accountHalf.reason(s) == v1alpha1.ReasonSecretNotOwned ||
			accountHalf.isGood(s) && tokenHalf.reason(s) == v1alpha1.ReasonSecretNotOwned
	})
	if got := s.exchanges(namesake); got > 4 {
		t.Errorf("Pipedream was asked for %d tokens, want at most one for each of both after the two refusals", got)
	}
}

// awaitSharedRefusal waits until both objects say that their credentials were refused and that the next attempt is
// made after a time, which is the same for both. It returns when that is.
func (s *site) awaitSharedRefusal(after time.Time) (nextAttempt time.Time) {
	s.Helper()
	s.within(patience+30*time.Second, "the next refusal of both", func() bool {
		nextAttempt = tokenHalf.refusedUntil(s)
		return nextAttempt.After(after) && accountHalf.refusedUntil(s).Equal(nextAttempt)
	})
	return nextAttempt
}
