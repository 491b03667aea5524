// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	api "github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
)

func TestASecretIsFoundInEachForm(t *testing.T) {
	t.Parallel()
	const secret = "chaos-secret-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	token := "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJjaGFvcyJ9." + strings.Repeat("Zx9-_q", 14)
	tests := map[string]struct {
		text string
		want string
	}{
		"in clear":                      {"a line with " + secret + " in it", "the secret"},
		"in hexadecimal":                {"00" + hex.EncodeToString([]byte(secret)), "the secret"},
		"in base64":                     {base64.StdEncoding.EncodeToString([]byte(secret)), "the secret"},
		"in base64, one byte later":     {base64.StdEncoding.EncodeToString([]byte(":" + secret + ":")), "the secret"},
		"in base64, two later":          {base64.URLEncoding.EncodeToString([]byte("::" + secret + "::")), "the secret"},
		"in Basic authentication":       {base64.StdEncoding.EncodeToString([]byte("chaos-client-1:" + secret)), "the secret"},
		"a token's signature":           {"token " + token[len(token)-84:], "the token"},
		"a token that no Secret had":    {"Bearer eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.other", "the beginning of a token"},
		"a refresh token of an account": {"the app has refused the refresh token sim_" + strings.Repeat("aZ3-_", 8), "a secret of an account"},
		"nothing secret":                {"issued a token, for chaos-client-1, digest 0123456789abcdef0123456789abcdef", ""},
		"half of a secret":              {secret[:20], ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLeaks()
			l.add("log", test.text, at(0))
			l.learn(clientSecrets, "the secret", secret) // The secret is learned after the log line was written.
			l.learnToken("the token", token)
			if early := l.search(at(1)); len(early) != 0 {
				t.Errorf("searched before all secrets are known: %v", early)
			}
			got := ""
			for _, found := range l.search(at(60)) {
				got = found.name
			}
			if got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}

// issuer returns a function that asks a simulator for a token, as the operator does.
func issuer(t *testing.T) (issue func() string) {
	t.Helper()
	server := httptest.NewServer(simulator.New(simulator.Options{Now: time.Now, Clients: []simulator.Client{{ID: readerID(0), Secret: "s3cret"}}}))
	t.Cleanup(server.Close)
	client, err := api.NewClient(api.Options{Address: server.URL, AllowInsecure: true, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		issued, err := client.Issue(t.Context(), api.Credentials{ClientID: readerID(0), ClientSecret: api.NewSensitive("s3cret")}, []string{"connect:accounts:read"})
		if err != nil {
			t.Fatal(err)
		}
		return issued.AccessToken.Reveal()
	}
}

// plant returns, for each origin of texts, a function that writes a text there as the operator may.
func plant(t *testing.T) map[string]func(o *observer, text string) {
	t.Helper()
	message := func(text string) []metav1.Condition { return []metav1.Condition{{Message: text}} }
	secretOfAccount := func(change func(*corev1.Secret, string)) func(*observer, string) {
		return func(o *observer, text string) {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{UID: types.UID(text), ResourceVersion: "1"}, Data: map[string][]byte{}}
			change(secret, text)
			o.learnAccounts(nil, []accountSnapshot{{held: held{secret: secret}}})
		}
	}
	return map[string]func(o *observer, text string){
		"a log": func(o *observer, text string) {
			log, err := (&manager{leaks: o.env.leaks}).log()
			if err != nil {
				t.Error(err)
			}
			_, _ = fmt.Fprintf(log, "{\"msg\":%q}\n", text)
		},
		"an Event": func(o *observer, text string) { o.read("Event", &eventsv1.Event{Note: text}, time.Now()) },
		"the status of a PipedreamToken": func(o *observer, text string) {
			token := newToken(1)
			token.UID, token.ResourceVersion, token.Status.Conditions = types.UID(text), "1", message(text)
			o.learn([]v1alpha1.PipedreamToken{*token}, nil)
		},
		"the status of a PipedreamAccount": func(o *observer, text string) {
			account := newAccount(keyed)
			account.UID, account.ResourceVersion, account.Status.Conditions = types.UID(text), "1", message(text)
			o.learnAccounts([]v1alpha1.PipedreamAccount{*account}, nil)
		},
		"an annotation of a Secret": secretOfAccount(func(s *corev1.Secret, text string) { s.Annotations = map[string]string{"note": text} }),
		"another key of a Secret":   secretOfAccount(func(s *corev1.Secret, text string) { s.Data[refreshTokenKey] = []byte(text) }),
		"the metrics": func(o *observer, text string) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, "calls{by=%q} 1\n", text)
			}))
			defer server.Close()
			m := &manager{}
			m.call.Metrics = strings.TrimPrefix(server.URL, "https://")
			o.readMetrics(t.Context(), m)
		},
	}
}

