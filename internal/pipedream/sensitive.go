// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Sensitive is a client secret or a token. When it is printed, logged or marshalled, alone or
// inside another value, it appears as "[redacted]". Only Reveal returns the secret. The zero
// value is an empty secret.
type Sensitive struct {
	// value is a pointer because fmt prints an unexported field of an enclosing struct by
	// reflection, without the field's methods. For a pointer, fmt then prints the address only.
	value *string
}

// NewSensitive returns value as a Sensitive.
func NewSensitive(value string) Sensitive { return Sensitive{value: &value} }

// Reveal returns the secret itself. To find out where secrets go, look at the callers of
// Reveal.
func (s Sensitive) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsEmpty reports whether the secret is empty.
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
