//go:build upgrade

// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package upgrade_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

const (
	day = 24 * 60 * 60
	// shortLifetime is the life of tokens that are renewed during the test. What is left of it when they are due must be
	// longer than a switch.
	shortLifetime = 2 * time.Minute
	// shortestLifetime is the shortest life that the operator accepts.
	shortestLifetime = 30 * time.Second
)

// state is a state that a PipedreamToken can be in, and the way there.
//
// The reasons of the conditions are lists: a version may have a more exact reason for a state than another version has.
type state struct {
	name string
	// spec changes the usual spec.
	spec        func(*v1alpha1.PipedreamTokenSpec)
	annotations map[string]string
	finalizers  []string
	// credentials returns the content of the Secret with the client credentials, if it is not the usual one; nil for no Secret.
	credentials func(*object) map[string]string
	// prepare is called before the PipedreamToken is created.
	prepare func(*site, *object)
	// disturb is called once it has a token.
	disturb func(*site, *object)
	// arrived returns what is missing beside the reasons; nothing if nothing is.
	arrived                  func(*site, *object, *sight) string
	ready, renewed, verified []string
	// lapses tells that the test takes the token away, so that its consumers have none.
	lapses bool
	// touched tells that after each switch something is changed that must not cost a token.
	touched bool
	// The fields below are exceptions: what a manager that starts does for this object though nothing is due, and why. The
	// previous version has these faults. Mend the tree, and remove an exception when hack/release/previous names the mended
	// version; never add one for a fault of the tree alone.
	//
	// readsAtStart allows to read its Secrets, rewritesAtStart to write its status, and triesAtStart to ask for a token.
	readsAtStart, rewritesAtStart, triesAtStart string
}

var (
	valid  = []string{v1alpha1.ReasonTokenValid}
	none   = []string{v1alpha1.ReasonNotIssued}
	issued = []string{v1alpha1.ReasonIssued}
)

func reason(names ...string) []string { return names }

// The reasons that later versions have, as literals: the previous version does not know them either.
const (
	reasonCredentialsInvalid    = "CredentialsInvalid"
	reasonScopeNotGranted       = "ScopeNotGranted"
	reasonVerificationSuspended = "VerificationSuspended"
	// suspendedObject is the name of the objects whose verification is suspended.
	suspendedObject = "verification-suspended"
)

// states returns each state that a PipedreamToken stays in.
func states() []*state {
	var all []*state
	for _, some := range [][]*state{
		goodStates(), changedStates(), verifiedStates(), credentialsStates(), refusedStates(), outageStates(), clusterStates(), templateStates(), endStates(),
	} {
		all = append(all, some...)
	}
	return all
}

