// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/ownedsecret"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// copies is how many objects a restart finds in each state.
const copies = 10

// standing is a state that objects are in when the operator is restarted.
type standing struct {
	// condition and reason are what the objects have come to.
	condition, reason string
	// spec changes the spec of an object before it is created.
	spec func(*v1alpha1.PipedreamToken)
	// rounds are made before the reconciles that lead to the state: each for every object, and 10 s pass
	// after each round.
	rounds []func(w *world, name string)
	// after is made after the restart.
	after func(*world)
}

// meet returns what makes the next token request of an object fail. The limiter has forgotten the
// failure of the object before.
func meet(fault simulator.Fault) func(*world, string) {
	return func(w *world, _ string) {
		w.Helper()
		w.reconciler.TokenRequests = w.dispatcher.NewLimiter(w.limit(100, 100))
		w.pipedream.ClearFaults()
		answers(fault)(w)
	}
}

func proceed(*world, string) {}

// edit changes the spec of an object.
func edit(fn func(*v1alpha1.PipedreamToken)) func(*world, string) {
	return func(w *world, name string) {
		w.Helper()
		token := &v1alpha1.PipedreamToken{}
		must(w.T, w.admin.Get(w.Context(), w.key(name), token))
		change(w, token, fn)
	}
}

func nameSecret(name string) func(*v1alpha1.PipedreamToken) {
	return func(p *v1alpha1.PipedreamToken) { p.Spec.ClientSecretRef.Name = name }
}

func useTemplate(template v1alpha1.ValueTemplate) func(*v1alpha1.PipedreamToken) {
	return func(p *v1alpha1.PipedreamToken) {
		p.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"config": template}
	}
}

func expire(w *world, _ string) {
	w.clock.SetTime(w.clock.Now().Truncate(time.Hour).Add(3 * time.Hour))
}

var (
	busy      = meet(simulator.Fault{Status: 503})
	tokenless = meet(simulator.Fault{Status: 200, Body: "{}"})
	rejecting = meet(simulator.Fault{Status: 401})
	oversized = meet(simulator.Fault{Status: 200, Body: `{"access_token":"` + strings.Repeat("x", 6000) + `","token_type":"Bearer","expires_in":3600}`})
)

