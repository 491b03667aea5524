// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Sensitive is a client secret or a token. However it is printed, logged or
// marshalled, alone or inside another value, it shows as "[redacted]"; only
// Reveal gives it out. Its zero value is an empty secret.
type Sensitive struct {
	// A pointer, because fmt prints an unexported field of an enclosing struct by
	// reflection, past all methods: of a pointer it prints the address.
	value *string
}

// NewSensitive returns value as a Sensitive.
func NewSensitive(value string) Sensitive { return Sensitive{value: &value} }

// Reveal returns the secret itself. Its callers are the places to look at when
// asking where secrets go.
func (s Sensitive) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsEmpty tells whether there is nothing to reveal.
func (s Sensitive) IsEmpty() bool { return s.Reveal() == "" }

// String implements fmt.Stringer.
func (s Sensitive) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s Sensitive) GoString() string { return redacted }

// Format implements fmt.Formatter, for all verbs.
func (s Sensitive) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON implements json.Marshaler.
func (s Sensitive) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText implements encoding.TextMarshaler.
func (s Sensitive) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (s Sensitive) LogValue() slog.Value { return slog.StringValue(redacted) }
