// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// pemCertificate returns a CA's certificate as PEM, with a line feed at its end.
func pemCertificate(t *testing.T) []byte {
	t.Helper()
	made := certificate(t, time.Now(), time.Now().Add(time.Hour))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]})
}

// A file of two certificates that is cut anywhere but between lines outside of them is
// refused: with only the first one, the operator would lose the CA that it needs.
func TestACutFileOfCertificatesIsRefused(t *testing.T) {
	t.Parallel()
	first, second := pemCertificate(t), pemCertificate(t)
	both := bytes.Join([][]byte{first, second}, nil)
	for cut := range both {
		// Without its second certificate it is whole, and so it is without the last line feed.
		want := cut == len(first) || cut == len(first)-1 || cut == len(both)-1
		roots, err := pipedream.ParseRootCAs(both[:cut])
		if got := err == nil; got != want || got != (roots != nil) {
			t.Fatalf("cut after %d bytes of %d + %d: %v", cut, len(first), len(second), err)
		}
	}
	if _, err := pipedream.ParseRootCAs(both); err != nil {
		t.Errorf("a whole file is refused: %v", err)
	}
}

func TestWhatAFileOfCertificatesMayHold(t *testing.T) {
	t.Parallel()
	good := string(pemCertificate(t))
	damaged := "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	tests := map[string]struct{ content, refused string }{
		"a certificate":                    {good, ""},
		"with comments":                    {"# the CA\n=====\n" + good + "# the end", ""},
		"with line ends of Windows":        {strings.ReplaceAll(good, "\n", "\r\n"), ""},
		"beside one that can't be read":    {damaged + good + damaged, ""},
		"beside a key":                     {good + "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", ""},
		"nothing":                          {"", "holds no PEM certificate"},
		"white space":                      {"\n\n", "holds no PEM certificate"},
		"a word":                           {"certificate", "holds no PEM certificate"},
		"none that can be read":            {damaged, "holds no PEM certificate"},
		"a key":                            {"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "holds no PEM certificate"},
		"DER":                              {"\x30\x82\x01\x0a", "holds no PEM certificate"},
		"a certificate and half of one":    {good + good[:len(good)/2], "ends in the middle of a certificate"},
		"a certificate and half of a line": {good + "-----BEG", "ends in the middle of a certificate"},
		"half of a certificate":            {good[:len(good)/2], "ends in the middle of a certificate"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := pipedream.ParseRootCAs([]byte(test.content))
			if test.refused == "" && err != nil || test.refused != "" && (err == nil || err.Error() != test.refused) {
				t.Errorf("the error is %v, want %q", err, test.refused)
			}
		})
	}
}

// With a part of its certificates, the file would take the place of a good file, and the
// operator would lose the CA that it needs.
func TestAFileWithADamagedCertificateIsRefused(t *testing.T) {
	t.Parallel()
	first, second := string(pemCertificate(t)), string(pemCertificate(t))
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
	without := func(content, part string) string { return strings.Replace(content, part, "", 1) }
	tests := map[string]struct{ content, unreadable string }{
		"a byte order mark":                          {"\ufeff" + first + second, "1 of 2"},
		"a byte order mark before one certificate":   {"\ufeff" + first, "1 of 1"},
		"a lost character":                           {first + second[:100] + second[101:], "1 of 2"},
		"a lost character in the first":              {first[:100] + first[101:] + second, "1 of 2"},
		"the first line is indented":                 {" " + first + second, "1 of 2"},
		"all lines are indented":                     {"  " + strings.ReplaceAll(first+second, "\n", "\n  "), "2 of 2"},
		"no line feed between two":                   {strings.TrimSuffix(first, "\n") + second, "2 of 2"},
		"no line feed between the last two of three": {first + strings.TrimSuffix(second, "\n") + first, "2 of 3"},
		"all on one line":                            {first + strings.ReplaceAll(second, "\n", " "), "1 of 2"},
		"the first line is lost":                     {first + without(second, begin), "1 of 2"},
		"a dash of the first line is lost":           {first + without(second, "-"), "1 of 2"},
		"a last line in the middle is lost":          {without(first, end) + second, "1 of 2"},
		"a letter that is not of base64":             {first + strings.Replace(second, "MII", "M!I", 1), "1 of 2"},
		"with headers":                               {first + strings.Replace(second, begin, begin+"Name: CA\n\n", 1), "1 of 2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roots, err := pipedream.ParseRootCAs([]byte(test.content))
			want := "is damaged: " + test.unreadable + " certificates can't be read."
			if roots != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("the error is %v, want %q", err, want)
			}
		})
	}
}
