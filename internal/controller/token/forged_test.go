// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

const day = 24 * time.Hour

// forge changes the record on the Secret, with a digest that fits: it has no key.
func (w *world) forge(edit func(*corev1.Secret)) {
	w.Helper()
	change(w, w.target(), func(s *corev1.Secret) {
		edit(s)
		s.Annotations[v1alpha1.ContentAnnotation] = layout.Digest(s.Annotations, s.Data)
	})
}

// withTimes gives the record of a Secret other times. They count from the issue of the token.
func (w *world) withTimes(issued, expires time.Duration) func(*corev1.Secret) {
	w.Helper()
	began, err := time.Parse(time.RFC3339, w.target().Annotations[v1alpha1.IssuedAtAnnotation])
	must(w.T, err)
	return func(s *corev1.Secret) {
		s.Annotations[v1alpha1.IssuedAtAnnotation] = began.Add(issued).Format(time.RFC3339)
		s.Annotations[v1alpha1.ExpiresAtAnnotation] = began.Add(expires).Format(time.RFC3339)
	}
}

func (w *world) loseStatus() {
	w.Helper()
	token := w.token()
	token.Status = v1alpha1.PipedreamTokenStatus{}
	must(w.T, w.admin.Status().Update(w.Context(), token))
}

// breakPipedream makes all token requests fail.
func (w *world) breakPipedream() {
	w.Helper()
	must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 500}))
}

// forgedTimes are records that the operator can't have written. The times count from the issue of the
// token, one minute ago.
var forgedTimes = map[string]struct {
	issued, expires time.Duration
	// isPlausible is true if only the status shows that the record is forged.
	isPlausible bool
}{
	"an expiry in 73 years":                 {expires: 73 * 365 * day},
	"a life of 30 days and a second":        {issued: -time.Second, expires: 30 * day},
	"a long life that began long ago":       {issued: -29 * day, expires: 2 * day},
	"the same issue, expiry an hour later":  {expires: 2 * time.Hour, isPlausible: true},
	"the same issue, expiry after 30 days":  {expires: 30 * day, isPlausible: true},
	"the same issue, expiry a second later": {expires: time.Hour + time.Second, isPlausible: true},
	"the same issue, expiry earlier":        {expires: 50 * time.Minute, isPlausible: true},
	"an issue in ten minutes":               {issued: 11 * time.Minute, expires: 71 * time.Minute},
	"an issue in a year":                    {issued: 365 * day, expires: 366 * day},
}

func TestForgedRecordIsNotBelieved(t *testing.T) {
	for name, test := range forgedTimes {
		for mode, after := range map[string]func(*world){
			"":                  func(*world) {},
			", after a restart": (*world).restart,
			", after a restart without a status": func(w *world) {
				w.loseStatus()
				w.restart()
			},
		} {
			if test.isPlausible && mode == ", after a restart without a status" {
				continue
			}
			t.Run(name+mode, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.issued()
				w.pass(time.Minute)
				w.forge(w.withTimes(test.issued, test.expires))
				after(w)
				w.reconcile()
				w.wantExchanges(2)
				w.wantReady()
				if got, want := w.token().Status.ExpirationTime.Time, w.clock.Now().Add(lifetime); got.After(want) {
					t.Errorf("the token counts as valid until %s, want %s at the latest", got, want)
				}
				for range 3 {
					w.pass(5 * time.Minute)
					w.reconcile()
				}
				w.wantExchanges(2)
			})
		}
	}
}

// A record that is not believed stays so, whatever else somebody changes meanwhile.
func TestForgedRecordIsNotReadyWhileNoTokenCanBeHad(t *testing.T) {
	for name, test := range forgedTimes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			w.pass(time.Minute)
			w.breakPipedream()
			w.forge(w.withTimes(test.issued, test.expires))
			for range 3 {
				w.reconcile()
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
				if expires := w.token().Status.ExpirationTime; expires != nil {
					t.Errorf("the status shows the forged expiry %s", expires)
				}
				change(w, w.target(), func(s *corev1.Secret) { s.Labels = map[string]string{"seen": w.clock.Now().Format("150405")} })
				w.pass(time.Minute)
			}
		})
	}
}

