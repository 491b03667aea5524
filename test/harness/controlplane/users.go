// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// tokenSeconds is the lifetime of a ServiceAccount's token: ten days. The demo may run for that long.
const tokenSeconds = 10 * 24 * 60 * 60

// NewScheme returns a scheme with all kinds of Kubernetes and of the product.
func NewScheme() (*runtime.Scheme, error) {
	known := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(known), v1alpha1.AddToScheme(known)); err != nil {
		return nil, fmt.Errorf("build the scheme: %w", err)
	}
	return known, nil
}

// NewClient returns a client that knows the kinds of NewScheme, and has no rate limit.
func NewClient(config *rest.Config) (client.WithWatch, error) {
	known, err := NewScheme()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	made, err := client.NewWithWatch(config, client.Options{Scheme: known})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return made, nil
}

// Kubectl returns a kubectl with the permissions of the administrator.
func (c *ControlPlane) Kubectl() harness.Kubectl {
	return harness.Kubectl{Kubeconfig: c.KubeconfigFile}
}

// User returns the configuration of a client for a new user. The user has only the permissions that the cluster's
// roles give to the user's name, so at first none.
func (c *ControlPlane) User(name string) (*rest.Config, error) {
	user, err := c.environment.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	return user.Config(), nil
}

// Token returns a new bearer token of a ServiceAccount. The token expires after ten days.
func (c *ControlPlane) Token(ctx context.Context, namespace, account string) (string, error) {
	known := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenSeconds))}}
	if err := c.Client.SubResource("token").Create(ctx, known, request); err != nil {
		return "", fmt.Errorf("request a token of the ServiceAccount %s/%s: %w", namespace, account, err)
	}
	return request.Status.Token, nil
}

// KubeconfigOf returns the content of a kubeconfig with a bearer token, for example of a ServiceAccount.
func (c *ControlPlane) KubeconfigOf(token, namespace string) ([]byte, error) {
	const name = "pipedream"
	content, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   c.Config.Host,
			CertificateAuthorityData: c.Config.CAData,
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name, Namespace: namespace}},
		CurrentContext: name,
	})
	if err != nil {
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	return content, nil
}

// AccountKubeconfig writes a kubeconfig of a ServiceAccount to a file, and returns its path. Stop removes the file.
func (c *ControlPlane) AccountKubeconfig(ctx context.Context, namespace, account string) (path string, err error) {
	token, err := c.Token(ctx, namespace, account)
	if err != nil {
		return "", err
	}
	content, err := c.KubeconfigOf(token, namespace)
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(c.Folder, account+"-*.kubeconfig")
	if err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return file.Name(), nil
}
