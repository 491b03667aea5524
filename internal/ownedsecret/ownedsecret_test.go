// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package ownedsecret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
)

// owner is an Owner of any kind.
type owner struct{ kind, name, uid string }

func (owner) GetNamespace() string { return "shop" }
func (o owner) GetName() string    { return o.name }
func (o owner) GetUID() types.UID  { return types.UID(o.uid) }
func (o owner) TargetName() string { return o.name }
func (o owner) OwnerKind() schema.GroupVersionKind {
	return v1alpha1.SchemeGroupVersion.WithKind(o.kind)
}

var (
	token   = owner{"PipedreamToken", "orders", "1"}
	account = owner{"PipedreamAccount", "orders", "2"}
)

// orphan removes the owner references of a Secret.
func orphan(secret *corev1.Secret) *corev1.Secret {
	secret.OwnerReferences = nil
	return secret
}

func TestBelongsTo(t *testing.T) {
	t.Parallel()
	built := func(o owner) *corev1.Secret { return Layout{}.Build(o, nil, Desired{}) }
	controlledBy := func(o owner, apiVersion string) *corev1.Secret {
		secret := built(token)
		secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: o.kind, Name: o.name, UID: "3", Controller: new(true)}}
		return secret
	}
	const ours = "pipedream-operator.io/v1alpha1"
	for name, test := range map[string]struct {
		secret *corev1.Secret
		owner  owner
		want   bool
	}{
		"its own":                                    {built(token), token, true},
		"its own, of another kind":                   {built(account), account, true},
		"its own, without a controller":              {orphan(built(token)), token, true},
		"of an object of another kind":               {built(account), token, false},
		"an orphan of another kind":                  {orphan(built(account)), token, false},
		"the orphan of a token, for another kind":    {orphan(built(token)), account, false},
		"of a predecessor":                           {controlledBy(token, ours), token, true},
		"of a predecessor, in another version":       {controlledBy(token, "pipedream-operator.io/v9"), token, true},
		"controlled by another kind":                 {controlledBy(account, ours), token, false},
		"controlled by the same kind, another group": {controlledBy(token, "example.com/v1"), token, false},
		"controlled by another object":               {controlledBy(owner{"PipedreamToken", "billing", "3"}, ours), token, false},
		"controlled by an invalid API version":       {controlledBy(token, "a/b/c"), token, false},
		"without the annotation":                     {&corev1.Secret{}, token, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := BelongsTo(test.secret, test.owner); got != test.want {
				t.Errorf("BelongsTo is %v, want %v", got, test.want)
			}
		})
	}
}

func TestOwnerAnnotationOfAPipedreamTokenIsItsName(t *testing.T) {
	t.Parallel()
	for o, want := range map[owner]string{token: "orders", account: "PipedreamAccount/orders"} {
		if got := (Layout{}).Build(o, nil, Desired{}).Annotations[v1alpha1.OwnerAnnotation]; got != want {
			t.Errorf("the owner of %s is recorded as %q, want %q", o.kind, got, want)
		}
	}
}

func TestKeysSetByOthersStay(t *testing.T) {
	t.Parallel()
	first := Layout{}.Build(token, nil, Desired{Labels: map[string]string{"tier": "one", "gone": "x"}, Annotations: map[string]string{"note": "a"}})
	first.Labels["team"], first.Labels["tier"] = "shop", "edited"
	first.Annotations[corev1.LastAppliedConfigAnnotation] = "in clear"
	first.Finalizers = []string{"example.com/hold"}
	second := Layout{}.Build(token, &metav1.PartialObjectMetadata{ObjectMeta: first.ObjectMeta}, Desired{Labels: map[string]string{"tier": "two"}})
	if got := second.Labels; len(got) != 2 || got["tier"] != "two" || got["team"] != "shop" {
		t.Errorf("the labels are %v, want tier=two and team=shop", got)
	}
	if _, ok := second.Annotations["note"]; ok || second.Annotations[corev1.LastAppliedConfigAnnotation] != "" || len(second.Finalizers) != 1 {
		t.Errorf("the metadata is %+v", second.ObjectMeta)
	}
}

// TestSecretNamesItsOperator checks that the name of the operator is outside of the content digest, and that only text of
// the form of a Lease's namespace and name counts as a name.
func TestSecretNamesItsOperator(t *testing.T) {
	t.Parallel()
	layout := Layout{v1alpha1.OwnerAnnotation, v1alpha1.ContentAnnotation}
	secret := layout.Build(token, nil, Desired{})
	digest := layout.Digest(secret.Annotations, secret.Data)
	for _, name := range []string{"team-a/pipedream-operator", "", "team-b/pipedream-operator"} {
		SetOperator(secret, name)
		if got, ok := OperatorOf(secret); got != name || !ok {
			t.Errorf("the Secret names the operator %q, %t; want %q", got, ok, name)
		}
		if got := layout.Digest(secret.Annotations, secret.Data); got != digest {
			t.Errorf("with the name %q the digest is another one", name)
		}
	}
	for _, text := range []string{"no-slash", "a/b/c", "/b", "a/", "A/b", "a b/c", "a/b\n", "a/\u202eb", strings.Repeat("a", 64) + "/b", "a/" + strings.Repeat("b", 254)} {
		SetOperator(secret, text)
		if _, ok := OperatorOf(secret); ok {
			t.Errorf("%q counts as the name of an operator", text)
		}
	}
}

