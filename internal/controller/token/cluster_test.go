// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/attempt"
	"github.com/pipedream-operator/pipedream-operator/internal/retry"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// hush is in each answer of the API server that a test makes up. Nobody may see it.
const hush = "hush-hush"

// says makes the API server answer with a status, and with text that nobody may see.
func says(code int32, reason metav1.StatusReason) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return statusAnswer(&apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: code, Reason: reason, Message: hush,
			Details: &metav1.StatusDetails{Name: hush, Kind: hush, Causes: []metav1.StatusCause{{Type: hush, Message: hush, Field: hush + " "}}},
		}})
	}
}

// page makes a proxy answer with a page in place of the API server.
func page(code int) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return &http.Response{
			StatusCode: code, Header: http.Header{"Content-Type": {"text/html"}},
			Body: io.NopCloser(strings.NewReader("<html>" + hush + "</html>")),
		}, nil
	}
}

func breaksWith(err error) func() (*http.Response, error) {
	return func() (*http.Response, error) { return nil, fmt.Errorf("%s: %w", hush, err) }
}

// clusterFailure is a way in which a request to the API server fails, and what a user must see of it.
type clusterFailure struct {
	answer func() (*http.Response, error)
	shown  string
}

// clusterFailures are the failures that say the same of a read and of a write.
var clusterFailures = map[string]clusterFailure{
	"401":                    {says(401, metav1.StatusReasonUnauthorized), "HTTP status 401 Unauthorized"},
	"418 of a webhook":       {says(418, hush), "HTTP status 418 I'm a teapot"},
	"429":                    {says(429, metav1.StatusReasonTooManyRequests), "HTTP status 429 TooManyRequests"},
	"451 of a webhook":       {says(451, ""), "HTTP status 451 Unavailable For Legal Reasons"},
	"500 of etcd":            {says(500, ""), "HTTP status 500 Internal Server Error"},
	"500 for want of time":   {says(500, metav1.StatusReasonServerTimeout), "HTTP status 500 ServerTimeout"},
	"502 with a page":        {page(502), "HTTP status 502"},
	"503":                    {says(503, metav1.StatusReasonServiceUnavailable), "HTTP status 503 ServiceUnavailable"},
	"504":                    {says(504, metav1.StatusReasonTimeout), "HTTP status 504 Timeout"},
	"599":                    {says(599, hush), "HTTP status 599"},
	"a timeout":              {breaksWith(context.DeadlineExceeded), "no complete answer in time"},
	"a refused connection":   {breaksWith(syscall.ECONNREFUSED), "connection refused"},
	"a reset connection":     {breaksWith(syscall.ECONNRESET), "connection reset"},
	"a connection that ends": {breaksWith(io.ErrUnexpectedEOF), "the connection was closed before the answer was complete"},
	"no route":               {breaksWith(syscall.EHOSTUNREACH), "network unreachable"},
	"another error":          {breaksWith(errCut), "no usable answer"},
}

// readFailures are the failures that only reads have.
var readFailures = map[string]clusterFailure{
	"200 with a page":    {page(200), "no usable answer"},
	"400":                {says(400, metav1.StatusReasonBadRequest), "HTTP status 400 BadRequest"},
	"403":                {says(403, metav1.StatusReasonForbidden), "HTTP status 403 Forbidden"},
	"410":                {says(410, metav1.StatusReasonExpired), "HTTP status 410 Expired"},
	"500 of etcd's data": {says(500, metav1.StatusReasonInternalError), "HTTP status 500 InternalError"},
}

// writeFailures are the failures that only writes have. They come three times in a row.
var writeFailures = map[string]clusterFailure{
	"404":                   {says(404, metav1.StatusReasonNotFound), "HTTP status 404 NotFound"},
	"409":                   {says(409, metav1.StatusReasonConflict), "HTTP status 409 Conflict"},
	"409 because it exists": {says(409, metav1.StatusReasonAlreadyExists), "HTTP status 409 AlreadyExists"},
}

// refusals are the answers to a write that refuse the Secret as it is.
var refusals = map[string]clusterFailure{
	"400": {says(400, metav1.StatusReasonBadRequest), "HTTP status 400 BadRequest"},
	"403": {says(403, metav1.StatusReasonForbidden), "HTTP status 403 Forbidden"},
	"403 of a webhook with a reason of its own": {says(403, hush), "HTTP status 403 Forbidden"},
	"413":                                  {says(413, metav1.StatusReasonRequestEntityTooLarge), "HTTP status 413 RequestEntityTooLarge"},
	"422":                                  {says(422, metav1.StatusReasonInvalid), "HTTP status 422 Invalid"},
	"500 because a webhook can't be asked": {says(500, metav1.StatusReasonInternalError), "HTTP status 500 InternalError"},
}

