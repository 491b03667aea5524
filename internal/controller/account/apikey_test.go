// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

const (
	apiKey    = "the-api-key-that-must-never-be-seen"
	newAPIKey = "the-new-api-key-that-must-never-be-seen"
	// keyUser is the user of Pipedream who has the API key.
	keyUser = "u_ada"
)

// withKey has a PipedreamAccount use the API key in the Secret api-key.
func withKey(account *v1alpha1.PipedreamAccount) {
	account.Spec.ClientSecretRef, account.Spec.ProjectID = v1alpha1.ClientSecretReference{}, ""
	account.Spec.APIKeyRef.Name = "api-key"
}

// withClient has a PipedreamAccount use the OAuth client again.
func withClient(spec *v1alpha1.PipedreamAccountSpec) {
	spec.APIKeyRef, spec.WorkspaceID = v1alpha1.APIKeyReference{}, ""
	spec.ClientSecretRef.Name, spec.ProjectID = "credentials", projectID
}

// newKeyWorld returns a world in which the account is also one of a user of Pipedream, who has an API key.
func newKeyWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.changeAccount(ofUser)
	must(t, w.pipedream.Users.Set(keyUser, simulator.NewUser(apiKey)))
	return w
}

func ofUser(account *simulator.Account) { account.UserID = keyUser }

// createKey creates the Secret with the API key.
func (w *world) createKey(key string) {
	w.Helper()
	must(w.T, w.admin.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "api-key"},
		StringData: map[string]string{"api_key": key},
	}))
}

// setKey changes the Secret with the API key.
func (w *world) setKey(key string) {
	w.Helper()
	change(w, w.secret("api-key"), func(secret *corev1.Secret) { secret.Data = map[string][]byte{"api_key": []byte(key)} })
}

// fetchedWithKey creates the API key and the PipedreamAccount, and has the account fetched.
func (w *world) fetchedWithKey(changes ...func(*v1alpha1.PipedreamAccount)) {
	w.Helper()
	w.createKey(apiKey)
	w.create(append([]func(*v1alpha1.PipedreamAccount){withKey}, changes...)...)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wire.Reset()
}

// wantMessage checks that the message of condition Fetched has these parts.
func (w *world) wantMessage(parts ...string) {
	w.Helper()
	message := w.condition(v1alpha1.ConditionFetched).Message
	for _, part := range parts {
		if !strings.Contains(message, part) {
			w.Errorf("the message is %q, want in it %q", message, part)
		}
	}
}

// wantNoKeySeen checks also the metrics, and what the operator has written to the Secret.
func (w *world) wantNoKeySeen() {
	w.Helper()
	seen := w.scrape(w.reconciler.Metrics)
	if w.hasTarget() {
		seen += fmt.Sprintf("%+v", w.target())
	}
	for _, key := range []string{apiKey, newAPIKey} {
		if strings.Contains(seen, key) {
			w.Errorf("the API key is seen in %s", seen)
		}
	}
	w.wantNoSecretSeen()
}

// TestTheFirstCredentialsWithAnAPIKey asks without an OAuth client, with the fields of the account that the REST API
// shows by default, and with all.
func TestTheFirstCredentialsWithAnAPIKey(t *testing.T) {
	t.Parallel()
	for fields, app := range map[string]string{"few": "", "all": "slack"} {
		t.Run(fields, func(t *testing.T) {
			t.Parallel()
			w := newKeyWorld(t)
			must(t, w.pipedream.Accounts.SetAnswers(map[string]string{simulator.AnswerRESTFields: fields}))
			w.createKey(apiKey)
			w.create(withKey, func(account *v1alpha1.PipedreamAccount) { account.Spec.App = "slack" })

			w.reconcile()

			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantCondition(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonAccountHealthy)
			// The key is read once.
			w.wantRequests(map[string]int{"GET secrets": 1, "POST secrets": 1, "PATCH pipedreamaccounts/status": 1})
			w.wantFetches(1)
			w.wantExchanges(0)
			status := w.account().Status
			if status.Account != (v1alpha1.FetchedAccount{ID: accountID, App: app}) || status.ExpirationTime == nil {
				t.Errorf("the status is %+v", status)
			}
			if got, want := status.ReferencedSecretResourceVersion, w.secret("api-key").ResourceVersion; got != want {
				t.Errorf("referencedSecretResourceVersion is %q, want %q", got, want)
			}
			if !w.accepted() {
				t.Error("the app refuses the access token in the Secret")
			}
			w.wantNoKeySeen()
		})
	}
}

