// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestBadFlags(t *testing.T) {
	notPEM := harness.MustWrite(t, "ca.pem", []byte("no certificate"))
	tests := map[string]struct {
		arguments []string
		want      string
	}{
		"an unknown flag":                        {[]string{"--nonsense"}, "-nonsense"},
		"an argument":                            {[]string{"nonsense"}, `unexpected argument "nonsense"`},
		"an address without a scheme":            {[]string{"--api-url=api.pipedream.com"}, "--api-url: must be an address such as https://"},
		"an address with http":                   {[]string{"--api-url=http://api.pipedream.com"}, "--allow-insecure-api-url"},
		"an address with a path":                 {[]string{"--api-url=https://api.pipedream.com/v1"}, "without path"},
		"an address with a password":             {[]string{"--api-url=https://user:hunter2@api.pipedream.com"}, "user name or password"},
		"a CA file that is not there":            {[]string{"--api-ca-file=/does/not/exist"}, "--api-ca-file: open /does/not/exist"},
		"a CA file without a certificate":        {[]string{"--api-ca-file=" + notPEM}, "holds no PEM certificate"},
		"a bad namespace":                        {[]string{"--namespaces=shop,Bad_Name"}, `"Bad_Name" is no name of a namespace`},
		"an empty namespace":                     {[]string{"--namespaces="}, `"" is no name of a namespace`},
		"a rate of zero":                         {[]string{"--token-requests-per-second=0"}, "--token-requests-per-second must be above 0"},
		"a rate that is no number":               {[]string{"--token-requests-per-second=NaN"}, "--token-requests-per-second must be above 0"},
		"a burst of zero":                        {[]string{"--token-request-burst=0"}, "--token-request-burst must be between 1 and"},
		"no requests about accounts":             {[]string{"--account-requests-per-second=0"}, "--account-requests-per-second must be above 0"},
		"a scope that is none":                   {[]string{"--account-scopes=connect:accounts:read,a b"}, `"a b" is no scope`},
		"no scope":                               {[]string{"--account-scopes="}, `"" is no scope`},
		"a negative rate of verifications":       {[]string{"--verification-requests-per-second=-1"}, "--verification-requests-per-second must be above 0"},
		"no workers":                             {[]string{"--max-concurrent-reconciles=0"}, "--max-concurrent-reconciles must be between 1 and"},
		"a metrics address without a port":       {[]string{"--metrics-bind-address=localhost"}, "--metrics-bind-address must be an address such as"},
		"a metrics port beyond all":              {[]string{"--metrics-bind-address=:99999"}, "--metrics-bind-address must be an address such as"},
		"a health address without a port":        {[]string{"--health-probe-bind-address=localhost"}, "--health-probe-bind-address must be an address such as"},
		"profiles on all addresses":              {[]string{"--pprof-bind-address=:6060"}, "--pprof-bind-address must be a loopback address"},
		"profiles on an address of the network":  {[]string{"--pprof-bind-address=192.0.2.1:6060"}, "--pprof-bind-address must be a loopback address"},
		"profiles on all IPv6 addresses":         {[]string{"--pprof-bind-address=[::]:6060"}, "--pprof-bind-address must be a loopback address"},
		"profiles on a name":                     {[]string{"--pprof-bind-address=localhost:6060"}, "Set it to 127.0.0.1:6060"},
		"profiles without a port":                {[]string{"--pprof-bind-address=127.0.0.1"}, "--pprof-bind-address must be a loopback address with a port"},
		"a port of profiles beyond all":          {[]string{"--pprof-bind-address=127.0.0.1:99999"}, "--pprof-bind-address must be a loopback address"},
		"no address for profiles":                {[]string{"--pprof-bind-address="}, "or 0 to turn it off"},
		"a folder without a certificate":         {[]string{"--metrics-cert-dir=/does/not/exist"}, "--metrics-cert-dir: open /does/not/exist/tls.crt"},
		"a log level that would log the bodies":  {[]string{"--zap-log-level=8"}, "--zap-log-level must be at most 7"},
		"a log level that is none":               {[]string{"--zap-log-level=loud"}, "zap-log-level"},
		"a log level that is far beyond any use": {[]string{"--zap-log-level=100"}, "--zap-log-level must be at most 7"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), test.arguments, &bytes.Buffer{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("run(%v) = %v, want an error with %q", test.arguments, err, test.want)
			}
			said := &bytes.Buffer{}
			if code := exitCode(err, said); code != 2 {
				t.Errorf("the exit code is %d, want 2", code)
			}
			if strings.Contains(said.String(), "hunter2") {
				t.Errorf("a password is shown: %s", said)
			}
			if lines := strings.Count(strings.TrimSpace(said.String()), "\n"); lines != 1 {
				t.Errorf("it takes more than a line, and one on --help, to say what is wrong: %s", said)
			}
		})
	}
}

