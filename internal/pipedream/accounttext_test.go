// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// TestCredentialsAreKeptAsTheyAre has Pipedream answer with credentials in all kinds of characters. Credentials that can't
// be kept to the byte are an error.
func TestCredentialsAreKeptAsTheyAre(t *testing.T) {
	t.Parallel()
	refused := &pipedream.Error{Kind: pipedream.Malformed, StatusCode: http.StatusOK, Detail: "the answer's credentials have a text that UTF-8 can't hold"}
	for name, test := range map[string]struct {
		value, want string
		err         *pipedream.Error
	}{
		"signs beyond ASCII":                    {value: `"paß🔑\u00e9"`, want: "paß🔑é"},
		"a surrogate pair":                      {value: `"a\ud83d\ude00b"`, want: "a😀b"},
		"two surrogate pairs in capitals":       {value: `"\uD83D\uDE00\uD83D\uDE00"`, want: "😀😀"},
		"the replacement character":             {value: `"a\ufffd` + "\ufffd" + `"`, want: "a\ufffd\ufffd"},
		"a backslash before the name of a half": {value: `"a\\ud800"`, want: `a\ud800`},
		"control characters":                    {value: `"a\u0000\u007f\n"`, want: "a\x00\x7f\n"},
		"half a character in an object":         {value: `{"a":"\ud800"}`, want: `{"a":"\ud800"}`},

		"a byte that is not UTF-8":           {value: "\"pass\xffword\"", err: refused},
		"a surrogate in bytes":               {value: "\"\xed\xa0\x80\"", err: refused},
		"a first half alone":                 {value: `"pass\ud800word"`, err: refused},
		"a first half at the end":            {value: `"pass\ud800"`, err: refused},
		"a second half alone":                {value: `"\ude00"`, err: refused},
		"two first halves":                   {value: `"\ud83d\ud83d\ude00"`, err: refused},
		"the halves in the other order":      {value: `"\ude00\ud83d"`, err: refused},
		"a half before another escape":       {value: `"\ud83d\nde00"`, err: refused},
		"a half before a backslash":          {value: `"\ud83d\\ude00"`, err: refused},
		"a half after a backslash":           {value: `"\\\ud800"`, err: refused},
		"a byte that is not UTF-8 in a list": {value: "[\"\xff\"]", err: refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, answerWith(http.StatusOK, sameTime, account("credentials", `{"password":`+test.value+`}`)))
			got, err := fetch(t, newClient(t, server.URL), byID)
			if test.err != nil {
				if diff := cmp.Diff(*test.err, wantError(t, err)); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := got.Credentials["password"].Reveal(); got != test.want {
				t.Errorf("the password is %q, want %q", got, test.want)
			}
		})
	}
}