// goodStates have a token that works, for each kind of spec.
func goodStates() []*state {
	good := func(name string, spec func(*v1alpha1.PipedreamTokenSpec)) *state {
		return &state{name: name, spec: spec, ready: valid, renewed: issued}
	}
	data := func(data map[string]v1alpha1.ValueTemplate) func(*v1alpha1.PipedreamTokenSpec) {
		return func(spec *v1alpha1.PipedreamTokenSpec) { spec.Secret.Data = data }
	}
	states := []*state{
		good("good", nil),
		good("good-scopes", func(spec *v1alpha1.PipedreamTokenSpec) {
			spec.Scopes = []string{"connect:users:read", "connect:accounts:read", "connect:proxy"}
		}),
		good("good-no-scopes", func(spec *v1alpha1.PipedreamTokenSpec) { spec.Scopes = nil }),
		good("good-environment", func(spec *v1alpha1.PipedreamTokenSpec) { spec.Environment = v1alpha1.EnvironmentDevelopment }),
		good("good-renew-before", func(spec *v1alpha1.PipedreamTokenSpec) { spec.RenewBeforeSeconds = 600 }),
		good("good-own-secret", func(spec *v1alpha1.PipedreamTokenSpec) {
			spec.Secret = v1alpha1.SecretTemplate{
				Name: "a-secret-of-its-own", Type: "example.com/pipedream-token",
				Labels: map[string]v1alpha1.LabelValue{"team": "orders"}, Annotations: map[string]v1alpha1.AnnotationValue{"example.com/note": "two words"},
			}
		}),
		good("good-template", data(map[string]v1alpha1.ValueTemplate{"token": "{{ .AccessToken }}", "header": "Authorization: Bearer {{ .AccessToken }}"})),
		good("good-template-without-token-key", data(map[string]v1alpha1.ValueTemplate{"header": "Authorization: Bearer {{ .AccessToken }}"})),
		good("good-basic-auth", func(spec *v1alpha1.PipedreamTokenSpec) {
			spec.Secret.Type = string(corev1.SecretTypeBasicAuth)
			spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"username": "pipedream", "password": "{{ .AccessToken }}"}
		}),
		good("good-keys", func(spec *v1alpha1.PipedreamTokenSpec) {
			spec.ClientSecretRef.ClientIDKey, spec.ClientSecretRef.ClientSecretKey = "id", "secret"
		}),
		good("good-request", nil),
		good("good-token-that-lives-shortly", nil),
	}
	for _, s := range states {
		s.touched = slices.Contains([]string{"good-scopes", "good-no-scopes", "good-own-secret", "good-template", "good-keys"}, s.name)
		switch s.name {
		case "good-keys":
			s.credentials = func(o *object) map[string]string {
				return map[string]string{"id": o.client(), "secret": clientSecret + "\n"}
			}
		case "good-request":
			s.annotations = map[string]string{v1alpha1.RenewRequestAnnotation: "before it was created"}
		case "good-token-that-lives-shortly":
			s.prepare = func(s *site, o *object) { s.pipedream.behave(o.client(), behaviour{lifetime: shortLifetime}) }
		}
	}
	return states
}

// changedStates have a token that works, after something was changed.
func changedStates() []*state {
	return []*state{
		{
			name: "good-renewed", ready: valid, renewed: issued,
			disturb: func(s *site, o *object) { s.requestRenewal(o, "once more") },
			arrived: func(_ *site, _ *object, seen *sight) string {
				if seen.secret == nil || seen.secret.Annotations[v1alpha1.RenewRequestAnnotation] != "once more" {
					return "the Secret does not hold the token that was asked for"
				}
				return ""
			},
		},
		{
			name: "good-touched", ready: valid, renewed: issued,
			disturb: func(s *site, o *object) {
				s.touch(o.namespace, o.credentialsName(), "a-backup")
				s.touch(o.namespace, o.secretName(), "a-backup")
			},
			arrived: func(s *site, o *object, seen *sight) string { return s.outOfDate(o, seen) },
		},
		{
			name: relabelled, ready: valid, renewed: issued, touched: true,
			disturb: func(s *site, o *object) {
				s.change(o, func(spec *v1alpha1.PipedreamTokenSpec) {
					spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "billing"}
				})
			},
			arrived: func(_ *site, _ *object, seen *sight) string {
				if seen.secret == nil || seen.secret.Labels["team"] == "" {
					return "the Secret has not got the label"
				}
				return ""
			},
		},
		{
			name: "good-edited", ready: valid, renewed: issued, lapses: true,
			disturb: func(s *site, o *object) {
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.secretName()}}
				harness.Must(s.T, s.admin.Patch(s.Context(), secret, client.RawPatch(types.MergePatchType, []byte(`{"stringData":{"access_token":"mine"}}`))))
			},
			arrived: func(s *site, _ *object, seen *sight) string {
				if !s.pipedream.accepts(seen.held()) {
					return "the Secret was edited, and holds no token that works"
				}
				return ""
			},
		},
	}
}

