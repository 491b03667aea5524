// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs the certificates of a node. Its key is never written to a file.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	// folder is where the certificates and their keys are written.
	folder string
}

// newAuthority returns a new authority, and writes its certificate to ca.crt.
func newAuthority(folder string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "one-node"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(signed)
	if err != nil {
		return nil, err
	}
	return &authority{key, certificate, folder}, writePEM(filepath.Join(folder, "ca.crt"), "CERTIFICATE", signed)
}

// issue writes NAME.crt and NAME.key. The certificate is for a client with the given common name and group, and for a
// server with the given addresses.
func (a *authority) issue(name, commonName, group string, addresses ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    a.certificate.NotBefore,
		NotAfter:     a.certificate.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if group != "" {
		template.Subject.Organization = []string{group}
	}
	if len(addresses) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, address := range addresses {
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, address)
		}
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(filepath.Join(a.folder, name+".crt"), "CERTIFICATE", signed),
		writeKey(filepath.Join(a.folder, name+".key"), key),
	)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", encoded)
}

func writePEM(path, kind string, content []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600)
}

// credentials writes all certificates, keys and kubeconfigs.
func (n node) credentials() error {
	folder := n.path("credentials")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority(folder)
	if err != nil {
		return err
	}
	if err := errors.Join(
		ca.issue("kube-apiserver", "kube-apiserver", "system:masters", nodeAddress, apiServerAddress, "127.0.0.1",
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
		ca.issue("kubelet", "system:node:"+nodeName, "system:nodes", nodeAddress, nodeName),
		ca.issue("kube-controller-manager", "system:kube-controller-manager", ""),
		ca.issue("kube-scheduler", "system:kube-scheduler", ""),
		ca.issue("kube-proxy", "system:kube-proxy", ""),
		ca.issue("admin", "admin", "system:masters"),
	); err != nil {
		return err
	}
	for _, user := range []string{"kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "admin"} {
		if err := n.kubeconfig(user); err != nil {
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return errors.Join(writeKey(filepath.Join(folder, "service-accounts.key"), key), n.encryption())
}

// kubeconfig writes the kubeconfig of a user. The kubeconfig contains all certificates and keys.
func (n node) kubeconfig(user string) error {
	var encoded [3]string
	for i, file := range []string{"ca.crt", user + ".crt", user + ".key"} {
		content, err := os.ReadFile(n.path("credentials", file))
		if err != nil {
			return err
		}
		encoded[i] = base64.StdEncoding.EncodeToString(content)
	}
	text := &bytes.Buffer{}
	fmt.Fprintf(text, `apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: one-node
  cluster:
    server: https://%[2]s:6443
    certificate-authority-data: %[3]s
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]s
  context:
    cluster: one-node
    user: %[1]s
`, user, nodeAddress, encoded[0], encoded[1], encoded[2])
	return os.WriteFile(n.path("credentials", user+".kubeconfig"), text.Bytes(), 0o600)
}

// encryption writes the configuration by which the API server encrypts Secrets before it stores them in etcd.
func (n node) encryption() error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	return os.WriteFile(n.path("credentials", "encryption.yaml"), fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources:
  - secrets
  providers:
  - secretbox:
      keys:
      - name: one
        secret: %s
`, base64.StdEncoding.EncodeToString(key)), 0o600)
}
