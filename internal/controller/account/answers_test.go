// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package account

import (
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

// answer has Pipedream answer each request for the account with the given fields beside the ID.
func (w *world) answer(fields string) {
	w.Helper()
	must(w.T, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointAccount, Status: 200, Headers: map[string]string{"Content-Type": "application/json"},
		Body: `{"id":"` + accountID + `",` + fields + `}`,
	}))
}

// TestATimeThatNoRecordCanHold has Pipedream answer with a time whose year in UTC has five digits, or is before the year
// 0. It must not make the operator take its own Secret for edited, nor fail to write the status.
func TestATimeThatNoRecordCanHold(t *testing.T) {
	t.Parallel()
	const late, early = "9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"
	for name, test := range map[string]struct{ field, value string }{
		"the expiry is too late":        {"expires_at", late},
		"the next refresh is too late":  {"next_refresh_at", late},
		"the next refresh is too early": {"next_refresh_at", early},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			w.answer(`"` + test.field + `":"` + test.value + `","credentials":{"oauth_access_token":"a-token"}`)
			for range 20 {
				result, err := w.tryReconcile()
				if err != nil {
					t.Fatalf("the reconcile fails: %v", err)
				}
				w.pass(min(max(result.RequeueAfter, time.Second), time.Minute))
			}
			w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			if got := w.fetches(); got > 2 {
				t.Errorf("Pipedream was asked %d times", got)
			}
			w.restart()
			w.wire.Reset()
			w.reconcile()
			w.wantRequests(map[string]int{})
		})
	}
}

// TestCredentialsAreWrittenAsTheyAre has Pipedream answer with texts that are not UTF-8, or that no text in UTF-8 can
// hold. A Secret with other bytes is of no use.
func TestCredentialsAreWrittenAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"bytes that are not UTF-8":  "pass\xffword",
		"half of a surrogate pair":  `pass\ud800word`,
		"signs beyond ASCII":        "pass\u00dfword",
		"the replacement character": "pass\ufffdword",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create()
			w.answer(`"credentials":{"password":"` + value + `"}`)
			w.reconcile()
			if ready := w.condition(v1alpha1.ConditionReady); ready.Reason == v1alpha1.ReasonCredentialsValid {
				if got := string(w.target().Data["password"]); got != value {
					t.Errorf("Ready is True, and the Secret holds %q in place of %q", got, value)
				}
				return
			}
			w.wantReasons(v1alpha1.ReasonMalformedResponse, v1alpha1.ReasonNotFetched)
			if message := w.condition(v1alpha1.ConditionFetched).Message; !strings.Contains(message, "a text that UTF-8 can't hold") {
				t.Errorf("Fetched says %q", message)
			}
			if w.hasTarget() {
				t.Error("there is a Secret")
			}
		})
	}
}

// TestASecretWithoutAnyCredentialsIsNotReady has credentials of which the Secret would hold no field.
func TestASecretWithoutAnyCredentialsIsNotReady(t *testing.T) {
	t.Parallel()
	const unnamed = "no field of the credentials has a name that a key of a Secret can have"
	const unshown = "no template shows a field of the credentials"
	template := func(text string) map[string]v1alpha1.ValueTemplate {
		return map[string]v1alpha1.ValueTemplate{"NAME": "{{ .AccountID }}", "KEY": v1alpha1.ValueTemplate(text)}
	}
	for name, test := range map[string]struct {
		fields       string
		data         map[string]v1alpha1.ValueTemplate
		reason, says string
	}{
		"no field has the name of a key": {`"credentials":{"API Key":"a-secret-key"}`, nil, v1alpha1.ReasonMalformedResponse, unnamed},
		"there is an expiry only":        {`"expires_at":"2026-01-02T04:04:05Z","credentials":{"API Key":"a-secret-key","":"b"}`, nil, v1alpha1.ReasonMalformedResponse, unnamed},
		"the field is in a text":         {`"credentials":{"api_key":"a-secret-key"}`, template("as in .Credentials.api_key"), v1alpha1.ReasonTemplateInvalid, unshown},
		"the field is in a comment":      {`"credentials":{"api_key":"a-secret-key"}`, template("{{/* .Credentials.api_key */}}"), v1alpha1.ReasonTemplateInvalid, unshown},
		"the field is in another branch": {
			`"credentials":{"api_key":"a-secret-key"}`, template(`{{ if eq .Environment "development" }}{{ .Credentials.api_key }}{{ end }}`),
			v1alpha1.ReasonTemplateInvalid, unshown,
		},
		"one of two fields has the name of a key": {`"credentials":{"API Key":"a-secret-key","user":"u"}`, nil, v1alpha1.ReasonAccountFetched, "can have their names: 1."},
		"the field that is shown is empty":        {`"credentials":{"api_key":""}`, template("{{ .Credentials.api_key }}"), v1alpha1.ReasonAccountFetched, "Pipedream answered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.createCredentials()
			w.create(func(account *v1alpha1.PipedreamAccount) { account.Spec.Secret.Data = test.data })
			w.answer(test.fields)
			w.reconcile()
			isGood := test.reason == v1alpha1.ReasonAccountFetched
			ready := v1alpha1.ReasonNotFetched
			if isGood {
				ready = v1alpha1.ReasonCredentialsValid
			}
			w.wantReasons(test.reason, ready)
			if message := w.condition(v1alpha1.ConditionFetched).Message; !strings.Contains(message, test.says) {
				t.Errorf("Fetched says %q, want %q in it", message, test.says)
			}
			if w.hasTarget() != isGood {
				t.Errorf("there is a Secret: %v, want %v", w.hasTarget(), isGood)
			}
			w.live(2 * time.Minute)
			if got := w.fetches(); got > 12 {
				t.Errorf("Pipedream was asked %d times in two minutes", got)
			}
			if isGood {
				return
			}
			w.pipedream.ClearFaults()
			w.live(10 * time.Minute)
			if test.data == nil {
				w.wantReasons(v1alpha1.ReasonAccountFetched, v1alpha1.ReasonCredentialsValid)
			}
			w.wantNoSecretSeen()
		})
	}
}