// TestRecordThatTheOperatorCanHaveWrittenCostsNoToken has a Secret come back from a backup, and losses of
// the status and of the memory.
func TestRecordThatTheOperatorCanHaveWrittenCostsNoToken(t *testing.T) {
	tests := map[string]func(w *world, old *corev1.Secret){
		"an earlier Secret, put back": func(w *world, old *corev1.Secret) {
			change(w, w.target(), func(s *corev1.Secret) { s.Data, s.Annotations = old.Data, old.Annotations })
		},
		"an earlier Secret, put back after a restart": func(w *world, old *corev1.Secret) {
			change(w, w.target(), func(s *corev1.Secret) { s.Data, s.Annotations = old.Data, old.Annotations })
			w.restart()
		},
		"an earlier Secret and no status": func(w *world, old *corev1.Secret) {
			change(w, w.target(), func(s *corev1.Secret) { s.Data, s.Annotations = old.Data, old.Annotations })
			w.loseStatus()
			w.restart()
		},
		"other times, within the bounds": func(w *world, _ *corev1.Secret) { w.forge(w.withTimes(-time.Minute, time.Hour)) },
		"an issue by a clock that is five minutes ahead": func(w *world, _ *corev1.Secret) {
			w.forge(w.withTimes(6*time.Minute, 66*time.Minute))
		},
		"a status with another expiry, and a restart": func(w *world, _ *corev1.Secret) {
			token := w.token()
			token.Status.ExpirationTime = new(metav1.NewTime(w.clock.Now().Add(1000 * time.Hour)))
			must(w.T, w.admin.Status().Update(w.Context(), token))
			w.restart()
		},
		"a status without an expiry, and a restart": func(w *world, _ *corev1.Secret) {
			token := w.token()
			token.Status.ExpirationTime = nil
			must(w.T, w.admin.Status().Update(w.Context(), token))
			w.restart()
		},
	}
	for name, happens := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.issued()
			old := w.target()
			w.pass(time.Minute)
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) {
				p.Annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "now"}
			})
			w.reconcile()
			w.wantExchanges(2)
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Annotations = nil })
			w.pass(time.Minute)
			happens(w, old)
			w.reconcile()
			w.wantExchanges(2)
			w.wantReady()
		})
	}
}

// A record of the longest life is not taken for a forged one, whatever Pipedream answers.
func TestTokenOfTheLongestLifeIsIssuedOnce(t *testing.T) {
	for name, lifetime := range map[string]time.Duration{"30 days": 30 * day, "30 days and a second": 30*day + time.Second, "100 years": 100 * 365 * day} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, w.pipedream.SetTokenLifetime(lifetime))
			w.issued()
			for _, happens := range []func(){
				func() {},
				w.label,
				w.restart,
				func() {
					w.loseStatus()
					w.restart()
				},
			} {
				w.pass(time.Hour)
				happens()
				w.reconcile()
				w.wantReady()
			}
			w.wantExchanges(1)
		})
	}
}

// When a clock was ahead and is corrected, the tokens that were issued meanwhile are from the future.
// They are renewed, and nobody has edited them.
func TestTokenOfAClockThatWasAheadIsNoForgedOne(t *testing.T) {
	for name, after := range map[string]func(w *world, own *ownClock){
		"":                func(*world, *ownClock) {},
		"and a restart":   (*world).giveOwnClock,
		"and a new label": func(w *world, _ *ownClock) { w.label() },
		"and both of them": func(w *world, own *ownClock) {
			w.label()
			w.giveOwnClock(own)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			own := &ownClock{PassiveClock: w.clock, ahead: time.Hour}
			w.giveOwnClock(own)
			w.issued()
			w.pass(time.Minute)
			w.reconcile()
			w.breakPipedream()
			own.ahead = 0
			after(w, own)
			w.reconcile()
			w.wantReady()
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonEndpointUnavailable)
			w.wantExchanges(2) // The second one has failed.
		})
	}
}

func (w *world) label() {
	w.Helper()
	change(w, w.target(), func(s *corev1.Secret) { s.Labels = map[string]string{"team": "orders"} })
}