// verifiedStates have verification.
func verifiedStates() []*state {
	verified := func(name string, interval int32, reasons ...string) *state {
		return &state{
			name: name, ready: valid, renewed: issued, verified: reasons,
			spec: func(spec *v1alpha1.PipedreamTokenSpec) { spec.Verification.IntervalSeconds = interval },
		}
	}
	// tried waits for so many tries.
	tried := func(times int) func(*site, *object, *sight) string {
		return func(s *site, o *object, _ *sight) string {
			if made := len(s.pipedream.verificationsOf(o.client())); made < times {
				return fmt.Sprintf("its token was tried %d times, and %d are needed", made, times)
			}
			return ""
		}
	}
	accounts := func(status int) func(*site, *object) {
		return func(s *site, o *object) {
			harness.Must(s.T, s.pipedream.AddFault(simulator.Fault{Endpoint: simulator.EndpointAccounts, ClientID: o.client(), Status: status}))
		}
	}
	accepted := verified("verified", 10, v1alpha1.ReasonTokenAccepted)
	unclear := verified("verification-inconclusive", 10, v1alpha1.ReasonVerificationInconclusive)
	unclear.prepare, unclear.arrived = accounts(http.StatusInternalServerError), tried(1)
	unclear.rewritesAtStart = "the manager does not restore why the last try was inconclusive, and says that the token was not tried yet"
	// The endpoint refuses every token, also the one that has replaced the first: the operator gives up trying.
	suspended := verified(suspendedObject, 10, v1alpha1.ReasonVerificationInconclusive, reasonVerificationSuspended)
	suspended.prepare, suspended.arrived = accounts(http.StatusUnauthorized), tried(2)
	suspended.rewritesAtStart = unclear.rewritesAtStart
	revoked := verified("revoked", 10, v1alpha1.ReasonTokenRevoked)
	revoked.ready, revoked.renewed, revoked.lapses = reason(v1alpha1.ReasonTokenRevoked), reason(v1alpha1.ReasonCredentialsRejected), true
	revoked.disturb = func(s *site, o *object) {
		harness.Must(s.T, s.pipedream.SetClient(o.client(), "another secret"))
		if !s.pipedream.RevokeToken(s.observer.last(o).held()) {
			s.Fatal("there is no token to revoke")
		}
	}
	return []*state{
		verified("verified-once-a-day", day, v1alpha1.ReasonVerificationInconclusive, v1alpha1.ReasonTokenAccepted), accepted, unclear, suspended, revoked,
	}
}

// credentialsStates have no client credentials.
func credentialsStates() []*state {
	missing := reason(v1alpha1.ReasonCredentialsMissing)
	return []*state{
		{
			name: "credentials-missing", ready: none, renewed: missing,
			credentials: func(*object) map[string]string { return nil },
		},
		{
			name: "credentials-without-key", ready: none, renewed: missing,
			credentials:  func(o *object) map[string]string { return map[string]string{"client_id": o.client()} },
			readsAtStart: "the status does not say which key of the credentials is missing, so the manager reads them once",
			rewritesAtStart: "until the manager has read them it believes that it can ask for a token; " +
				"if it has to wait for its turn then, the status says Queued, and CredentialsMissing with a new time after that",
		},
		{
			name: "credentials-deleted", ready: valid, renewed: missing,
			disturb: func(s *site, o *object) { s.deleteCredentials(o) }, readsAtStart: unchecked,
		},
		{
			name: "outdated", ready: reason(v1alpha1.ReasonTokenOutdated), renewed: missing, readsAtStart: unchecked,
			rewritesAtStart: unsettled,
			disturb: func(s *site, o *object) {
				s.deleteCredentials(o)
				s.change(o, func(spec *v1alpha1.PipedreamTokenSpec) { spec.Scopes = []string{"connect:users:read"} })
			},
		},
		{
			name: "expired", ready: reason(v1alpha1.ReasonTokenExpired), renewed: missing, lapses: true,
			prepare: func(s *site, o *object) { s.pipedream.behave(o.client(), behaviour{lifetime: shortestLifetime}) },
			disturb: func(s *site, o *object) { s.deleteCredentials(o) }, readsAtStart: unchecked,
		},
	}
}