// TestLooksWithAnAPIKey counts what looks and restarts cost.
func TestLooksWithAnAPIKey(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.fetchedWithKey(eachTenMinutes)

	w.pass(10 * time.Minute)
	w.reconcile()
	w.wantFetches(2)
	w.wantRequests(map[string]int{"GET secrets": 1}) // of the key

	w.wire.Reset()
	for range 3 {
		w.restart()
		w.reconcile()
		w.pass(time.Minute)
	}
	w.wantFetches(2)
	w.wantExchanges(0)
	w.wantRequests(map[string]int{})

	w.pass(7 * time.Minute)
	w.reconcile()
	w.wantFetches(3)
	w.wantRequests(map[string]int{"GET secrets": 1})
}

// TestRefreshesAreFollowedWithAnAPIKey has a consumer use the Secret for three hours.
func TestRefreshesAreFollowedWithAnAPIKey(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.connect(accountID, "lead:20m", ofUser)
	w.fetchedWithKey()
	for end := w.clock.Now().Add(3 * time.Hour); w.clock.Now().Before(end); w.live(time.Minute) {
		if !w.accepted() {
			t.Fatalf("at %s the app refuses the access token in the Secret: %+v", w.clock.Now(), w.account().Status)
		}
	}
	if got := w.fetches(); got < 4 || got > 5 {
		t.Errorf("in three hours there were %d looks, want one for each refresh", got)
	}
	w.wantExchanges(0)
}

// TestARevokedAPIKey presses REVOKE at Pipedream, whatever the body of the 401 is, and delivers the new key later.
func TestARevokedAPIKey(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"error", "empty", "text", "html", "oauth", "details"} {
		t.Run(body, func(t *testing.T) {
			t.Parallel()
			w := newKeyWorld(t)
			must(t, w.pipedream.Accounts.SetAnswers(map[string]string{simulator.AnswerRefusedKey: body}))
			w.fetchedWithKey(eachTenMinutes)
			must(t, w.pipedream.Users.RevokeKey(keyUser, newAPIKey))

			w.look()

			w.wantReasons(v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonCredentialsValid)
			w.wantStalled(true)
			w.wantMessage("Pipedream rejected the API key (HTTP status 401", "https://pipedream.com/user", "`spec.apiKeyRef`")
			if message := w.condition(v1alpha1.ConditionFetched).Message; strings.Contains(message, "workspaceID") || strings.Contains(message, "client") {
				t.Errorf("the message is %q, and there is neither a client nor a workspace", message)
			}
			w.wantNoKeySeen()
			looks := w.fetches()
			w.live(50 * time.Second)
			w.wantFetches(looks)

			w.setKey(newAPIKey)
			w.wire.Reset()
			w.reconcile()

			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantStalled(false)
			w.wantFetches(looks + 1)
			w.wantExchanges(0)
			if !w.accepted() {
				t.Error("the app refuses the access token in the Secret")
			}
			w.wantNoKeySeen()
		})
	}
}