// standings has every state in which objects stay while nothing happens.
func standings() map[string]standing {
	renewed, ready, verified := v1alpha1.ConditionRenewed, v1alpha1.ConditionReady, v1alpha1.ConditionVerified
	return map[string]standing{
		"all is well":                   {renewed, v1alpha1.ReasonIssued, nil, []func(*world, string){proceed}, nil},
		"the token was accepted":        {verified, v1alpha1.ReasonTokenAccepted, withVerification, []func(*world, string){proceed, proceed, proceed, proceed, proceed, proceed, proceed, proceed}, nil},
		"no Secret with credentials":    {renewed, v1alpha1.ReasonCredentialsMissing, nameSecret("nowhere"), []func(*world, string){proceed}, nil},
		"a key is absent":               {renewed, v1alpha1.ReasonCredentialsMissing, nameSecret("incomplete"), []func(*world, string){proceed}, nil},
		"a value can't be a credential": {renewed, v1alpha1.ReasonCredentialsInvalid, nameSecret("damaged"), []func(*world, string){proceed}, nil},
		"credentials rejected":          {renewed, v1alpha1.ReasonCredentialsRejected, nil, []func(*world, string){meet(simulator.Fault{Status: 401})}, nil},
		"scopes rejected":               {renewed, v1alpha1.ReasonScopeRejected, nil, []func(*world, string){meet(simulator.Fault{Status: 400, Body: `{"error":"invalid_scope"}`})}, nil},
		"scopes not granted":            {renewed, v1alpha1.ReasonScopeNotGranted, nil, []func(*world, string){func(w *world, _ string) { must(w.T, w.pipedream.SetScopeAnswer(simulator.ScopeFewer)) }}, nil},
		"request rejected":              {renewed, v1alpha1.ReasonRequestRejected, nil, []func(*world, string){meet(simulator.Fault{Status: 404})}, nil},
		"the Secret's name is taken":    {renewed, v1alpha1.ReasonSecretNotOwned, func(p *v1alpha1.PipedreamToken) { p.Spec.Secret.Name = "taken" }, []func(*world, string){proceed}, nil},
		"a finalizer holds the Secret": {renewed, v1alpha1.ReasonSecretTerminating, nil, []func(*world, string){proceed, func(w *world, name string) {
			hold(w, w.secret(name))
		}}, nil},
		"a finalizer holds the PipedreamToken": {renewed, v1alpha1.ReasonSecretTerminating, withVerification, []func(*world, string){proceed, func(w *world, name string) {
			hold(w, &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}})
		}}, nil},
		"a finalizer holds the PipedreamToken, and its token has expired": {ready, v1alpha1.ReasonTokenExpired, nil, []func(*world, string){proceed, func(w *world, name string) {
			hold(w, &v1alpha1.PipedreamToken{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}})
			once(w, name, func(w *world) { expire(w, name) })
		}}, nil},
		"a policy refuses the Secret":        {renewed, v1alpha1.ReasonSecretWriteRefused, nil, []func(*world, string){func(w *world, name string) { once(w, name, forbidTokens) }}, nil},
		"a template can't be rendered":       {renewed, v1alpha1.ReasonTemplateInvalid, useTemplate("{{ .AccessToken | nothing }}"), []func(*world, string){proceed}, nil},
		"the template fails with this token": {renewed, v1alpha1.ReasonTemplateInvalid, withData(hugeTemplates), []func(*world, string){oversized}, nil},
		"rate limited":                       {renewed, v1alpha1.ReasonRateLimited, nil, []func(*world, string){meet(simulator.Fault{Status: 429, Headers: map[string]string{"Retry-After": "600"}})}, nil},
		"Pipedream is unavailable":           {renewed, v1alpha1.ReasonEndpointUnavailable, nil, []func(*world, string){busy, busy, busy, busy, busy}, nil},
		"answers without a token":            {renewed, v1alpha1.ReasonMalformedResponse, nil, []func(*world, string){tokenless, tokenless, tokenless, tokenless, tokenless}, nil},
		"the credentials can't be read":      {renewed, v1alpha1.ReasonClusterUnavailable, nil, []func(*world, string){unreadable, unreadable, unreadable, unreadable, unreadable}, nil},
		"the Secret can't be read": {renewed, v1alpha1.ReasonClusterUnavailable, nil, []func(*world, string){
			proceed, editUnread, proceed, proceed, proceed, proceed, proceed,
		}, nil},
		"the token has expired": {ready, v1alpha1.ReasonTokenExpired, nil, []func(*world, string){proceed, func(w *world, name string) {
			once(w, name, func(w *world) { expire(w, name) })
			meet(simulator.Fault{Status: 401})(w, name)
		}}, nil},
		"the token is of other scopes": {ready, v1alpha1.ReasonTokenOutdated, nil, []func(*world, string){proceed, func(w *world, name string) {
			edit(func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = []string{"connect:projects:read"} })(w, name)
			meet(simulator.Fault{Status: 401})(w, name)
		}}, nil},
		"the token was revoked": {ready, v1alpha1.ReasonTokenRevoked, withVerification, []func(*world, string){proceed, proceed, proceed, func(w *world, name string) {
			once(w, name, func(w *world) { w.pipedream.RevokeAll() })
			rejecting(w, name)
		}, rejecting, rejecting, rejecting, rejecting, rejecting, rejecting}, nil},
		"no scope can list": {verified, v1alpha1.ReasonVerificationInconclusive, func(p *v1alpha1.PipedreamToken) { withVerification(p); p.Spec.Scopes = []string{"connect:users:read"} }, []func(*world, string){proceed}, nil},
		"verification is suspended": {
			verified, v1alpha1.ReasonVerificationSuspended, withVerification,
			append([]func(*world, string){func(w *world, name string) {
				once(w, name, func(w *world) {
					must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccounts, Status: 401}))
				})
			}}, slices.Repeat([]func(*world, string){proceed}, 20)...), nil,
		},
		"suspended":                 {renewed, v1alpha1.ReasonSuspended, withSuspend, []func(*world, string){proceed, proceed}, nil},
		"suspended with a token":    {renewed, v1alpha1.ReasonSuspended, withVerification, []func(*world, string){proceed, edit(withSuspend), proceed}, nil},
		"suspended after a failure": {renewed, v1alpha1.ReasonSuspended, nil, []func(*world, string){rejecting, edit(withSuspend), proceed}, nil},
		"suspended, and the token is old": {ready, v1alpha1.ReasonTokenExpired, nil, []func(*world, string){proceed, edit(withSuspend), func(w *world, name string) {
			once(w, name, func(w *world) { expire(w, name) })
		}}, nil},
		"a token waits for its turn": {
			renewed, v1alpha1.ReasonQueued, nil,
			[]func(*world, string){func(w *world, name string) { once(w, name, func(w *world) { w.occupy(time.Hour) }) }, proceed},
			func(w *world) { w.occupy(time.Hour) },
		},
	}
}

// once makes a change before the first object of a round only.
func once(w *world, name string, fn func(*world)) {
	w.Helper()
	if name == "copy-0" {
		fn(w)
	}
}

// unreadable forbids the operator to read Secrets.
func unreadable(w *world, _ string) {
	w.wire.answerWith(func(request *http.Request) (*http.Response, error) {
		if request.Method == http.MethodGet {
			return forbidSecrets(request)
		}
		return nil, nil
	})
}

// editUnread has somebody edit the Secret of an object, which the operator may not read.
func editUnread(w *world, name string) {
	w.Helper()
	unreadable(w, name)
	change(w, w.secret(name), func(s *corev1.Secret) { s.Data["access_token"] = []byte("edited") })
}

// reconcileNamed reconciles an object of any name.
func (w *world) reconcileNamed(name string) {
	w.Helper()
	_, err := w.reconciler.Reconcile(w.Context(), ctrl.Request{NamespacedName: w.key(name)})
	if _, ok := errors.AsType[*ownedsecret.RequestError](err); !ok { // These are in the status.
		must(w.T, err)
	}
	w.wantRealTimes(name)
}

