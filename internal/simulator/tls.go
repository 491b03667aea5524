// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// TLS has the certificate with which a Simulator serves TLS. TLS is off in the zero value. It is safe for
// concurrent use.
type TLS struct {
	mu     sync.Mutex
	hosts  []string
	caFile string
	// ca is the PEM certificate of the current CA. It is nil while TLS is off.
	ca     []byte
	config *tls.Config
}

// Enable makes a CA, and a certificate signed by the CA for the given host names and IP addresses. Serve then
// uses TLS, with HTTP/2 or HTTP/1.1 as the client prefers. If caFile is not empty, Enable and each RotateCA
// write the CA's PEM certificate to this file. They replace the file atomically. Enable returns an error if
// there is no host, or if the file can't be written.
func (t *TLS) Enable(hosts []string, caFile string) error {
	if len(hosts) == 0 || slices.Contains(hosts, "") {
		return errors.New("a certificate needs at least one name or address, and none that is empty")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hosts, t.caFile = slices.Clone(hosts), caFile
	return t.renew()
}

// RotateCA replaces the CA and the certificate. Open connections stay open. New connections get the new
// certificate. RotateCA returns an error if TLS is off, or if the CA's file can't be written.
func (t *TLS) RotateCA() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ca == nil {
		return errors.New("there is no CA, for the simulator does not speak TLS: start it with --tls")
	}
	return t.renew()
}

// CA returns the PEM certificate of the CA that clients must trust, or nil if TLS is off.
func (t *TLS) CA() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.ca)
}

// Config returns the TLS configuration for a server of the Simulator with HTTP/2. After RotateCA it uses the
// new certificate. It is nil if TLS is off.
func (t *TLS) Config() *tls.Config {
	if t.CA() == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			t.mu.Lock()
			defer t.mu.Unlock()
			return t.config, nil
		},
	}
}

func protocols() []string { return []string{"h2", "http/1.1"} }

// renew makes a CA and a certificate, and writes the CA's file. The caller holds the lock.
func (t *TLS) renew() error {
	ca, certificate, err := newIdentity(t.hosts)
	if err != nil {
		return err
	}
	if t.caFile != "" {
		if err := replaceFile(t.caFile, ca); err != nil {
			return fmt.Errorf("write the CA's certificate: %w", err)
		}
	}
	t.ca = ca
	t.config = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols(), Certificates: []tls.Certificate{certificate}}
	return nil
}

// newIdentity returns a new CA, and a certificate that the CA has signed. Both are valid for longer than any
// test runs.
func newIdentity(hosts []string) (ca []byte, certificate tls.Certificate, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("make a key: %w", err)
	}
	authority := template("Simulator's CA " + rand.Text())
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage = x509.KeyUsageCertSign
	signed, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("sign the CA's certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("make a key: %w", err)
	}
	leaf := template("Simulator")
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, address)
			continue
		}
		leaf.DNSNames = append(leaf.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), authorityKey)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("sign the certificate: %w", err)
	}
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})
	return ca, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func template(name string) *x509.Certificate {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// replaceFile replaces the content of a file atomically.
func replaceFile(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // The temporary file exists only if an error occurred.
	_, err = temporary.Write(content)
	if err := errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