// refusedStates are those in which Pipedream says No.
func refusedStates() []*state {
	answer := func(fault simulator.Fault) func(*site, *object) {
		return func(s *site, o *object) {
			fault := fault
			fault.Endpoint, fault.ClientID = simulator.EndpointToken, o.client()
			harness.Must(s.T, s.pipedream.AddFault(fault))
		}
	}
	rejected := reason(v1alpha1.ReasonCredentialsRejected)
	rotate := func(s *site, o *object) { harness.Must(s.T, s.pipedream.SetClient(o.client(), "another secret")) }
	unknownScope := func(spec *v1alpha1.PipedreamTokenSpec) { spec.Scopes = []string{"connect:moon:read"} }
	scopes := reason(v1alpha1.ReasonScopeRejected)
	return []*state{
		{name: "credentials-rejected", ready: none, renewed: rejected, prepare: rotate},
		{name: "credentials-rejected-with-token", ready: valid, renewed: rejected, readsAtStart: unchecked, disturb: func(s *site, o *object) {
			s.writeClientSecret(o, "a secret that Pipedream does not know")
		}},
		{
			name: "requested-and-rejected", ready: valid, renewed: rejected,
			triesAtStart: "the status does not say for which renew request the last attempt was made, so that a manager that starts makes another one",
			disturb: func(s *site, o *object) {
				rotate(s, o)
				s.requestRenewal(o, "now")
			},
		},
		{
			name: "credentials-garbled", ready: none, renewed: reason(v1alpha1.ReasonCredentialsRejected, reasonCredentialsInvalid),
			credentials: func(o *object) map[string]string {
				return map[string]string{"client_id": o.client(), "client_secret": "\ufeff" + clientSecret}
			},
		},
		{name: "scope-rejected", ready: none, renewed: scopes, spec: unknownScope},
		{
			name: "scope-rejected-with-token", ready: reason(v1alpha1.ReasonTokenOutdated), renewed: scopes, readsAtStart: unchecked,
			disturb: func(s *site, o *object) { s.change(o, unknownScope) },
		},
		{
			name: "scope-not-granted", ready: append(valid, v1alpha1.ReasonNotIssued), renewed: append(issued, reasonScopeNotGranted),
			spec: func(spec *v1alpha1.PipedreamTokenSpec) {
				spec.Scopes = []string{"connect:accounts:read", "connect:users:read"}
			},
			prepare: func(s *site, o *object) {
				s.pipedream.behave(o.client(), behaviour{edit: func(answer map[string]any) { answer["scope"] = "connect:accounts:read" }})
			},
		},
		{
			name: "request-rejected", ready: none, renewed: reason(v1alpha1.ReasonRequestRejected),
			prepare: answer(simulator.Fault{Status: http.StatusForbidden}),
		},
		{
			name: "request-rejected-with-token", ready: valid, renewed: reason(v1alpha1.ReasonRequestRejected), readsAtStart: unchecked,
			disturb: func(s *site, o *object) {
				answer(simulator.Fault{Status: http.StatusForbidden})(s, o)
				s.rotate(o)
			},
		},
	}
}

// outageStates are those in which Pipedream does not answer as it should. While they last, the operator tries again and
// again; a moment in between the object may wait for its turn.
func outageStates() []*state {
	fails := func(name, why string, fault simulator.Fault) []*state {
		begin := func(s *site, o *object) {
			fault := fault
			fault.Endpoint, fault.ClientID = simulator.EndpointToken, o.client()
			harness.Must(s.T, s.pipedream.AddFault(fault))
		}
		return []*state{
			{name: name, ready: none, renewed: reason(why), prepare: begin},
			{name: name + "-with-token", ready: valid, renewed: reason(why), readsAtStart: unchecked, disturb: func(s *site, o *object) {
				begin(s, o)
				s.rotate(o)
			}},
		}
	}
	return append(
		fails("unavailable", v1alpha1.ReasonEndpointUnavailable, simulator.Fault{Status: http.StatusServiceUnavailable}),
		fails("malformed", v1alpha1.ReasonMalformedResponse, simulator.Fault{Status: http.StatusOK, Body: "<html>Sign in</html>"})...)
}

// clusterStates are those in which the cluster does not take the Secret.
func clusterStates() []*state {
	refused := reason(v1alpha1.ReasonSecretWriteRefused)
	return []*state{
		{
			name: "foreign-secret", ready: none, renewed: reason(v1alpha1.ReasonSecretNotOwned),
			prepare: func(s *site, o *object) {
				harness.Must(s.T, s.admin.Create(s.Context(), &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: o.namespace, Name: o.secretName()}, StringData: map[string]string{"of": "somebody else"},
				}))
			},
		},
		{name: refusedToCreate, ready: none, renewed: refused},
		{name: refusedToUpdate, ready: valid, renewed: refused, readsAtStart: unchecked, disturb: func(s *site, o *object) { s.rotate(o) }},
		{name: refusedToUpdate + "-labels", ready: valid, renewed: refused, readsAtStart: unchecked, disturb: func(s *site, o *object) {
			s.change(o, func(spec *v1alpha1.PipedreamTokenSpec) {
				spec.Secret.Labels = map[string]v1alpha1.LabelValue{"team": "billing"}
			})
		}},
	}
}