// step is a request to the API server in the life of a PipedreamToken.
type step struct {
	// doing is what the status says that the request was about.
	doing string
	// bring makes the next reconcile send the request.
	bring func(*world)
	// is reports whether a request is the one.
	is func(*http.Request) bool
	// exchanges is how many tokens are issued in all, the one before the step included.
	exchanges int
	isWrite   bool
	// isRewrite is true if the write is one of the current token.
	isRewrite bool
}

func isMetadata(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadata")
}

func reads(name string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/secrets/"+name) && !isMetadata(r)
	}
}

func readsMetadata(r *http.Request) bool { return r.Method == http.MethodGet && isMetadata(r) }

func writes(method string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == method && strings.Contains(r.URL.Path, "/secrets") && r.URL.Query().Get("dryRun") == ""
	}
}

func untilRenewal(w *world) {
	w.Helper()
	w.issued()
	w.passUntil(w.token().Status.RenewalTime)
}

// steps has each request to the API server about a Secret.
func steps() map[string]step {
	const target = "orders-pipedream"
	return map[string]step{
		"reading the credentials for the first token": {
			doing: "read the Secret `credentials`", is: reads("credentials"), exchanges: 1,
			bring: func(w *world) { w.createCredentials(); w.create() },
		},
		"reading the credentials for a renewal": {
			doing: "read the Secret `credentials`", is: reads("credentials"), exchanges: 2, bring: untilRenewal,
		},
		"reading changed credentials": {
			doing: "read the Secret `credentials`", is: reads("credentials"), exchanges: 1,
			bring: func(w *world) {
				w.issued()
				w.pass(time.Minute)
				change(w, w.secret("credentials"), func(s *corev1.Secret) { s.Labels = map[string]string{"touched": "yes"} })
			},
		},
		"reading a Secret that was changed": {
			doing: "read the Secret `orders-pipedream`", is: reads(target), exchanges: 1,
			bring: func(w *world) {
				w.issued()
				w.pass(time.Minute)
				change(w, w.target(), func(s *corev1.Secret) { s.Labels = map[string]string{"touched": "yes"} })
			},
		},
		"reading the Secret for a verification": {
			doing: "read the Secret `orders-pipedream`", is: reads(target), exchanges: 1,
			bring: func(w *world) {
				w.issued(withVerification)
				w.pass(time.Minute)
			},
		},
		"creating the Secret": {
			doing: "write the Secret `orders-pipedream`", is: writes(http.MethodPost), exchanges: 1, isWrite: true,
			bring: func(w *world) { w.createCredentials(); w.create() },
		},
		"creating the Secret again": {
			doing: "write the Secret `orders-pipedream`", is: writes(http.MethodPost), exchanges: 2, isWrite: true,
			bring: func(w *world) {
				w.issued()
				w.pass(time.Minute)
				deleteTarget(w)
			},
		},
		"writing a renewed token": {
			doing: "write the Secret `orders-pipedream`", is: writes(http.MethodPut), exchanges: 2, isWrite: true, bring: untilRenewal,
		},
		"writing labels": {
			doing: "write the Secret `orders-pipedream`", is: writes(http.MethodPut), exchanges: 1, isWrite: true, isRewrite: true,
			bring: func(w *world) {
				w.issued()
				w.pass(time.Minute)
				change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Secret.Labels = map[string]v1alpha1.LabelValue{"tier": "one"} })
			},
		},
		"reading the metadata after a conflict": {
			doing: "read the metadata of the Secret `orders-pipedream`", is: readsMetadata, exchanges: 2,
			bring: func(w *world) {
				untilRenewal(w)
				conflicted := false
				w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
					if call == "PUT secrets" && !conflicted {
						conflicted = true
						return says(409, metav1.StatusReasonConflict)()
					}
					return forward()
				})
			},
		},
		"reading the metadata after a write without an answer": {
			doing: "read the metadata of the Secret `orders-pipedream`", is: readsMetadata, exchanges: 2,
			bring: func(w *world) {
				untilRenewal(w)
				w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
					if call == "PUT secrets" {
						return nil, errCut
					}
					return forward()
				})
				_, _ = w.tryReconcile()
				w.wire.cut(nil)
				w.passToNextAttempt()
			},
		},
		"trying whether the PipedreamToken is still there": {
			doing: "apply the status as a dry run", exchanges: 2,
			is: func(r *http.Request) bool { return r.Method == http.MethodPatch && r.URL.Query().Get("dryRun") != "" },
			bring: func(w *world) {
				w.issued()
				w.pass(time.Minute)
				deleteTarget(w)
			},
		},
	}
}

