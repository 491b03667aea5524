// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestInspectExplains(t *testing.T) {
	w := fleet(t, "inspect")
	w.letLook()
	harness.Must(t, w.pipedream.AddFault(simulator.Fault{
		Endpoint: simulator.EndpointToken, Calls: 1, Status: http.StatusOK,
		Body: `{"access_token":"an-opaque-token-that-must-never-be-seen","token_type":"Bearer","expires_in":3600}`,
	}))
	w.issued("opaque", func(token *v1alpha1.PipedreamToken) {
		token.Spec.Environment = v1alpha1.EnvironmentDevelopment
		token.Spec.ProjectID = ""
	})
	w.issued("hidden", func(token *v1alpha1.PipedreamToken) {
		token.Spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"token": "Bearer {{ .AccessToken }}"}
	})
	for name, arguments := range map[string][]string{
		"inspect-orders":     {"orders"},
		"inspect-audit":      {"pipedreamtoken.pipedream-operator.io/audit"},
		"inspect-billing":    {"billing"},
		"inspect-stranded":   {"stranded"},
		"inspect-unseen":     {"unseen"},
		"inspect-opaque":     {"opaque"},
		"inspect-hidden":     {"hidden"},
		"inspect-not-found":  {"order"},
		"inspect-may-look":   {"orders", "--as=looker"},
		"inspect-may-nought": {"orders", "--as=nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.wantGolden(name, w.run(append([]string{"inspect"}, arguments...)...))
		})
	}
	change(w, w.token("orders"), func(token *v1alpha1.PipedreamToken) { token.Spec.Scopes = []string{"connect:users:read"} })
	change(w, w.secret("orders"), func(secret *corev1.Secret) { delete(secret.Annotations, v1alpha1.OwnerAnnotation) })
	w.pass(2 * time.Hour)
	w.wantGolden("inspect-forsaken", w.run("inspect", "orders"))
}

// TestWordsForWhatAFinalizerHolds deletes a PipedreamToken and the Secret of another one, and holds both by a finalizer.
func TestWordsForWhatAFinalizerHolds(t *testing.T) {
	w := newWorld(t, "held")
	for _, name := range []string{"token", "secret"} {
		w.issued(name)
	}
	for name, object := range map[string]client.Object{"token": w.token("token"), "secret": w.secret("secret")} {
		change(w, object, func(o client.Object) { o.SetFinalizers([]string{"example.com/kept"}) })
		harness.Must(t, admin.Delete(t.Context(), object))
		// Nobody can delete the CRD, as another test does, while an object of its kind is held.
		t.Cleanup(func() {
			harness.Must(t, client.IgnoreNotFound(admin.Patch(context.WithoutCancel(t.Context()), object,
				client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))))
		})
		w.visit(name)
	}
	w.pass(11 * time.Second)
	says := func(arguments string, parts ...string) {
		t.Helper()
		got := w.run(strings.Fields(arguments)...)
		for _, part := range parts {
			if !strings.Contains(got.String(), part) {
				t.Errorf("%s does not say %q:\n%v", arguments, part, got)
			}
		}
	}
	for _, name := range []string{"token", "secret"} {
		w.visit(name)
	}
	const gone = "until it is gone, no token is issued."
	says("inspect token", "Works:        yes, until ", gone,
		"PipedreamToken `token` is being deleted, and is held by its finalizer `example.com/kept`: it gets no other token",
		": SecretTerminating\n", "Must act: whoever runs the controllers whose finalizers the message names")
	says("inspect secret", "Works:        yes, until ", gone, "Secret `secret` is being deleted, and is held by its finalizer `example.com/kept`, since ")
	says("renew secret --wait --timeout=1s", "SecretTerminating: Secret `secret` is being deleted")
	w.pass(2 * time.Hour)
	for _, name := range []string{"token", "secret"} {
		w.visit(name)
		says("inspect "+name, "Works:        no: TokenExpired", "Stalled is True")
	}
}

// TestClaimsShowNothingElse is about tokens that the simulator does not make.
func TestClaimsShowNothingElse(t *testing.T) {
	jwt := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2lnbmF0dXJl"
	}
	for name, test := range map[string]struct {
		token  string
		want   string
		others int
		isJWT  bool
	}{
		"harmless claims are shown":      {token: jwt(`{"iss":"us","exp":1767323045,"scopes":["a","b"]}`), want: "iss=us scopes=a b exp=2026-01-02T03:04:05Z", isJWT: true},
		"others are counted":             {token: jwt(`{"jti":"id","client_secret":"s","iss":"us"}`), want: "iss=us", others: 2, isJWT: true},
		"a claim may be of another type": {token: jwt(`{"exp":"soon","iat":1e300,"aud":{"a":1},"sub":null}`), want: "sub=<nil> aud=map[a:1] iat=1e+300 exp=soon", isJWT: true},
		"a long claim is cut":            {token: jwt(`{"iss":"` + strings.Repeat("x", 500) + `"}`), want: "iss=" + strings.Repeat("x", maxClaim) + "…", isJWT: true},
		"an opaque token":                {token: "opaque"},
		"dots make no JWT":               {token: "a.b.c"},
		"a list is no JWT":               {token: jwt(`["iss"]`)},
		"null is no JWT":                 {token: jwt(`null`)},
	} {
		t.Run(name, func(t *testing.T) {
			shown, others, isJWT := claimsOf(pipedream.NewSensitive(test.token))
			var words []string
			for _, one := range shown {
				words = append(words, one.name+"="+one.value)
			}
			if got := strings.Join(words, " "); got != test.want || others != test.others || isJWT != test.isJWT {
				t.Errorf("got %q, %d others, JWT %v; want %q, %d, %v", got, others, isJWT, test.want, test.others, test.isJWT)
			}
		})
	}
}

func TestATerminalIsNotSteered(t *testing.T) {
	if got, want := clean("a\x1b[31mb\tc\r\n\u009bd\u202ee"), "a [31mb c   d e"; got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}