// bring makes ten objects, and brings them into the state.
func (s standing) bring(w *world) (names []string) {
	w.Helper()
	w.createCredentials()
	incomplete, damaged := credentialsNamed(w, "incomplete"), credentialsNamed(w, "damaged")
	delete(incomplete.StringData, "client_secret")
	damaged.StringData["client_secret"] = "one\ntwo"
	taken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "taken"}}
	for _, secret := range []*corev1.Secret{incomplete, damaged, taken} {
		must(w.T, w.admin.Create(w.Context(), secret))
	}
	for i := range copies {
		name := fmt.Sprintf("copy-%d", i)
		names = append(names, name)
		w.create(func(p *v1alpha1.PipedreamToken) {
			p.Name, p.Spec.Secret.Name = name, name
			if s.spec != nil {
				s.spec(p)
			}
		})
	}
	for _, round := range s.rounds {
		for _, name := range names {
			round(w, name)
			w.reconcileNamed(name)
		}
		w.pass(10 * time.Second)
	}
	for _, name := range names {
		w.reconcileNamed(name)
	}
	return names
}

// reword puts another message into each condition of an object, and returns the version of the
// object with these messages.
func (w *world) reword(name, message string) (version string) {
	w.Helper()
	token := &v1alpha1.PipedreamToken{}
	must(w.T, w.admin.Get(w.Context(), w.key(name), token))
	for i := range token.Status.Conditions {
		token.Status.Conditions[i].Message = message
	}
	must(w.T, w.admin.Status().Update(w.Context(), token))
	return token.ResourceVersion
}

// TestMessagesAreNotReadBack empties and rewords the messages of objects in every state between two
// runs of the operator: no state hangs on a message, and a release that words a message better
// writes nothing at its start.
func TestMessagesAreNotReadBack(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]bool{
		v1alpha1.ReasonNotAttempted: true, // It does not stay: the first reconcile makes an attempt.
	}
	t.Cleanup(func() {
		for _, reason := range reasonsOfTheAPI(t) {
			if !seen[reason] {
				t.Errorf("no object had a condition with reason %s", reason)
			}
		}
	})
	for name, state := range standings() {
		for how, message := range map[string]string{"emptied": "", "reworded": "Some other words."} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				names := state.bring(w)
				versions := map[string]string{}
				for _, name := range names {
					token := &v1alpha1.PipedreamToken{}
					must(t, w.admin.Get(t.Context(), w.key(name), token))
					if got := meta.FindStatusCondition(token.Status.Conditions, state.condition); got == nil || got.Reason != state.reason {
						t.Fatalf("condition %s is %+v, want reason %s", state.condition, got, state.reason)
					}
					mu.Lock()
					for _, condition := range token.Status.Conditions {
						seen[condition.Reason] = true
					}
					mu.Unlock()
					versions[name] = w.reword(name, message)
				}
				exchanges := w.exchanges()
				w.restart()
				w.wire.reset()
				if state.after != nil {
					state.after(w)
				}
				for range 2 {
					for _, name := range names {
						w.reconcileNamed(name)
					}
				}
				w.wantRequests(map[string]int{})
				w.wantExchanges(exchanges)
				for _, name := range names {
					token := &v1alpha1.PipedreamToken{}
					must(t, w.admin.Get(t.Context(), w.key(name), token))
					if token.ResourceVersion != versions[name] {
						t.Errorf("%s was written after the restart: %+v", name, token.Status)
					}
				}
			})
		}
	}
}

// TestAnotherAPIIsAskedAtOnceAfterAFailure restarts the operator with the address of another API while the next attempt
// has to wait because of the answer of the API before.
func TestAnotherAPIIsAskedAtOnceAfterAFailure(t *testing.T) {
	t.Parallel()
	for because, fault := range map[string]simulator.Fault{
		v1alpha1.ReasonRequestRejected:     {Endpoint: simulator.EndpointToken, Status: http.StatusNotFound},
		v1alpha1.ReasonCredentialsRejected: {Endpoint: simulator.EndpointToken, Status: http.StatusUnauthorized},
		v1alpha1.ReasonRateLimited: {
			Endpoint: simulator.EndpointToken, Status: http.StatusTooManyRequests, Headers: map[string]string{"Retry-After": "600"},
		},
	} {
		for name, passed := range map[string]time.Duration{"while the token is good": lifetime * 3 / 4, "when the token has expired": lifetime} {
			t.Run(because+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.issued()
				must(t, w.pipedream.AddFault(fault))
				w.pass(passed)
				w.reconcile()
				w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, because)
				w.pipedream.ClearFaults()
				exchanges := w.exchanges()

				w.pass(10 * time.Second)
				w.api = w.apiAt(strings.Replace(w.address, "127.0.0.1", "localhost", 1))
				w.restart()
				w.reconcile()

				w.wantExchanges(exchanges + 1)
				w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
			})
		}
	}
}