// suffer brings a step, and has its requests fail until the step has failed.
func (s step) suffer(w *world, failed clusterFailure) (err error) {
	w.Helper()
	s.bring(w)
	drain(w.events.Events)
	w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
		if s.is(r) {
			return failed.answer()
		}
		return nil, nil
	})
	return w.failUntil(func() bool {
		renewed := w.condition(v1alpha1.ConditionRenewed)
		return renewed.Status == metav1.ConditionFalse && strings.Contains(renewed.Message, s.doing+":")
	})
}

// failUntil reconciles at most three times, until something is so. It returns the last error.
func (w *world) failUntil(isSo func() bool) (err error) {
	w.Helper()
	for range 3 {
		if _, err = w.tryReconcile(); isSo() {
			break
		}
		w.pass(time.Second)
	}
	return err
}

// wantHushed checks that nothing of an answer of the API server is shown, in an error neither: the
// manager logs errors.
func (w *world) wantHushed(err error) {
	w.Helper()
	shown := fmt.Sprint(err, w.token().Status, w.log, scrape(w.T, w.reconciler.Metrics))
	for len(w.events.Events) > 0 {
		shown += <-w.events.Events
	}
	if strings.Contains(shown, hush) {
		w.Errorf("the API server's own text is shown:\n%s", shown)
	}
}

// wantHealed checks that the next attempt works, and costs no further token.
func (w *world) wantHealed(exchanges int) {
	w.Helper()
	w.wire.answerWith(nil)
	w.wire.cut(nil)
	w.passToNextAttempt()
	w.reconcile()
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonTokenValid)
	w.wantExchanges(exchanges)
	w.wantAccepted()
	if got := w.token().Status.NextAttemptTime; got != nil {
		w.Errorf("nextAttemptTime is %v after it worked", got)
	}
}

func TestEachStepThatTheClusterFailsIsNamed(t *testing.T) {
	t.Parallel()
	for name, step := range steps() {
		own := readFailures
		if step.isWrite {
			own = writeFailures
		}
		for _, some := range []map[string]clusterFailure{clusterFailures, own} {
			for answer, failed := range some {
				t.Run(name+", "+answer, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					err := step.suffer(w, failed)
					if err == nil {
						t.Error("the reconcile ends without an error, so that nobody sees in the log that it has failed")
					}
					w.wantHushed(err)
					renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonClusterUnavailable)
					w.wantMessage(renewed, "A request to the Kubernetes API server failed ("+step.doing+": "+failed.shown)
					w.wantMessage(renewed, "get, create and update Secrets")
					w.wantNoCondition(v1alpha1.ConditionStalled)
					if at := w.token().Status.NextAttemptTime; at == nil || at.Sub(w.clock.Now()) > 2*time.Second {
						t.Errorf("nextAttemptTime is %v, and it is %v", at, w.clock.Now())
					}
					w.wantHealed(step.exchanges)
				})
			}
		}
	}
}

func TestEachRefusalOfAWriteIsNamed(t *testing.T) {
	t.Parallel()
	for name, step := range steps() {
		for answer, failed := range refusals {
			if !step.isWrite {
				continue
			}
			t.Run(name+", "+answer, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				step.bring(w)
				drain(w.events.Events)
				w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
					if step.is(r) {
						return failed.answer()
					}
					return nil, nil
				})
				w.reconcile()
				w.wantHushed(nil)
				renewed := w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
				w.wantMessage(renewed, "The API server refuses to store the Secret ("+failed.shown+")")
				w.wantCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretWriteRefused)
				if !step.isRewrite {
					w.wantHealed(step.exchanges)
				}
			})
		}
	}
}

