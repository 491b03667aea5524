// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestBadArgumentsGetOneLineAndExitCode2(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string
	}{
		"no client":           {nil, "at least one --client id:secret is required"},
		"a client without id": {[]string{"--client", ":hidden"}, "--client number 1 must be id:secret"},
		"a client without colon": {
			[]string{"--client", "a:hidden", "--client", "hidden"}, "--client number 2 must be id:secret",
		},
		"a client given twice": {[]string{"--client", "a:hidden", "--client", "a:hidden2"}, "was given before"},
		"an unknown flag":      {[]string{"--nope"}, "flag provided but not defined: -nope"},
		"an argument":          {[]string{"--client", "a:hidden", "hidden"}, "there are only flags"},
		"an address without port": {
			[]string{"--client", "a:hidden", "--listen", "localhost"}, "--listen must be host:port",
		},
		"a lifetime of nothing":            {[]string{"--client", "a:hidden", "--token-lifetime", "0s"}, "--token-lifetime: "},
		"a lifetime without a unit":        {[]string{"--client", "a:hidden", "--token-lifetime", "60"}, "-token-lifetime: parse error"},
		"a CA file without TLS":            {[]string{"--client", "a:hidden", "--tls-ca-file", "/tmp/ca.pem"}, "--tls-ca-file needs --tls"},
		"names without TLS":                {[]string{"--client", "a:hidden", "--tls-names", "localhost"}, "--tls-names needs --tls"},
		"TLS without a name":               {[]string{"--client", "a:hidden", "--tls", "--tls-names", "localhost,"}, "--tls: a certificate needs"},
		"a CA file in no folder":           {[]string{"--client", "a:hidden", "--tls", "--tls-ca-file", "/does/not/exist/ca.pem"}, "--tls: write the CA's certificate"},
		"a negative latency":               {[]string{"--client", "a:hidden", "--latency", "-1s"}, "--latency must not be negative"},
		"a scope answer that there is not": {[]string{"--client", "a:hidden", "--scope-answer", "some"}, "--scope-answer: the scope answer must be one of"},
		"scopes of no client":              {[]string{"--client", "a:hidden", "--client-scopes", "b:connect:proxy"}, "--client-scopes: there is no client"},
		"scopes without a client":          {[]string{"--client", "a:hidden", "--client-scopes", "connect"}, "--client-scopes must be id:scope,scope"},
		"a scope that there is not":        {[]string{"--client", "a:hidden", "--client-scopes", "a:connect:proxy,moon"}, "the scope \"moon\" is not known"},
		"a behavior that there is not":     {[]string{"--client", "a:hidden", "--behavior", "moon=full"}, "--behavior: there is no behavior \"moon\""},
		"a behavior that is not possible":  {[]string{"--client", "a:hidden", "--behavior", "revoke=maybe"}, "--behavior: revoke must be one of"},
		"a behavior without a value":       {[]string{"--client", "a:hidden", "--behavior", "revoke"}, "--behavior: revoke must be one of"},
		"an account without an id":         {[]string{"--client", "a:hidden", "--account", `={"project_id":"hidden"}`}, "--account number 1 must be id=JSON: the account's id"},
		"an account without JSON":          {[]string{"--client", "a:hidden", "--account", "apn_1"}, "--account number 1 must be id=JSON: an account must be JSON like"},
		"an account without a project":     {[]string{"--client", "a:hidden", "--account", `apn_1={"fields":{"a":"hidden"}}`}, "--account number 1 must be id=JSON: project_id must be like"},
		"an answer that there is not":      {[]string{"--client", "a:hidden", "--account-answer", "moon=full"}, "--account-answer: there is no answer"},
		"an answer without a value":        {[]string{"--client", "a:hidden", "--account-answer", "single"}, "--account-answer: single must be one of"},
		"a limit that is no number":        {[]string{"--client", "a:hidden", "--account-limit", "many"}, "--account-limit: must be like 2000/5m"},
		"a limit without a window":         {[]string{"--client", "a:hidden", "--account-limit", "2000"}, "--account-limit: a limit needs"},
		"a limit of a window of nothing":   {[]string{"--client", "a:hidden", "--account-limit", "2000/soon"}, "--account-limit: must be like 2000/5m"},
		"a user without an id":             {[]string{"--client", "a:hidden", "--user", `={"api_key":"hidden"}`}, "--user number 1 must be id=JSON: the user's id must be like u_abc123"},
		"a user without JSON":              {[]string{"--client", "a:hidden", "--user", "u_1=hidden"}, "--user number 1 must be id=JSON: a user must be JSON like"},
		"a user without an API key":        {[]string{"--client", "a:hidden", "--user", "u_1={}"}, "--user number 1 must be id=JSON: api_key must not be empty"},
		"a user with an unknown field":     {[]string{"--client", "a:hidden", "--user", `u_1={"hidden":"hidden"}`}, "--user number 1 must be id=JSON: a user must be JSON like"},
		"two users with one API key": {
			[]string{"--client", "a:hidden", "--user", `u_1={"api_key":"hidden"}`, "--user", `u_2={"api_key":"hidden"}`},
			"--user number 2 must be id=JSON: another user has this api_key",
		},
		"a limit of keys that is no number": {[]string{"--client", "a:hidden", "--key-limit", "many"}, "--key-limit: must be like 2000/5m"},
		"a limit of keys without a window":  {[]string{"--client", "a:hidden", "--key-limit", "600"}, "--key-limit: a limit needs"},
		"a negative time until tokens are known": {
			[]string{"--client", "a:hidden", "--token-known-after", "-1s"}, "--token-known-after: ",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr strings.Builder
			if code := run(t.Context(), test.args, &stdout, &stderr); code != 2 {
				t.Errorf("exit code = %d, want 2", code)
			}
			got := stderr.String()
			if !strings.Contains(got, test.want) || strings.Index(got, "\n") != len(got)-1 || stdout.String() != "" {
				t.Errorf("stderr = %q, stdout = %q, want one line with %q on stderr", got, &stdout, test.want)
			}
			if strings.Contains(got, "hidden") {
				t.Errorf("the error repeats a secret: %s", got)
			}
		})
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	t.Parallel()
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.String() != "" {
		t.Errorf("exit code = %d, stderr = %q", code, &stderr)
	}
	for _, name := range []string{"-listen", "-token-lifetime", "-token-known-after", "-client", "-latency", "-tls", "-tls-names", "-tls-ca-file", "-scope-answer", "-client-scopes", "-behavior", "-account", "-account-answer", "-account-limit", "-user", "-key-limit"} {
		if !strings.Contains(stdout.String(), name) {
			t.Errorf("%s is missing in:\n%s", name, &stdout)
		}
	}
}

