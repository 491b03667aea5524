// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"errors"
	"strings"
	"unicode"
)

// Credentials are the client ID and the client secret of an OAuth client of Pipedream.
type Credentials struct {
	ClientID     string
	ClientSecret Sensitive
}

// fieldNames are the names that files have for the credentials. A value that begins with one of them
// and = or : is a whole line that the user copied from a file.
var fieldNames = []string{"client_id", "client_secret", "api_key"}

// byteOrderMark is the mark at the beginning of a file in UTF-8.
const byteOrderMark = '\uFEFF'

// ParseCredential returns the client ID, the client secret or the API key that a file or a key of a
// Secret holds, without the white space around it. It returns an empty string when there is only white
// space.
//
// It returns an error when the value can't be sent to Pipedream: RFC 6749, appendices A.1 and
// A.2, allows only spaces and visible ASCII characters. It also refuses a value that begins
// with client_id, client_secret or api_key and = or :. The text of the error completes a sentence that
// begins with the name of the value, such as "contains a NUL byte". The error is safe to show:
// it does not contain the value, its length, or the position of the problem.
func ParseCredential(raw []byte) (string, error) {
	if isUTF16(raw) {
		return "", errors.New("is UTF-16 text")
	}
	value := strings.TrimSpace(string(raw))
	return value, checkCredential(value)
}

// check returns an error when Pipedream can't have issued these credentials. The error
// is safe to show.
func (c Credentials) check() error {
	if err := checkCredential(c.ClientID); err != nil {
		return errors.New("the client ID " + err.Error())
	}
	if err := checkCredential(c.ClientSecret.Reveal()); err != nil {
		return errors.New("the client secret " + err.Error())
	}
	return nil
}

func checkCredential(value string) error {
	if strings.HasPrefix(value, string(byteOrderMark)) {
		return errors.New("begins with a byte order mark")
	}
	for _, name := range fieldNames {
		for _, separator := range []string{"=", ":"} {
			if begin := name + separator; strings.HasPrefix(value, begin) {
				return errors.New("begins with `" + begin + "`, which is no part of it")
			}
		}
	}
	for _, character := range value {
		if character < ' ' || character > '~' {
			return errors.New("contains " + describeCharacter(character))
		}
	}
	return nil
}

// describeCharacter returns a description of a character that a credential must not contain. It
// names only characters that are hard to see and that nobody types on purpose. All other
// characters get the same description, because they may be part of a secret.
func describeCharacter(character rune) string {
	switch {
	case character == 0:
		return "a NUL byte"
	case strings.ContainsRune("\n\r\u0085\u2028\u2029", character):
		return "a line break"
	case character == '\t':
		return "a tab"
	case character == '\u200B':
		return "a zero-width space"
	case character == byteOrderMark:
		return "a byte order mark"
	case unicode.Is(unicode.Zs, character):
		return "a space that is not the one of ASCII, such as a no-break space"
	case unicode.Is(unicode.Cf, character):
		return "an invisible character"
	}
	return "a character that is not visible ASCII"
}

// isUTF16 reports whether the bytes are UTF-16 text: they begin with its byte order mark, or
// exactly every second byte is zero.
func isUTF16(raw []byte) bool {
	if bytes.HasPrefix(raw, []byte{0xFF, 0xFE}) || bytes.HasPrefix(raw, []byte{0xFE, 0xFF}) {
		return true
	}
	if len(raw) == 0 || len(raw)%2 != 0 {
		return false
	}
	zeroFirst := raw[0] == 0
	for i, b := range raw {
		if isFirst := i%2 == 0; (b == 0) != (isFirst == zeroFirst) {
			return false
		}
	}
	return true
}