func TestEachKindOfSecretIsFoundWhereverItIsWritten(t *testing.T) {
	t.Parallel()
	issue := issuer(t)
	known, own := issue(), issue()
	parts := strings.Split(own, ".")
	env := &environment{leaks: newLeaks(), reporter: newReporter(io.Discard)}
	users := &connections{leaks: env.leaks}
	fields, oldFields := users.newFields(inTime), users.newFields(inTime)
	secrets := map[string]string{
		"a client secret":                             env.newSecret(clientID(1)),
		"an API key":                                  env.newKey(1),
		"a replaced API key":                          env.newKey(1),
		"a token of a PipedreamToken":                 known,
		"the signature of a token":                    strings.Split(known, ".")[2],
		"an own token of the operator":                own,
		"an own token, its beginning":                 parts[0],
		"an own token, its claims":                    parts[1],
		"an own token, its signature":                 parts[2],
		"an own token in base64":                      base64.StdEncoding.EncodeToString([]byte("Bearer " + own)),
		"an own token in hexadecimal":                 hex.EncodeToString([]byte(own)),
		"credentials of an account that no one holds": "sim_" + strings.Repeat("aZ3-_", 8),
	}
	for _, name := range []string{webhookSecretKey, refreshTokenKey, clientIDKey, uidKey} {
		secrets["the field "+name], secrets["the old field "+name] = fields[name], oldFields[name]
	}
	env.leaks.learnToken("a token", known)
	env.leaks.learn(managerTokens, "the managers' token", "a-token-for-the-api-server")
	for _, k := range secretKinds {
		if env.leaks.known[k] == 0 {
			t.Errorf("no secret is known of the kind %q", k)
		}
	}
	for where, write := range plant(t) {
		for name, secret := range secrets {
			o := newObserver(env, nil, nil, nil)
			if write(o, "before "+secret+" after"); len(env.leaks.search(time.Now().Add(time.Hour))) == 0 {
				t.Errorf("%s was not found in %s", name, where)
			}
		}
		o := newObserver(env, nil, nil, nil)
		if write(o, "fetched account apn_chaos004_0 of chaos_app"); len(env.leaks.search(time.Now().Add(time.Hour))) != 0 {
			t.Errorf("a secret was found in %s, and there is none", where)
		}
	}
}

func TestASecretMayHoldCredentialsUnderTheirOwnKeysOnly(t *testing.T) {
	t.Parallel()
	env := &environment{leaks: newLeaks()}
	secret := &corev1.Secret{Data: map[string][]byte{}, ObjectMeta: metav1.ObjectMeta{UID: "a", ResourceVersion: "1"}}
	for field, value := range (&connections{leaks: env.leaks}).newFields(inTime) {
		if field != refreshTokenKey {
			secret.Data[field] = []byte(value)
		}
	}
	secret.Data[oauthTokenKey] = []byte("sim_" + strings.Repeat("aZ3-_", 8))
	newObserver(env, nil, nil, nil).learnAccounts(nil, []accountSnapshot{{held: held{secret: secret}}})
	if found := env.leaks.search(time.Now().Add(time.Hour)); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}
