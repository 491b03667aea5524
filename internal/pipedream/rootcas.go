// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"crypto/x509"
	"errors"
)

// ParseRootCAs returns the certificates of a PEM file, for Options.RootCAs. It fails
// when there is none, and when the file ends in the middle of one: somebody is writing
// it, and its other certificates may be missing. Its errors are to be read after the
// file's name.
func ParseRootCAs(content []byte) (*x509.CertPool, error) {
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(content) {
		return nil, errors.New("holds no PEM certificate")
	}
	last := content[bytes.LastIndexByte(content, '\n')+1:]
	isCutInBegin := len(last) > 0 && len(last) < len(begin) && bytes.HasPrefix([]byte(begin), last)
	if isCutInBegin || bytes.Count(content, []byte(begin)) != bytes.Count(content, []byte(end)) {
		return nil, errors.New("ends in the middle of a certificate")
	}
	return roots, nil
}