// TestARevokedAPIKeyAfterARestart asks nothing before the wait of the last process is over, and uses a new key at once.
func TestARevokedAPIKeyAfterARestart(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.fetchedWithKey(eachTenMinutes)
	must(t, w.pipedream.Users.RevokeKey(keyUser, newAPIKey))
	w.look()
	looks, message := w.fetches(), w.condition(v1alpha1.ConditionFetched).Message
	w.wire.Reset()

	w.restart()
	w.live(50 * time.Second)

	w.wantFetches(looks)
	w.wantRequests(map[string]int{})
	if now := w.condition(v1alpha1.ConditionFetched).Message; now != message {
		t.Errorf("the message was %q, and is %q after the restart", message, now)
	}
	w.live(20 * time.Second)
	w.wantFetches(looks + 1)
	w.wantReasons(v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonCredentialsValid)

	w.restart()
	w.setKey(newAPIKey)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestAWorkspaceThatTheUserIsNotIn is answered by Pipedream in several ways. The message names the field in each.
func TestAWorkspaceThatTheUserIsNotIn(t *testing.T) {
	t.Parallel()
	for answer, reason := range map[string]string{
		"unauthorized": v1alpha1.ReasonCredentialsRejected, "forbidden": v1alpha1.ReasonAccessDenied, "not-found": v1alpha1.ReasonAccountNotFound,
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			w := newKeyWorld(t)
			must(t, w.pipedream.Accounts.SetAnswers(map[string]string{simulator.AnswerForeignWorkspace: answer}))
			w.createKey(apiKey)
			w.create(withKey, func(account *v1alpha1.PipedreamAccount) { account.Spec.WorkspaceID = "o_foreign" })

			w.reconcile()

			w.wantReasons(reason, v1alpha1.ReasonNotFetched)
			w.wantMessage("`spec.workspaceID`")
			w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.WorkspaceID = simulator.DefaultWorkspaceID })
			w.pass(10 * time.Second) // A refused key is tried again only then, whatever else has changed.
			w.reconcile()
			w.live(time.Minute)
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantNoKeySeen()
		})
	}
}

// TestAWorkspaceThatPipedreamAsksFor has a message that names the field which is missing.
func TestAWorkspaceThatPipedreamAsksFor(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	must(t, w.pipedream.Accounts.SetAnswers(map[string]string{simulator.AnswerOrgID: "required"}))
	w.createKey(apiKey)
	w.create(withKey)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonRequestRejected, v1alpha1.ReasonNotFetched)
	w.wantMessage("HTTP status 400", "`spec.workspaceID`")

	w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) { spec.WorkspaceID = simulator.DefaultWorkspaceID })
	w.pass(2 * time.Second) // A key that Pipedream has never accepted has half of the rate.
	w.reconcile()

	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestTheSecretWithTheAPIKey has it missing, and in each form that the operator does not send. The Secret is not read
// again before it changes.
func TestTheSecretWithTheAPIKey(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		data     map[string][]byte
		reason   string
		messages []string
	}{
		"missing": {
			reason:   v1alpha1.ReasonCredentialsMissing,
			messages: []string{"Secret `api-key` (`spec.apiKeyRef.name`) does not exist", "Create the Secret with the API key"},
		},
		"without the key": {
			data: map[string][]byte{"API_KEY": []byte(apiKey)}, reason: v1alpha1.ReasonCredentialsMissing,
			messages: []string{"Secret `api-key` has no value under key `api_key` (`spec.apiKeyRef.key`)", "Create the Secret with the API key"},
		},
		"empty": {
			data: map[string][]byte{"api_key": []byte(" \n")}, reason: v1alpha1.ReasonCredentialsMissing,
			messages: []string{"Secret `api-key` has no value under key `api_key`"},
		},
		"two lines": {
			data: map[string][]byte{"api_key": []byte(apiKey + "\nother")}, reason: v1alpha1.ReasonCredentialsInvalid,
			messages: []string{"The Secret `api-key` holds no usable API key: the value of key `api_key` contains a line break", "The operator did not send this API key"},
		},
		"the line of a file": {
			data: map[string][]byte{"api_key": []byte("api_key=" + apiKey)}, reason: v1alpha1.ReasonCredentialsInvalid,
			messages: []string{"begins with `api_key=`"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newKeyWorld(t)
			if test.data != nil {
				w.createKey("")
				change(w, w.secret("api-key"), func(secret *corev1.Secret) { secret.Data = test.data })
			}
			w.create(withKey)

			w.reconcile()

			w.wantReasons(test.reason, v1alpha1.ReasonNotFetched)
			w.wantMessage(test.messages...)
			w.wantFetches(0)
			w.wantNoKeySeen()
			w.wire.Reset()
			w.live(10 * time.Minute)
			w.restart()
			w.live(10 * time.Minute)
			if reads := w.wire.Requests()["GET secrets"]; reads > 1 {
				t.Errorf("the Secret was read %d times since nothing has changed, want once after the restart at most", reads)
			}
			w.wantStalled(true)

			if test.data == nil {
				w.createKey(apiKey)
			} else {
				w.setKey("  " + apiKey + "\n")
			}
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			w.wantNoKeySeen()
		})
	}
}

