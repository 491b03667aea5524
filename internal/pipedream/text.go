// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// asExactText returns the text of a JSON string. isExact is false if the text can't be kept as it is in
// UTF-8: package json then replaces some of it without an error.
func asExactText(raw json.RawMessage) (text string, isText, isExact bool) {
	text, isText = asString(raw)
	return text, isText, isText && utf8.Valid(raw) && !hasLoneSurrogate(raw)
}

// hexDigits is how many digits an escape such as \ud800 has, and escapeLength how many characters.
const (
	hexDigits    = 4
	escapeLength = len(`\u`) + hexDigits
)

// hasLoneSurrogate reports whether a valid JSON string has an escape such as \ud800 that is half of a
// character.
func hasLoneSurrogate(raw json.RawMessage) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++ // The character after the backslash may be another backslash.
		unit, isUnit := escapedUnit(raw[i:])
		if !isUnit {
			continue
		}
		i += hexDigits
		if !utf16.IsSurrogate(unit) {
			continue
		}
		rest, isEscape := bytes.CutPrefix(raw[i+1:], []byte(`\`))
		second, isUnit := escapedUnit(rest)
		if !isEscape || !isUnit || utf16.DecodeRune(unit, second) == utf8.RuneError {
			return true
		}
		i += escapeLength
	}
	return false
}

// escapedUnit returns the number of an escape such as ud800, without its backslash.
func escapedUnit(raw []byte) (unit rune, ok bool) {
	if len(raw) < 1+hexDigits || raw[0] != 'u' {
		return 0, false
	}
	number, err := strconv.ParseUint(string(raw[1:1+hexDigits]), 16, 16)
	return rune(number), err == nil
}