// TestForbiddenReadsAreToldUntilTheyAreAllowed takes the permission to read Secrets away, until long
// after the expiry.
func TestForbiddenReadsAreToldUntilTheyAreAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	untilRenewal(w)
	unreadable(w, "")
	expiry := w.token().Status.ExpirationTime.Time
	tries := 0
	for w.clock.Now().Before(expiry.Add(30 * time.Minute)) {
		result, err := w.tryReconcile()
		if err != nil {
			tries++
			result, err = w.tryReconcile() // The queue tries again at once.
		}
		must(t, err)
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonClusterUnavailable)
		if want := w.clock.Now().Before(expiry); want != w.isReady() {
			t.Fatalf("at %v Ready is %v; the token expires at %v", w.clock.Now(), !want, expiry)
		}
		w.pass(result.RequeueAfter)
	}
	if tries < 60 || tries > 130 {
		t.Errorf("in 50 minutes there are %d attempts, want about one in 30 s", tries)
	}
	if got, want := drain(w.events.Events), []string{"Normal Issued", "Warning ClusterUnavailable", "Warning TokenExpired"}; !slices.Equal(got, want) {
		t.Errorf("the events are %v, want %v", got, want)
	}
	w.wantHealed(2)
}

// persist reconciles whenever the operator would, until a time. It returns at once when Renewed is True.
func (w *world) persist(until time.Time) {
	w.Helper()
	for w.clock.Now().Before(until) {
		result, err := w.tryReconcile()
		if err != nil {
			result, err = w.tryReconcile() // The queue tries again.
		}
		must(w.T, err)
		if w.condition(v1alpha1.ConditionRenewed).Status == metav1.ConditionTrue {
			return
		}
		w.pass(min(result.RequeueAfter, until.Sub(w.clock.Now())))
	}
}

// outages are what is out of order until shortly before an expiry.
var outages = map[string]struct {
	begin, end func(*world)
	reason     string
}{
	"Pipedream does not answer": {
		begin: func(w *world) {
			must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Drop: simulator.DropBeforeAnswer}))
		},
		end: func(w *world) { w.pipedream.ClearFaults() }, reason: v1alpha1.ReasonEndpointUnavailable,
	},
	"Pipedream answers without a token": {
		begin: func(w *world) {
			must(w.T, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointToken, Status: 200, Body: "{}"}))
		},
		end: func(w *world) { w.pipedream.ClearFaults() }, reason: v1alpha1.ReasonMalformedResponse,
	},
	"a webhook for Secrets can't be asked": {
		begin: func(w *world) { w.failWrites("PUT secrets") },
		end:   func(w *world) { w.wire.cut(nil) }, reason: v1alpha1.ReasonSecretWriteRefused,
	},
	"the API server does not write": {
		begin: func(w *world) {
			w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPut {
					return says(503, metav1.StatusReasonServiceUnavailable)()
				}
				return nil, nil
			})
		},
		end: func(w *world) { w.wire.answerWith(nil) }, reason: v1alpha1.ReasonClusterUnavailable,
	},
	"the API server does not read": {
		begin: func(w *world) { unreadable(w, "") },
		end:   func(w *world) { w.wire.answerWith(nil) }, reason: v1alpha1.ReasonClusterUnavailable,
	},
}

// TestOutageThatEndsShortlyBeforeTheExpiryLeavesNoGap has each outage end some time before the expiry
// of the current token.
func TestOutageThatEndsShortlyBeforeTheExpiryLeavesNoGap(t *testing.T) {
	t.Parallel()
	for name, outage := range outages {
		for _, before := range []time.Duration{5 * time.Second, 40 * time.Second, 9 * time.Minute} {
			if attempt.IsUnanswered(outage.reason) && before < 10*time.Second {
				continue // In an outage of Pipedream, the limiter sends a request every ten seconds only.
			}
			t.Run(fmt.Sprint(name, ", until ", before), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				untilRenewal(w)
				expiry := w.token().Status.ExpirationTime.Time
				outage.begin(w)
				w.persist(expiry.Add(-before))
				w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, outage.reason)
				outage.end(w)
				exchanges := w.exchanges()
				w.persist(expiry)
				w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
				if took := w.clock.Now().Sub(expiry.Add(-before)); took > max(before/3, time.Second)+time.Second || took > 31*time.Second {
					t.Errorf("the token is renewed %s after the end of the outage, which was %s before the expiry", took, before)
				}
				if got := w.exchanges(); outage.reason == v1alpha1.ReasonSecretWriteRefused && got != exchanges {
					t.Errorf("the token in memory was not written: %d exchanges, and %d before", got, exchanges)
				}
				w.wantAccepted()
			})
		}
	}
}