// TestAnotherKeyOfTheSecret reads the API key under the name that the spec says.
func TestAnotherKeyOfTheSecret(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.createKey("not-this-one")
	change(w, w.secret("api-key"), func(secret *corev1.Secret) { secret.Data["pipedream"] = []byte(apiKey) })
	w.create(withKey, func(account *v1alpha1.PipedreamAccount) { account.Spec.APIKeyRef.Key = "pipedream" })
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// TestFromAClientToAKeyAndBack has the Secret of the operator follow what the spec says.
func TestFromAClientToAKeyAndBack(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.createKey(apiKey)
	w.fetched()
	token := string(w.target().Data["oauth_access_token"])

	w.changeSpec(func(spec *v1alpha1.PipedreamAccountSpec) {
		changed := &v1alpha1.PipedreamAccount{Spec: *spec}
		withKey(changed)
		*spec = changed.Spec
	})
	w.pass(10 * time.Second)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantExchanges(1)
	if calls := w.pipedream.Counters().Calls; calls[simulator.EndpointAccount].Total != 1 || calls[simulator.EndpointRESTAccount].Total != 1 {
		t.Errorf("the calls are %+v, want one with the client and one with the key", calls)
	}

	w.changeSpec(withClient)
	w.pass(10 * time.Second)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantExchanges(1) // The access token is good still.
	w.wantFetches(3)
	if got := string(w.target().Data["oauth_access_token"]); got != token {
		t.Error("the credentials of the account have changed, and Pipedream has not refreshed them")
	}
	w.wantNoKeySeen()
}

// TestAKeyWhileTheBearerIsReplaced has the spec name an API key while the PipedreamAccount waits for its turn to replace
// the access token in the background.
func TestAKeyWhileTheBearerIsReplaced(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.createKey(apiKey)
	w.fetched(eachTenMinutes)
	w.pass(50 * time.Minute)
	w.tokenRequests.Pause(w.clock.Now().Add(10 * time.Minute))
	w.reconcile()
	requester := requesterOf(w.key("slack"))
	if !w.reconciler.Bearers.IsReplacing(requester) {
		t.Fatal("the PipedreamAccount does not replace the access token, which the test needs")
	}

	change(w, w.account(), withKey)
	w.pass(10 * time.Second)
	w.reconcile()

	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	if w.reconciler.Bearers.IsReplacing(requester) {
		t.Error("a PipedreamAccount with an API key goes on to replace the access token of an OAuth client")
	}
}

// TestTemplatesWithAnAPIKey can't show what an account has only in a project.
func TestTemplatesWithAnAPIKey(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		".ProjectID":      "`.ProjectID` has no value: with `spec.apiKeyRef`, an account is asked for without a project",
		".Environment":    "`.Environment` has no value: with `spec.apiKeyRef`, an account is asked for without an environment",
		".ExternalUserID": "`.ExternalUserID` has no value",
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			w := newKeyWorld(t)
			w.createKey(apiKey)
			w.create(withKey, func(account *v1alpha1.PipedreamAccount) {
				account.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"x": v1alpha1.ValueTemplate("{{ .Credentials.oauth_access_token }}{{ " + value + " }}")}
			})
			w.reconcile()
			w.wantReasons(v1alpha1.ReasonTemplateInvalid, v1alpha1.ReasonNotFetched)
			w.wantMessage(want)
			w.wantFetches(0)
		})
	}
}