// TestRefusalNamesFieldsAndQuotesNothing checks that the description of an error of the API server holds its status and
// the fields that it refuses, and no text from the error. An outage is not a refusal.
func TestRefusalNamesFieldsAndQuotesNothing(t *testing.T) {
	t.Parallel()
	kind := schema.GroupKind{Kind: "Secret"}
	invalid := func(paths ...string) error {
		var list field.ErrorList
		for _, path := range paths {
			list = append(list, &field.Error{Type: field.ErrorTypeInvalid, Field: path, BadValue: "hush", Detail: "hush"})
		}
		return apierrors.NewInvalid(kind, "orders", list)
	}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"a field":                  {invalid("data[tls.key]"), "HTTP status 422 Invalid, about data[tls.key]"},
		"the same field twice":     {invalid("data", "immutable", "data"), "HTTP status 422 Invalid, about data, immutable"},
		"text in place of a field": {invalid("hush hush", strings.Repeat("x", 129), "é", "a\nb", "type"), "HTTP status 422 Invalid, about type"},
		"many fields":              {invalid("a", "b", "c", "d", "e", "f", "g"), "HTTP status 422 Invalid, about a, b, c, d, e"},
		"no field":                 {apierrors.NewForbidden(schema.GroupResource{}, "orders", errors.New("hush")), "HTTP status 403 Forbidden"},
		"a webhook's own reason": {
			&apierrors.StatusError{ErrStatus: metav1.Status{Code: 403, Reason: "hush"}}, "HTTP status 403 Forbidden",
		},
		"a webhook":           {apierrors.NewInternalError(errors.New("hush")), "HTTP status 500 InternalError"},
		"an outage":           {apierrors.NewServiceUnavailable("hush"), ""},
		"an outage of etcd":   {apierrors.NewTimeoutError("hush", 1), ""},
		"a broken connection": {errors.New("hush"), ""},
		"a read before the write": {
			&readError{apierrors.NewForbidden(schema.GroupResource{}, "orders", errors.New("hush"))}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := Refusal(test.err)
			if got != test.want || ok != (test.want != "") || strings.Contains(got, "hush") {
				t.Errorf("the refusal is described as %q, %v; want %q", got, ok, test.want)
			}
		})
	}
}

// TestFailedRequestSaysWhatWasBeingDone describes failed requests to the API server.
func TestFailedRequestSaysWhatWasBeingDone(t *testing.T) {
	t.Parallel()
	status := func(code int32, reason metav1.StatusReason) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Code: code, Reason: reason, Message: "hush"}}
	}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"an answer":                       {status(403, metav1.StatusReasonForbidden), "HTTP status 403 Forbidden"},
		"an answer, wrapped":              {fmt.Errorf("hush: %w", status(401, metav1.StatusReasonUnauthorized)), "HTTP status 401 Unauthorized"},
		"a reason that a webhook made up": {status(403, "hush"), "HTTP status 403 Forbidden"},
		"no reason":                       {status(451, ""), "HTTP status 451 Unavailable For Legal Reasons"},
		"an unknown code":                 {status(599, "hush"), "HTTP status 599"},
		"a timeout":                       {fmt.Errorf("hush: %w", context.DeadlineExceeded), "no complete answer in time"},
		"a timeout of the network":        {&url.Error{Op: "hush", URL: "hush", Err: os.ErrDeadlineExceeded}, "no complete answer in time"},
		"an interrupted request":          {context.Canceled, "the request was interrupted"},
		"a refused connection":            {&url.Error{Op: "hush", URL: "hush", Err: syscall.ECONNREFUSED}, "connection refused"},
		"a broken connection":             {fmt.Errorf("hush: %w", syscall.EPIPE), "connection reset"},
		"no route":                        {fmt.Errorf("hush: %w", syscall.ENETUNREACH), "network unreachable"},
		"an answer that ends":             {fmt.Errorf("hush: %w", io.EOF), "the connection was closed before the answer was complete"},
		"anything else":                   {errors.New("hush"), "no usable answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Failed("read the Secret `orders`", test.err)
			if got, want := err.Error(), "read the Secret `orders`: "+test.want; got != want {
				t.Errorf("the error is %q, want %q", got, want)
			}
			if !errors.Is(err, test.err) {
				t.Error("the cause is lost")
			}
		})
	}
	if err := Failed("read the Secret `orders`", nil); err != nil {
		t.Errorf("a request that did not fail is %v", err)
	}
}