// templateStates have templates that cannot be rendered.
func templateStates() []*state {
	invalid := reason(v1alpha1.ReasonTemplateInvalid)
	broken := func(spec *v1alpha1.PipedreamTokenSpec) {
		spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"token": "{{ .AccessToken | fromJson }}"}
	}
	return []*state{
		{name: "template-invalid", ready: none, renewed: invalid, spec: broken},
		{
			name: "template-invalid-with-token", ready: valid, renewed: invalid, readsAtStart: unchecked,
			rewritesAtStart: unsettled,
			disturb:         func(s *site, o *object) { s.change(o, broken) },
		},
		{
			// The templates are small enough with a token of the usual size, and too large with the issued one.
			name: "template-invalid-for-the-issued-token", ready: none, renewed: invalid,
			spec: func(spec *v1alpha1.PipedreamTokenSpec) {
				spec.Secret.Data = map[string]v1alpha1.ValueTemplate{"a": v1alpha1.ValueTemplate(strings.Repeat("{{ .AccessToken }}", 200))}
			},
			prepare: func(s *site, o *object) {
				s.pipedream.behave(o.client(), behaviour{edit: func(answer map[string]any) {
					answer["access_token"] = answer["access_token"].(string) + strings.Repeat("x", 4096)
				}})
			},
		},
	}
}

// endStates are those after a PipedreamToken was deleted.
func endStates() []*state {
	return []*state{
		{
			name: "deleted-and-held-by-a-finalizer", ready: valid, renewed: append(issued, v1alpha1.ReasonSecretTerminating), finalizers: []string{"example.com/held"},
			disturb: func(s *site, o *object) { s.deleteToken(o, metav1.DeletePropagationBackground) },
			arrived: func(_ *site, _ *object, seen *sight) string {
				if seen.token == nil || seen.token.DeletionTimestamp == nil {
					return "it is not being deleted"
				}
				return ""
			},
		},
		{
			name:    "orphaned-secret",
			disturb: func(s *site, o *object) { s.deleteToken(o, metav1.DeletePropagationOrphan) },
			arrived: func(_ *site, _ *object, seen *sight) string {
				if seen.token != nil || seen.secret == nil || len(seen.secret.OwnerReferences) > 0 {
					return "the Secret is not there alone"
				}
				return ""
			},
		},
	}
}

// unchecked is why Secrets are read at a start.
const unchecked = "the status names no version of the Secret that is known to be as it should be, so the manager reads it once"

// unsettled is why a status is written at a start.
const unsettled = "when changes come quickly one after the other, the status may say of the two Secrets what a manager that starts finds no longer to be so"

// relabelled is the name of the object whose labels are changed again and again.
const relabelled = "good-relabelled"

// The names of the objects whose Secrets an admission policy refuses begin with these.
const (
	refusedToCreate = "secret-refused-at-first"
	refusedToUpdate = "secret-refused-later"
)

// forbidWrites has an admission policy refuse some Secrets, and returns when it works.
func (s *site) forbidWrites() {
	s.Helper()
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "some-secrets"},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
				}}},
			},
			Validations: []admissionv1.Validation{{Expression: "object.metadata.name.endsWith('-credentials') || " +
				"!object.metadata.name.startsWith('" + refusedToCreate + "') && !(oldObject != null && object.metadata.name.startsWith('" + refusedToUpdate + "'))"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "some-secrets"},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: policy.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}
	harness.Must(s.T, s.admin.Create(s.Context(), policy))
	harness.Must(s.T, s.admin.Create(s.Context(), binding))
	s.eventually("the admission policy works", func() string {
		probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: refusedToCreate + "-probe"}}
		if err := s.admin.Create(s.Context(), probe, client.DryRunAll); !apierrors.IsInvalid(err) {
			return fmt.Sprintf("the answer to a Secret that it must refuse is %v", err)
		}
		return ""
	})
}