func TestATakenPortGetsExitCode1(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	taken, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	var stdout, stderr strings.Builder
	args := []string{"--client", "a:b", "--listen", taken.Addr().String()}
	if code := run(t.Context(), args, &stdout, &stderr); code != 1 {
		t.Errorf("exit code = %d, want 1", code)
	}
	if !strings.Contains(stderr.String(), "address already in use") || stdout.String() != "" {
		t.Errorf("stderr = %q, stdout = %q", &stderr, &stdout)
	}
}

func TestItServesUntilToldToStop(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, stdout := io.Pipe()
	var stderr strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{
			"--client", "a:b:c", "--listen", "127.0.0.1:0", "--scope-answer", "list", "--client-scopes", "a:connect:proxy,connect:users:read",
			"--behavior", "unknown-scope=forbidden", "--behavior", "date-skew=1h",
			"--account", `apn_1={"project_id":"proj_abc","external_user_id":"acme","app":"slack"}`, "--account-answer", "single=data", "--account-limit", "2000/5m",
			"--user", `u_1={"api_key":"k3y"}`, "--key-limit", "1/1h",
		}, stdout, &stderr)
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "simulator: listening on ")
	if !ok {
		t.Fatalf("line = %q", line)
	}
	post(t, url+"/v1/oauth/token",
		`{"grant_type":"client_credentials","client_id":"a","client_secret":"b:c"}`, http.StatusOK)

	post(t, url+"/v1/oauth/token",
		`{"grant_type":"client_credentials","client_id":"a","client_secret":"b:c","scope":"connect:accounts:read"}`, http.StatusForbidden)

	post(t, url+"/_sim/accounts/apn_1/refresh", "", http.StatusNoContent)

	for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/users/me", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer k3y")
		do(t, request, want)
	}

	post(t, url+"/_sim/faults", `{"endpoint":"any","delay":"1h"}`, http.StatusNoContent)
	waiting := make(chan error, 1)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/connect/projects", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			err = response.Body.Close()
		}
		waiting <- err
	}()
	for !counted(t, url) {
		select {
		case err := <-waiting:
			t.Fatalf("the call did not wait: %v", err)
		default:
		}
	}
	stop()
	if got := <-code; got != 0 {
		t.Errorf("exit code = %d, want 0: %s", got, &stderr)
	}
	if err := <-waiting; err == nil {
		t.Error("the delayed call was answered")
	}
}

// counted tells whether the call that waits has arrived.
func counted(t *testing.T, url string) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/_sim/counters", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(do(t, request, http.StatusOK), `"faults":1`)
}

func post(t *testing.T, url, body string, want int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	do(t, request, want)
}

func do(t *testing.T, request *http.Request, want int) string {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != want {
		t.Fatalf("status = %d, want %d: %s %v", response.StatusCode, want, body, err)
	}
	return string(body)
}

func TestItServesByTLS(t *testing.T) {
	t.Parallel()
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	ctx, stop := context.WithCancel(t.Context())
	reader, stdout := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{
			"--client", "a:b", "--listen", "127.0.0.1:0", "--tls", "--tls-names", "127.0.0.1", "--tls-ca-file", caFile,
		}, stdout, io.Discard)
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "simulator: listening on ")
	if !ok || !strings.HasPrefix(url, "https://") {
		t.Fatalf("line = %q", line)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/_sim/counters", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.Proto != "HTTP/2.0" || response.StatusCode != http.StatusOK {
		t.Errorf("it answers %s by %s, want 200 by HTTP/2.0", response.Status, response.Proto)
	}
	stop()
	if got := <-code; got != 0 {
		t.Errorf("exit code = %d, want 0", got)
	}
}

// TestTheDocsNameEachFlag compares the table of flags in docs/simulator.md with --help.
func TestTheDocsNameEachFlag(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "simulator.md"))
	if err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(string(content), "## What it serves")
	var help, stderr strings.Builder
	if code := run(t.Context(), []string{"--help"}, &help, &stderr); code != 0 {
		t.Fatalf("--help ends with %d: %s", code, &stderr)
	}
	names := func(in, pattern string) (found []string) {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(in, -1) {
			found = append(found, match[1])
		}
		slices.Sort(found)
		return found
	}
	inHelp, inDocs := names(help.String(), `(?m)^  -([a-z-]+)`), names(table, "(?m)^\\| `--([a-z-]+)")
	if len(inHelp) == 0 || !slices.Equal(inHelp, inDocs) {
		t.Errorf("docs/simulator.md has the flags %v, and --help %v", inDocs, inHelp)
	}
}