// TestVerdictsWithAnAPIKey has Pipedream answer that there are no credentials for the user of the API key.
func TestVerdictsWithAnAPIKey(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.fetchedWithKey(eachTenMinutes)
	w.changeAccount(func(account *simulator.Account) { account.UserID = "u_other" })
	w.look()
	w.wantReasons(v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonCredentialsValid)
	w.live(5 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountNotFound, v1alpha1.ReasonAccountNotFound)
	w.wantMessage("The user of the API key must have connected the account")
	if ready := w.condition(v1alpha1.ConditionReady); !strings.Contains(ready.Message, "shows no such account to the user of the API key") {
		t.Errorf("the message of Ready is %q", ready.Message)
	}
	w.changeAccount(ofUser)
	w.live(15 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantNoKeySeen()
}

// TestARateLimitOfAnAPIKey is waited for by all who use the key, and ends with a new key.
func TestARateLimitOfAnAPIKey(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.fetchedWithKey(eachTenMinutes)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointRESTAccount, Status: http.StatusTooManyRequests, Headers: map[string]string{"Retry-After": "300"}}))
	w.look()
	w.wantReasons(v1alpha1.ReasonRateLimited, v1alpha1.ReasonCredentialsValid)
	w.wantMessage("Pipedream limits the rate of requests with this API key")
	looks := w.fetches()
	w.live(4 * time.Minute)
	w.restart()
	w.live(30 * time.Second)
	w.wantFetches(looks)

	w.pipedream.ClearFaults()
	must(t, w.pipedream.Users.RevokeKey(keyUser, newAPIKey))
	w.setKey(newAPIKey)
	w.reconcile()
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantFetches(looks + 1)
}

// TestAnOutageWithAnAPIKey keeps what is in the Secret, and shows the failure.
func TestAnOutageWithAnAPIKey(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.fetchedWithKey(eachTenMinutes)
	must(t, w.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointRESTAccount, Status: http.StatusBadGateway}))
	w.look()
	w.wantReasons(v1alpha1.ReasonEndpointUnavailable, v1alpha1.ReasonCredentialsValid)
	w.live(3 * time.Minute)
	w.pipedream.ClearFaults()
	w.live(2 * time.Minute)
	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
}

// lagging shows an old version of one Secret.
type lagging struct {
	client.Reader
	old *corev1.Secret
}

func (l lagging) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if err := l.Reader.Get(ctx, key, object, options...); err != nil || key.Name != l.old.Name {
		return err
	}
	object.SetResourceVersion(l.old.ResourceVersion)
	return nil
}

// TestTheKeyIsReadAgainWhenTheCacheLags reads a newer key than the metadata in the cache is of, and sends the newer one.
func TestTheKeyIsReadAgainWhenTheCacheLags(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.fetchedWithKey(eachTenMinutes)
	shown := *w.secret("api-key")
	must(t, w.pipedream.Users.RevokeKey(keyUser, newAPIKey))
	w.setKey(newAPIKey)
	w.reconciler.Cache = lagging{w.reconciler.Cache, &shown}

	w.look()

	w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
	w.wantFetches(2)
	if got := w.pipedream.Users.Counters().Users[keyUser].Accepted; got != 2 {
		t.Errorf("%d calls had a key that Pipedream accepts, want both", got)
	}
}

// TestAnAPIKeyStaysNowhere looks for the key in all that the reconciler keeps between two reconciles.
func TestAnAPIKeyStaysNowhere(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.fetchedWithKey(eachTenMinutes)
	st, _ := w.reconciler.states.LastOf(w.key("slack"))
	if name := st.check.apiKey.name; name == "" || name != w.reconciler.Requests.KeyName(pipedream.NewSensitive(apiKey), "") {
		t.Errorf("the name of the key is %q", name)
	}
	if text := fmt.Sprintf("%+v", *st); strings.Contains(text, apiKey) {
		t.Error("the state of the reconciler has the API key")
	}
}

