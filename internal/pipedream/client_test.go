// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package pipedream_test

import (
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	const (
		such    = "must be an address such as https://api.pipedream.com"
		bare    = "must be without path, query and fragment"
		nobody  = "must not hold a user name or password"
		inClear = "must begin with https:// (client secrets and tokens would travel in clear"
	)
	tests := map[string]struct {
		address       string
		allowInsecure bool
		want, refused string
	}{
		"Pipedream's":                         {address: "https://api.pipedream.com", want: "https://api.pipedream.com"},
		"with a slash at its end":             {address: "https://api.pipedream.com/", want: "https://api.pipedream.com"},
		"with slashes at its end":             {address: "https://api.pipedream.com//", refused: bare},
		"in upper case":                       {address: "HTTPS://API.Pipedream.COM", want: "https://api.pipedream.com"},
		"with a port":                         {address: "https://api.pipedream.com:8443", want: "https://api.pipedream.com:8443"},
		"with the port that https has anyway": {address: "https://api.pipedream.com:443", want: "https://api.pipedream.com"},
		"with the port that http has anyway":  {address: "http://localhost:80", allowInsecure: true, want: "http://localhost"},
		"with a colon and no port":            {address: "https://api.pipedream.com:", want: "https://api.pipedream.com"},
		"an IPv4 address":                     {address: "https://192.0.2.1:8443", want: "https://192.0.2.1:8443"},
		"an IPv6 address":                     {address: "https://[2001:DB8::1]:8443", want: "https://[2001:db8::1]:8443"},
		"http, where it is allowed":           {address: "http://localhost:8080", allowInsecure: true, want: "http://localhost:8080"},
		"https, where http is allowed":        {address: "https://api.pipedream.com", allowInsecure: true, want: "https://api.pipedream.com"},

		"empty":                       {address: "", refused: such},
		"a word":                      {address: "pipedream", refused: such},
		"a host without scheme":       {address: "api.pipedream.com", refused: such},
		"a host and a port":           {address: "api.pipedream.com:443", refused: such},
		"a scheme without host":       {address: "https://", refused: such},
		"a scheme with a port":        {address: "https://:8443", refused: such},
		"one slash":                   {address: "https:/api.pipedream.com", refused: such},
		"no slash":                    {address: "https:api.pipedream.com", refused: such},
		"a host without its scheme":   {address: "//api.pipedream.com", refused: "must be"},
		"a path of this machine":      {address: "/etc/passwd", refused: such},
		"a mail address":              {address: "mailto:someone@pipedream.com", refused: such},
		"with a space":                {address: "https://api.pipedream.com ", refused: such},
		"with a line feed":            {address: "https://api.pipedream.com\n", refused: such},
		"with a port that is none":    {address: "https://api.pipedream.com:https", refused: such},
		"with a port beyond all":      {address: "https://api.pipedream.com:65536", refused: such},
		"with a path":                 {address: "https://api.pipedream.com/v1", refused: bare},
		"with the path of the token":  {address: "https://api.pipedream.com/v1/oauth/token", refused: bare},
		"with a query":                {address: "https://api.pipedream.com?a=b", refused: bare},
		"with a fragment":             {address: "https://api.pipedream.com#a", refused: bare},
		"with a user":                 {address: "https://someone@api.pipedream.com", refused: nobody},
		"with a user and a password":  {address: "https://someone:c4n4ry@api.pipedream.com", refused: nobody},
		"with a password and a path":  {address: "https://:c4n4ry@api.pipedream.com/v1", refused: nobody},
		"with a password and a typo":  {address: "https://someone:c4n4ry@api.pipedream.com:https", refused: such},
		"http":                        {address: "http://localhost:8080", refused: inClear},
		"http in upper case":          {address: "HTTP://localhost:8080", refused: inClear},
		"ftp":                         {address: "ftp://api.pipedream.com", refused: "must begin with https://, not ftp://"},
		"ftp, where http is allowed":  {address: "ftp://api.pipedream.com", allowInsecure: true, refused: "must begin with https://, not ftp://"},
		"a socket":                    {address: "unix:///run/c4n4ry.sock", refused: such},
		"a scheme that is nearly one": {address: "httpss://api.pipedream.com", refused: "must begin with https://, not httpss://"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := pipedream.NewClient(pipedream.Options{Address: test.address, AllowInsecure: test.allowInsecure, Now: clock})
			if test.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := client.Address(); got != test.want {
					t.Errorf("Address() = %q, want %q", got, test.want)
				}
				return
			}
			if err == nil {
				t.Fatalf("it is taken as %s, want it refused: %s", client.Address(), test.refused)
			}
			if !strings.HasPrefix(err.Error(), test.refused) {
				t.Errorf("the error is %q, want it to begin with %q", err, test.refused)
			}
			for _, unfit := range []string{canary, "not ://", "%!"} {
				if strings.Contains(err.Error(), unfit) {
					t.Errorf("the error shows %q: %s", unfit, err)
				}
			}
		})
	}
}
