// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// inUTF16 returns a text in UTF-16, as Windows writes it to files.
func inUTF16(text string, littleEndian bool) string {
	var encoded []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		high, low := byte(unit>>8), byte(unit&0xff)
		if littleEndian {
			high, low = low, high
		}
		encoded = append(encoded, high, low)
	}
	return string(encoded)
}

// impossible are values that no credential can have, and what is said of each.
var impossible = map[string]struct{ value, want string }{
	"a byte order mark":               {"\uFEFF" + secret, "begins with a byte order mark"},
	"nothing but a byte order mark":   {"\uFEFF", "begins with a byte order mark"},
	"white space and the mark":        {"\n\uFEFF" + secret, "begins with a byte order mark"},
	"a byte order mark at the end":    {secret + "\uFEFF", "contains a byte order mark"},
	"UTF-16 of Windows":               {inUTF16("\uFEFF"+secret+"\r\n", true), "is UTF-16 text"},
	"UTF-16 of the other order":       {inUTF16("\uFEFF"+secret, false), "is UTF-16 text"},
	"UTF-16 without its mark":         {inUTF16(secret, true), "is UTF-16 text"},
	"UTF-16 of the other, without it": {inUTF16(secret+"\n", false), "is UTF-16 text"},
	"a NUL byte":                      {"a\x00b", "contains a NUL byte"},
	"a NUL byte at the end":           {secret + "\x00", "contains a NUL byte"},
	"nothing but NUL bytes":           {"\x00\x00", "contains a NUL byte"},
	"a line feed inside":              {"s3cr3t\nof-orders", "contains a line break"},
	"a carriage return inside":        {"s3cr3t\rof-orders", "contains a line break"},
	"two lines of Windows":            {"s3cr3t\r\nof-orders\r\n", "contains a line break"},
	"a line separator":                {"s3cr3t\u2028of-orders", "contains a line break"},
	"a tab inside":                    {"s3cr3t\tof-orders", "contains a tab"},
	"a zero-width space":              {"s3cr3t\u200Bof-orders", "contains a zero-width space"},
	"a zero-width space at the end":   {secret + "\u200B", "contains a zero-width space"},
	"a zero-width joiner":             {"s3cr3t\u200Dof-orders", "contains an invisible character"},
	"a soft hyphen":                   {"s3cr3t\u00ADof-orders", "contains an invisible character"},
	"a no-break space inside":         {"s3cr3t\u00A0of-orders", "contains a space that is not the one of ASCII, such as a no-break space"},
	"an escape":                       {"\x1b[31m" + secret, "contains a character that is not visible ASCII"},
	"DEL":                             {secret + "\x7f", "contains a character that is not visible ASCII"},
	"an umlaut":                       {"s3cr3t-für-orders", "contains a character that is not visible ASCII"},
	"a byte that is no UTF-8":         {"s3cr3t\xfcr", "contains a character that is not visible ASCII"},
	"a long dash":                     {"s3cr3t–orders", "contains a character that is not visible ASCII"},
	"a line of an env file":           {"client_secret=" + secret + "\n", "begins with `client_secret=`, which is no part of it"},
	"a line with the other name":      {"client_id=" + clientID, "begins with `client_id=`, which is no part of it"},
	"a line with an API key":          {"api_key=" + secret + "\n", "begins with `api_key=`, which is no part of it"},
	"a line of YAML with an API key":  {"api_key: " + secret, "begins with `api_key:`, which is no part of it"},
	"a line of YAML":                  {"client_secret: " + secret, "begins with `client_secret:`, which is no part of it"},
	"a whole env file":                {"client_id=" + clientID + "\nclient_secret=" + secret + "\n", "begins with `client_id=`, which is no part of it"},
	"an env file of Windows":          {"\uFEFFclient_id=" + clientID + "\r\n", "begins with a byte order mark"},
}

func TestValuesThatNoCredentialCanHave(t *testing.T) {
	t.Parallel()
	for name, test := range impossible {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := pipedream.ParseCredential([]byte(test.value))
			if err == nil || err.Error() != test.want {
				t.Fatalf("the error is %v, want %q", err, test.want)
			}
			checkIsSafe(t, err)
		})
	}
}