func TestGoodFlags(t *testing.T) {
	o, err := parseOptions([]string{"--namespaces=shop, checkout,shop", "--zap-log-level=7", "--metrics-bind-address=0"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(o.namespaces, " "); got != "shop checkout" {
		t.Errorf("the namespaces are %q, want each of them once", got)
	}
}

func TestAddressesForProfiles(t *testing.T) {
	for given, want := range map[string]string{
		"":                                    "0",
		"--pprof-bind-address=0":              "0",
		"--pprof-bind-address=127.0.0.1:6060": "127.0.0.1:6060",
		"--pprof-bind-address=127.1.2.3:6060": "127.1.2.3:6060",
		"--pprof-bind-address=[::1]:6060":     "[::1]:6060",
	} {
		o, err := parseOptions(strings.Fields(given), &bytes.Buffer{})
		if err != nil || o.pprofBindAddress != want {
			t.Errorf("with %q, the options are %+v (%v), want profiles on %s", given, o, err, want)
		}
	}
}

func TestHelp(t *testing.T) {
	help := &bytes.Buffer{}
	err := run(t.Context(), []string{"--help"}, help)
	if !errors.Is(err, flag.ErrHelp) || exitCode(err, &bytes.Buffer{}) != 0 {
		t.Errorf("--help ends with %v, want exit code 0", err)
	}
	for _, name := range []string{
		"api-url", "allow-insecure-api-url", "api-ca-file", "namespaces", "token-requests-per-second", "token-request-burst",
		"verification-requests-per-second", "account-scopes", "account-requests-per-second", "max-concurrent-reconciles", "leader-elect", "metrics-bind-address",
		"metrics-cert-dir", "per-object-metrics", "version", "health-probe-bind-address", "pprof-bind-address", "kubeconfig", "zap-log-level",
	} {
		if !strings.Contains(help.String(), "  -"+name) {
			t.Errorf("--help does not show --%s", name)
		}
	}
}

func TestVersion(t *testing.T) {
	said := &bytes.Buffer{}
	if err := run(t.Context(), []string{"--version", "--leader-elect"}, said); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(said.String()); got != version() || got == "" {
		t.Errorf("--version prints %q, want %q", got, version())
	}
	if err := run(t.Context(), []string{"--version", "--namespaces=Shop"}, said); exitCode(err, &bytes.Buffer{}) != 2 {
		t.Errorf("--version ends with %v beside a wrong flag, want exit code 2", err)
	}
}

func TestMissingKubeconfig(t *testing.T) {
	err := run(t.Context(), []string{"--kubeconfig=/does/not/exist"}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "set --kubeconfig or KUBECONFIG") || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("run = %v, want an error that says what to set", err)
	}
	if code := exitCode(err, &bytes.Buffer{}); code != 1 {
		t.Errorf("the exit code is %d, want 1", code)
	}
}

func TestAPIServerThatIsNotThere(t *testing.T) {
	err := run(t.Context(), []string{"--kubeconfig=" + writeKubeconfig(t, "https://127.0.0.1:1")}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1: connect: connection refused") {
		t.Errorf("run = %v, want an error that names the API server's address", err)
	}
	if code := exitCode(err, &bytes.Buffer{}); code != 1 {
		t.Errorf("the exit code is %d, want 1", code)
	}
}

// writeKubeconfig writes a kubeconfig for an API server, and returns its path.
func writeKubeconfig(t *testing.T, server string) string {
	t.Helper()
	return harness.MustWrite(t, "kubeconfig", []byte(`{"apiVersion":"v1","kind":"Config","current-context":"c",
		"clusters":[{"name":"c","cluster":{"server":"`+server+`"}}],
		"contexts":[{"name":"c","context":{"cluster":"c","user":"c"}}],"users":[{"name":"c","user":{}}]}`))
}

// Token requests and verifications without an answer leave half of the workers to everything
// else.
func TestHalfOfTheWorkersStayFree(t *testing.T) {
	t.Parallel()
	for workers := 4; workers <= 200; workers++ {
		tokenRequests, verifications := inFlight(workers)
		if tokenRequests < 1 || verifications < 1 || workers-tokenRequests-verifications < workers-workers/2 {
			t.Errorf("%d token requests and %d verifications of %d workers are on their way", tokenRequests, verifications, workers)
		}
		if tokenRequests < verifications {
			t.Errorf("of %d workers, %d token requests are on their way, and %d verifications", workers, tokenRequests, verifications)
		}
	}
	for workers := range 4 {
		if tokenRequests, verifications := inFlight(workers); tokenRequests != 1 || verifications != 1 {
			t.Errorf("%d token requests and %d verifications of %d workers are on their way", tokenRequests, verifications, workers)
		}
	}
}