// TestOutageWithoutATokenIsFollowedSoon has each outage last for an hour before the first token.
func TestOutageWithoutATokenIsFollowedSoon(t *testing.T) {
	t.Parallel()
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			outage.begin(w)
			if strings.Contains(name, "webhook") {
				w.failWrites("POST secrets")
			} else if strings.Contains(name, "write") {
				w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
					if writes(http.MethodPost)(r) {
						return says(503, metav1.StatusReasonServiceUnavailable)()
					}
					return nil, nil
				})
			}
			end := w.clock.Now().Add(15 * time.Minute)
			w.persist(end)
			w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, outage.reason)
			outage.end(w)
			w.persist(end.Add(time.Hour))
			if took := w.clock.Now().Sub(end); took > 31*time.Second {
				t.Errorf("the first token comes %s after the end of the outage", took)
			}
			w.wantAccepted()
		})
	}
}

// TestWaitIsCutShortWhenTheTokenIsLost lets a long wait begin with much life left. Then the token is
// lost.
func TestWaitIsCutShortWhenTheTokenIsLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*world){
		"somebody deletes the Secret": deleteTarget,
		"somebody edits the Secret": func(w *world) {
			change(w, w.target(), func(s *corev1.Secret) { s.Data["access_token"] = []byte("edited") })
		},
		"other scopes are asked for": func(w *world) {
			change(w, w.token(), func(p *v1alpha1.PipedreamToken) { p.Spec.Scopes = append(p.Spec.Scopes, "connect:projects:read") })
		},
		"the operator is restarted, too": func(w *world) {
			deleteTarget(w)
			w.restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			must(t, w.pipedream.SetTokenLifetime(24*time.Hour))
			untilRenewal(w)
			unavailable(w)
			w.persist(w.clock.Now().Add(30 * time.Minute))
			w.passToNextAttempt()
			w.reconcile()
			if left := w.token().Status.NextAttemptTime.Sub(w.clock.Now()); left < 3*time.Minute {
				t.Fatalf("only %s of the wait are left", left)
			}
			lose(w)
			w.reconcile()
			w.wantCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, w.condition(v1alpha1.ConditionReady).Reason)
			w.pipedream.ClearFaults()
			lost := w.clock.Now()
			w.persist(lost.Add(10 * time.Minute))
			if took := w.clock.Now().Sub(lost); took > 31*time.Second {
				t.Errorf("the next token comes %s later", took)
			}
			w.wantAccepted()
		})
	}
}

// TestFailuresOfPipedreamDoNotDelayAWrite has Pipedream fail for long, and then the API server once.
func TestFailuresOfPipedreamDoNotDelayAWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	untilRenewal(w)
	unavailable(w)
	w.persist(w.clock.Now().Add(5 * time.Minute))
	w.pipedream.ClearFaults()
	w.passToNextAttempt()
	w.wire.cut(func(call string, forward func() (*http.Response, error)) (*http.Response, error) {
		if call == "PUT secrets" {
			return nil, errCut
		}
		return forward()
	})
	exchanges := w.exchanges()
	_, err := w.tryReconcile()
	if !errors.Is(err, errCut) {
		t.Fatalf("the reconcile ends with %v", err)
	}
	w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonClusterUnavailable)
	if got, want := scrape(t, w.reconciler.Metrics), `pipedream_token_renewals_total{reason="Due",result="ClusterUnavailable"} 1`; !strings.Contains(got, want) {
		t.Errorf("the metrics do not have %s", want)
	}
	if wait := w.token().Status.NextAttemptTime.Sub(w.clock.Now()); wait > time.Second {
		t.Errorf("the write is tried again in %s, want in a second", wait)
	}
	w.wantHealed(exchanges + 1)
}

// TestDifferentFailuresOfTheClusterArePacedAsOne has reads and writes fail in turns.
func TestDifferentFailuresOfTheClusterArePacedAsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	untilRenewal(w)
	for count := range 5 {
		w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
			switch {
			case r.Method != http.MethodPut:
				return nil, nil
			case count%2 == 1:
				return says(500, metav1.StatusReasonInternalError)()
			}
			return says(503, metav1.StatusReasonServiceUnavailable)()
		})
		_, _ = w.tryReconcile()
		token := w.token()
		want := w.clock.Now().Add(retry.AfterTransient(w.namespace+"/orders", count+1, token.Status.ExpirationTime.Time, w.clock.Now()))
		if got := token.Status.NextAttemptTime; !got.Equal(timestamp(want)) {
			t.Errorf("after failure %d nextAttemptTime is %v, want %v", count+1, got, want)
		}
		w.passToNextAttempt()
	}
	w.wantExchanges(2)
}

