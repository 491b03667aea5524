// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
	"github.com/pipedream-operator/pipedream-operator/test/harness/controlplane"
)

// server speaks to a real API server that knows the CRD. All tests share it, each
// in a namespace of its own.
var server *rest.RESTClient

func TestMain(m *testing.M) {
	os.Exit(controlplane.RunTests(m, controlplane.Options{}, func(plane *controlplane.ControlPlane) (err error) {
		config := rest.CopyConfig(plane.Config)
		config.QPS = -1
		config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
		server, err = rest.UnversionedRESTClientFor(config)
		return err
	}))
}

// newNamespace makes a namespace, and returns its name.
func newNamespace(t *testing.T) string {
	t.Helper()
	manifest := []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"generateName":"api-"}}`)
	created, err := request(t, http.MethodPost, "/api/v1/namespaces", manifest)
	if err != nil {
		t.Fatalf("create a namespace: %v", err)
	}
	var namespace corev1.Namespace
	decode(t, created, &namespace)
	return namespace.Name
}

// request sends a manifest, YAML or JSON, just as it is, so that the API server
// sees each field and each duplicate that a user has written. Whatever the server
// does not know is an error.
func request(t *testing.T, method, path string, manifest []byte) ([]byte, error) {
	t.Helper()
	request := server.Verb(method).AbsPath(path).SetHeader("Accept", "application/json")
	contentType := "application/yaml"
	if method == http.MethodPatch {
		contentType = "application/merge-patch+json"
	}
	if manifest != nil {
		request = request.SetHeader("Content-Type", contentType).Param("fieldValidation", metav1.FieldValidationStrict).Body(manifest)
	}
	result := request.Do(t.Context())
	body, _ := result.Raw() // its error is the same, without the server's message
	return body, result.Error()
}

// create creates what a manifest says.
func create(t *testing.T, namespace string, manifest []byte) ([]byte, error) {
	t.Helper()
	return request(t, http.MethodPost, collectionOf(t, namespace, manifest), manifest)
}

// collectionOf returns the path of the collection that a manifest belongs to.
func collectionOf(t *testing.T, namespace string, manifest []byte) string {
	t.Helper()
	switch object := parse(t, manifest); object.GroupVersionKind() {
	case v1alpha1.SchemeGroupVersion.WithKind("PipedreamToken"):
		return tokensIn(namespace)
	case v1alpha1.SchemeGroupVersion.WithKind("PipedreamAccount"):
		return accountsIn(namespace)
	case corev1.SchemeGroupVersion.WithKind("Secret"):
		return path.Join("/api/v1/namespaces", namespace, "secrets")
	default:
		t.Fatalf("no test knows the kind %s", object.GroupVersionKind())
		return ""
	}
}

func tokensIn(namespace string) string {
	return path.Join("/apis", v1alpha1.SchemeGroupVersion.String(), "namespaces", namespace, "pipedreamtokens")
}

func accountsIn(namespace string) string {
	return path.Join("/apis", v1alpha1.SchemeGroupVersion.String(), "namespaces", namespace, "pipedreamaccounts")
}

// parse reads a manifest without looking at what it may hold.
func parse(t *testing.T, manifest []byte) *unstructured.Unstructured {
	t.Helper()
	content, err := yaml.ToJSON(manifest)
	if err != nil {
		t.Fatalf("the manifest is not YAML: %v", err)
	}
	object := &unstructured.Unstructured{}
	decode(t, content, &object.Object)
	return object
}

// tokenNamed returns the manifest of a PipedreamToken.
func tokenNamed(name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":%q,"kind":"PipedreamToken","metadata":{"name":%q},"spec":%s}`, v1alpha1.SchemeGroupVersion, name, spec)
}

// tokenOf reads a manifest of a PipedreamToken.
func tokenOf(t *testing.T, manifest []byte) v1alpha1.PipedreamToken {
	t.Helper()
	var token v1alpha1.PipedreamToken
	decode(t, encode(t, parse(t, manifest).Object), &token)
	return token
}

// accountNamed returns the manifest of a PipedreamAccount.
func accountNamed(name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":%q,"kind":"PipedreamAccount","metadata":{"name":%q},"spec":%s}`, v1alpha1.SchemeGroupVersion, name, spec)
}

// accountOf reads a manifest of a PipedreamAccount.
func accountOf(t *testing.T, manifest []byte) v1alpha1.PipedreamAccount {
	t.Helper()
	var account v1alpha1.PipedreamAccount
	decode(t, encode(t, parse(t, manifest).Object), &account)
	return account
}

// createAccount creates a PipedreamAccount, and returns it as the API server shows it.
func createAccount(t *testing.T, namespace, manifest string) v1alpha1.PipedreamAccount {
	t.Helper()
	created, err := create(t, namespace, []byte(manifest))
	if err != nil {
		t.Fatalf("create a PipedreamAccount: %v", err)
	}
	return accountOf(t, created)
}

func encode(t *testing.T, object any) []byte {
	t.Helper()
	content, err := json.Marshal(object)
	harness.Must(t, err)
	return content
}

func decode(t *testing.T, content []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatalf("decode %T: %v", into, err)
	}
}

// createToken creates a PipedreamToken, and returns it as the API server shows it.
func createToken(t *testing.T, namespace, manifest string) v1alpha1.PipedreamToken {
	t.Helper()
	created, err := create(t, namespace, []byte(manifest))
	if err != nil {
		t.Fatalf("create a PipedreamToken: %v", err)
	}
	return tokenOf(t, created)
}

// incomplete is what Kubernetes itself adds when the rest of a schema's rules could
// not be looked at.
const incomplete = "<nil>: Invalid value: some validation rules were not checked"

// shownValue is the value that an API server shows before the message of a rule. Kubernetes 1.32
// shows the value's type instead, and Kubernetes 1.36 shows no value that is an object.
var shownValue = regexp.MustCompile(`(Invalid value: )(?:"(?:[^"\\]|\\.)*"|null|-?\d+): `)

func withoutValues(message string) string { return shownValue.ReplaceAllString(message, "$1") }

// wantRejected fails the test unless err is the API server's No, with a message
// that is fit for people and holds want.
func wantRejected(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Fatalf("it was accepted; want it rejected with %q", want)
	case !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
		t.Fatalf("it failed with %v; want it rejected with %q", err, want)
	}
	message := withoutValues(err.Error())
	if want == "" || !strings.Contains(message, withoutValues(want)) {
		t.Errorf("the message is\n%s\nwant in it\n%s", message, want)
	}
	ours, _, _ := strings.Cut(message, incomplete)
	for _, unfit := range []string{"<nil>", "null", "self.", "matches", "^", "failed rule"} {
		if strings.Contains(ours, unfit) {
			t.Errorf("the message shows %q to the user:\n%s", unfit, message)
		}
	}
}
