// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// ParseRootCAs returns the certificates of a PEM file, for Options.RootCAs. It fails when the
// file contains no certificate, when it ends in the middle of a certificate because another
// process is still writing it, and when the PEM form of one of its certificates is damaged. In
// all these cases the operator could lose a CA that it needs. A certificate in good PEM form
// whose content Go can't parse is ignored, because public CA bundles contain such certificates.
// The text of an error begins with a verb, so that the caller can put the name of the file
// before it.
func ParseRootCAs(content []byte) (*x509.CertPool, error) {
	begin, end := []byte("-----BEGIN CERTIFICATE-----"), []byte("-----END CERTIFICATE-----")
	last := content[bytes.LastIndexByte(content, '\n')+1:]
	isCutInBegin := len(last) > 0 && len(last) < len(begin) && bytes.HasPrefix(begin, last)
	if isCutInBegin || bytes.LastIndex(content, begin) > bytes.LastIndex(content, end) {
		return nil, errors.New("ends in the middle of a certificate")
	}
	// A certificate counts even if one of its BEGIN and END lines is damaged, or if text
	// precedes them on their line.
	all := max(bytes.Count(content, begin), bytes.Count(content, end))
	if unreadable := all - countCertificates(content); unreadable > 0 {
		return nil, fmt.Errorf("is damaged: %d of %d certificates can't be read. Look for a byte order mark at the start of the file, "+
			"for blanks before a line, for a missing line feed between two certificates, and for lost characters", unreadable, all)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(content) {
		return nil, errors.New("holds no PEM certificate")
	}
	return roots, nil
}

// countCertificates returns the number of certificates in good PEM form. It does not count a
// certificate with headers, because x509.CertPool ignores it.
func countCertificates(content []byte) int {
	count := 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" && len(block.Headers) == 0 {
			count++
		}
	}
	return count
}