// TestNothingIsSentBeforeTheClusterIsTriedAgain reconciles often while the wait lasts.
func TestNothingIsSentBeforeTheClusterIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, step := range steps() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_ = step.suffer(w, clusterFailures["503"])
			w.wire.reset()
			before := w.token().ResourceVersion
			for range 5 {
				w.reconcile()
			}
			w.wantRequests(noRequests)
			if w.token().ResourceVersion != before {
				t.Error("the status was written again")
			}
		})
	}
}

// TestEndOfTheProcessIsNoFailureOfTheCluster tells the process to stop while it reads the credentials.
func TestEndOfTheProcessIsNoFailureOfTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	untilRenewal(w)
	before := w.token()
	ctx, stop := context.WithCancel(t.Context())
	w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
		if reads("credentials")(r) {
			stop()
			return nil, ctx.Err()
		}
		return nil, nil
	})
	if _, err := w.reconciler.Reconcile(ctx, requestFor(w)); !errors.Is(err, context.Canceled) {
		t.Errorf("the reconcile ends with %v", err)
	}
	if after := w.token(); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the status is now %+v", after.Status)
	}
}

// TestConflictOfARewriteIsAFailureFromTheThirdOnly has somebody else be faster than each write of labels.
func TestConflictOfARewriteIsAFailureFromTheThirdOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	steps()["writing labels"].bring(w)
	w.wire.answerWith(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut {
			return says(409, metav1.StatusReasonConflict)()
		}
		return nil, nil
	})
	for range 2 {
		if _, err := w.tryReconcile(); !apierrors.IsConflict(err) {
			t.Errorf("the reconcile ends with %v, want the conflict, for the queue to try again", err)
		}
		w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionTrue, v1alpha1.ReasonIssued)
	}
	_, err := w.tryReconcile()
	w.wantHushed(err)
	w.wantMessage(w.wantCondition(v1alpha1.ConditionRenewed, metav1.ConditionFalse, v1alpha1.ReasonClusterUnavailable), "HTTP status 409 Conflict")
	w.wantHealed(1)
	if w.target().Labels["tier"] != "one" {
		t.Errorf("the labels are %v", w.target().Labels)
	}
}

// TestRestartWithATokenInMemory loses the pending token with the process. The failure stays in the
// status, and the next attempt costs one token.
func TestRestartWithATokenInMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_ = steps()["writing a renewed token"].suffer(w, clusterFailures["503"])
	before := w.token()
	w.restart()
	w.wire.reset()
	w.reconcile()
	w.wantRequests(noRequests)
	if after := w.token(); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the restart has changed the status from\n%v\nto\n%v", before.Status, after.Status)
	}
	w.wantHealed(3)
}

// TestQueueTriesAgainBeforeTheExpiry has nothing work, the report of the status neither, until shortly
// before the expiry.
func TestQueueTriesAgainBeforeTheExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	limiter := controller.Options(1, w.reconciler.longestWait).RateLimiter
	fail := func() time.Duration {
		w.Helper()
		if _, err := w.tryReconcile(); err == nil {
			t.Fatal("the reconcile ends without an error")
		}
		return limiter.When(requestFor(w))
	}
	untilRenewal(w)
	expiry := w.token().Status.ExpirationTime.Time
	w.wire.answerWith(func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED })
	for range 10 {
		w.pass(fail())
	}
	for left, want := range map[time.Duration]time.Duration{
		5 * time.Minute: 15 * time.Second, 30 * time.Second: 10 * time.Second, 2 * time.Second: time.Second, -time.Minute: 15 * time.Second,
	} {
		w.clock.SetTime(expiry.Add(-left))
		if got := fail(); got.Round(time.Second) != want {
			t.Errorf("%s before the expiry the queue waits %s, want %s", left, got, want)
		}
	}
	w.reconciler.Forget(requestFor(w).NamespacedName)
	if got := limiter.When(requestFor(w)); got != 15*time.Second {
		t.Errorf("for an object that is not known, the queue waits %s, want 15s", got)
	}
}
