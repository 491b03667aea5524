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

// TLS is how a Simulator shows who it is when it speaks TLS. The zero value does not speak TLS. It is safe for
// concurrent use.
type TLS struct {
	mu     sync.Mutex
	hosts  []string
	caFile string
	// ca is the PEM certificate of the present CA. It is nil while TLS is off.
	ca     []byte
	config *tls.Config
}

// Enable makes a CA, and a certificate that is signed by it for the given host names and IP addresses. Serve then
// speaks TLS, with HTTP/2 or HTTP/1.1 as the client prefers. If caFile is not empty, the CA's PEM certificate is
// written to it, now and after each RotateCA; the file is replaced at once, never half written.
// It fails when there is no host, or when the file can't be written.
func (t *TLS) Enable(hosts []string, caFile string) error {
	if len(hosts) == 0 || slices.Contains(hosts, "") {
		return errors.New("a certificate needs at least one name or address, and none that is empty")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hosts, t.caFile = slices.Clone(hosts), caFile
	return t.renew()
}

// RotateCA replaces the CA and the certificate by new ones. Connections that are open stay open; each new connection
// is shown the new certificate. It fails when TLS is off, or when the CA's file can't be written.
func (t *TLS) RotateCA() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ca == nil {
		return errors.New("there is no CA, for the simulator does not speak TLS: start it with --tls")
	}
	return t.renew()
}

// CA returns the PEM certificate of the CA to trust, or nil when TLS is off.
func (t *TLS) CA() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.ca)
}

// Config returns what a server of the Simulator needs to speak TLS with HTTP/2. It follows RotateCA. It is nil when
// TLS is off.
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

// newIdentity returns a new CA, and a certificate that it has signed. Both are good for longer than any test.
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

// replaceFile replaces a file as a whole.
func replaceFile(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // It is no more, unless something fails.
	_, err = temporary.Write(content)
	if err := errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