// TestARevokedKeyOfManyAccounts has 100 PipedreamAccounts on one API key that is revoked, and later replaced.
func TestARevokedKeyOfManyAccounts(t *testing.T) {
	t.Parallel()
	const size = 100
	c := newCrowd(t, 100)
	must(t, c.pipedream.Users.Set(keyUser, simulator.NewUser(apiKey)))
	must(t, c.pipedream.Users.RevokeKey(keyUser, newAPIKey))
	c.createKey(apiKey)
	c.add(projectID, size, withKey)

	for minute := range 5 {
		before := c.fetches()
		c.live(time.Minute)
		if calls := c.fetches() - before; calls > 3 || minute == 0 && calls == 0 {
			t.Errorf("in minute %d there were %d calls with the revoked key, want at most three", minute+1, calls)
		}
		if minute > 0 {
			continue
		}
		c.wantAll("", v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonNotFetched, size)
		requests := c.wire.Requests()
		if reads := requests["GET secrets"]; reads > size {
			t.Errorf("the key was read %d times, want once for each PipedreamAccount at most", reads)
		}
		delete(requests, "GET secrets")
		if want := map[string]int{"PATCH pipedreamaccounts/status": size}; !maps.Equal(requests, want) {
			t.Errorf("the API server got %v, want %v", requests, want)
		}
	}
	c.wantExchanges(0)
	before := c.fetches()

	c.wire.Reset()
	c.connectAll(size)
	c.setKey(newAPIKey)
	c.wakeAll()
	c.live(2 * time.Minute)

	c.wantAll("", v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
	if calls := c.fetches() - before; calls != size {
		t.Errorf("there were %d calls with the new key, want %d", calls, size)
	}
}

// TestAMistypedWorkspaceStopsNoOther has one API key for accounts with a workspace that its user is in, and for accounts
// with another one, which Pipedream answers as it answers a revoked key.
func TestAMistypedWorkspaceStopsNoOther(t *testing.T) {
	t.Parallel()
	const size = 10
	c := newCrowd(t, 100)
	must(t, c.pipedream.Users.Set(keyUser, simulator.NewUser(apiKey)))
	must(t, c.pipedream.Accounts.SetAnswers(map[string]string{simulator.AnswerForeignWorkspace: "unauthorized"}))
	c.createKey(apiKey)
	c.add(projectID, size, withKey, func(account *v1alpha1.PipedreamAccount) {
		account.Spec.WorkspaceID = simulator.DefaultWorkspaceID
		if strings.HasSuffix(account.Name, "1") || strings.HasSuffix(account.Name, "2") {
			account.Spec.WorkspaceID = "o_mistyped"
		}
	})
	c.connectAll(size)

	c.live(time.Minute)

	c.wantAll("", v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size-2)
	c.wantAll("", v1alpha1.ReasonCredentialsRejected, v1alpha1.ReasonNotFetched, 2)
	c.wantFetches(size - 2 + 1)
}

// TestAGoodKeyOfManyAccounts is paced, and a restart costs nothing.
func TestAGoodKeyOfManyAccounts(t *testing.T) {
	t.Parallel()
	const size = 40
	c := newCrowd(t, 100)
	must(t, c.pipedream.Users.Set(keyUser, simulator.NewUser(apiKey)))
	c.createKey(apiKey)
	c.add(projectID, size, withKey)
	c.connectAll(size)

	c.live(20 * time.Second)
	if calls := c.fetches(); calls < 19 || calls > 21 {
		t.Errorf("in 20 seconds there were %d calls with one key, want one a second", calls)
	}
	c.live(time.Minute)
	c.wantAll("", v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid, size)
	c.wantFetches(size)
	if reads := c.wire.Requests()["GET secrets"]; reads > 2*size {
		t.Errorf("the key was read %d times, want twice for each PipedreamAccount at most", reads)
	}
}