func TestValuesThatACredentialCanHave(t *testing.T) {
	t.Parallel()
	var visible strings.Builder
	for b := byte('!'); b <= '~'; b++ {
		visible.WriteByte(b)
	}
	tests := map[string]struct{ value, want string }{
		"as it is":                              {secret, secret},
		"one character":                         {"x", "x"},
		"all visible characters":                {visible.String(), visible.String()},
		"a space inside":                        {"a b", "a b"},
		"white space around":                    {" \t" + secret + "\r\n", secret},
		"lines around":                          {"\n\n" + secret + "\n\n", secret},
		"no-break spaces around":                {"\u00A0" + secret + "\u0085\u2003", secret},
		"as long as a Secret can be":            {strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20)},
		"in double quotes":                      {`"` + secret + `"`, `"` + secret + `"`},
		"a line of another name":                {"SECRET=" + secret, "SECRET=" + secret},
		"a line in capitals":                    {"CLIENT_SECRET=" + secret, "CLIENT_SECRET=" + secret},
		"a line of a shell":                     {"export client_secret=" + secret, "export client_secret=" + secret},
		"a name with a space before the sign":   {"client_secret = " + secret, "client_secret = " + secret},
		"the name alone":                        {"client_secret", "client_secret"},
		"a name that goes on":                   {"client_secret_of=orders", "client_secret_of=orders"},
		"the name inside":                       {"my_client_id=" + secret, "my_client_id=" + secret},
		"nothing":                               {"", ""},
		"nothing but white space":               {" \r\n\t\u00A0", ""},
		"an even number of ASCII characters":    {"ab", "ab"},
		"the escape of a line feed, in letters": {`a\nb`, `a\nb`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := pipedream.ParseCredential([]byte(test.value))
			if err != nil || got != test.want {
				t.Errorf("it is read as %q (%v), want %q", got, err, test.want)
			}
		})
	}
}

// FuzzParseCredential checks by the grammar of RFC 6749 that no possible credential is
// refused, and no impossible one accepted.
func FuzzParseCredential(f *testing.F) {
	for _, test := range impossible {
		f.Add([]byte(test.value))
	}
	f.Add([]byte(" " + secret + "\r\n"))
	f.Add([]byte("client_secret"))
	f.Add([]byte("\x00a\x00b"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		trimmed := strings.TrimSpace(string(raw))
		isPossible := !slices.ContainsFunc([]byte(trimmed), func(b byte) bool { return b < 0x20 || b > 0x7e })
		for _, begin := range []string{"client_id=", "client_id:", "client_secret=", "client_secret:", "api_key=", "api_key:"} {
			isPossible = isPossible && !strings.HasPrefix(trimmed, begin)
		}
		got, err := pipedream.ParseCredential(raw)
		if isPossible != (err == nil) {
			t.Fatalf("the error for %q is %v", raw, err)
		}
		if err == nil && got != trimmed {
			t.Errorf("%q is read as %q, want %q", raw, got, trimmed)
		}
		if err != nil && !slices.ContainsFunc(saidOfValues, func(said string) bool { return err.Error() == said }) {
			t.Errorf("the error may quote the value: %v", err)
		}
	})
}

// saidOfValues are all texts that there are: none depends on more of a value than which
// of them it is.
var saidOfValues = func() []string {
	var said []string
	for _, test := range impossible {
		said = append(said, test.want)
	}
	return append(said, "begins with `client_id:`, which is no part of it")
}()

func TestImpossibleCredentialsAreNotSent(t *testing.T) {
	t.Parallel()
	for name, test := range impossible {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(http.StatusOK, nil, goodAnswer))
			api := newClient(t, server.URL)
			for field, given := range map[string]pipedream.Credentials{
				"the client ID":     {ClientID: test.value, ClientSecret: pipedream.NewSensitive(secret)},
				"the client secret": {ClientID: clientID, ClientSecret: pipedream.NewSensitive(test.value)},
			} {
				_, err := api.Issue(t.Context(), given, nil)
				got := wantError(t, err)
				if got.Kind != pipedream.CredentialsInvalid || !strings.HasPrefix(got.Detail, field+" ") {
					t.Errorf("the error is %+v, want one of %s", got, field)
				}
				checkIsSafe(t, err)
			}
			_, err := api.Account(t.Context(), pipedream.NewSensitive(test.value), byKey)
			if got := wantError(t, err); got.Kind != pipedream.CredentialsInvalid || !strings.HasPrefix(got.Detail, "the API key ") {
				t.Errorf("the error is %+v, want one of the API key", got)
			}
			checkIsSafe(t, err)
			if got := server.requests.Load(); got != 0 {
				t.Errorf("%d requests were sent, want none", got)
			}
		})
	}
}

func TestCredentialsArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	odd := pipedream.Credentials{
		ClientID:     `<id>&"\ ~`,
		ClientSecret: pipedream.NewSensitive(" a b\"\\/ =&?#<>\\u00e4%20'` "),
	}
	var got map[string]string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&got)
		answerWith(http.StatusOK, nil, goodAnswer)(w, r)
	})
	if _, err := newClient(t, server.URL).Issue(t.Context(), odd, nil); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"grant_type": "client_credentials", "client_id": odd.ClientID, "client_secret": odd.ClientSecret.Reveal()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the request (-want +got):\n%s", diff)
	}
}
