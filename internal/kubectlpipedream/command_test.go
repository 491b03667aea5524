// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	w := newWorld(t, "errors")
	content, err := plane.KubeconfigOf("a-token-that-nobody-has-issued", "errors")
	harness.Must(t, err)
	stranger := filepath.Join(t.TempDir(), "kubeconfig")
	harness.Must(t, os.WriteFile(stranger, content, 0o600))
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"no kubeconfig":          {[]string{"--kubeconfig="}, "there is no kubeconfig: name yours with --kubeconfig"},
		"a kubeconfig too few":   {[]string{"--kubeconfig=/nowhere"}, "/nowhere"},
		"an unknown context":     {[]string{"--context=nowhere"}, "`kubectl config get-contexts` lists those there are"},
		"nobody listens":         {[]string{"--server=https://127.0.0.1:1"}, "the API server can't be reached; check --context"},
		"a name without address": {[]string{"--server=https://api.invalid"}, "the API server can't be reached; check --context"},
		"nobody is allowed":      {[]string{"--as=nobody"}, "ask an administrator of the cluster for the role view"},
		"nobody is known":        {[]string{"--kubeconfig=" + stranger}, "log in again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", os.DevNull)
			for _, command := range [][]string{{"status"}, {"status", "--watch"}, {"inspect", "orders"}, {"renew", "orders"}, {"renew", "--all", "--wait"}} {
				got := w.in(t).run(append(command, test.arguments...)...)
				lines := strings.Split(strings.TrimSuffix(got.errOut, "\n"), "\n")
				if got.code != exitError || got.out != "" || len(lines) > len(allKinds) {
					t.Errorf("%v says\n%v\nwant exit code %d and a line, or one for each kind", command, got, exitError)
				}
				for _, line := range lines {
					if !strings.Contains(line, test.want) {
						t.Errorf("%v says\n%s\nwant in it %q", command, line, test.want)
					}
				}
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	w := newWorld(t, "help")
	for name, arguments := range map[string][]string{
		"help": {}, "help-status": {"status", "--help"}, "help-renew": {"help", "renew"}, "help-inspect": {"inspect", "-h"},
		"help-verify": {"verify", "--help"}, "help-doctor": {"doctor", "--help"},
		"help-probe": {"probe", "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			got := w.run(arguments...)
			// kubectl's own flags are kubectl's affair.
			got.out, _, _ = strings.Cut(got.out, "Global Flags:")
			w.wantGolden(name, got)
		})
	}
	for _, arguments := range [][]string{{"version"}, {"--version"}} {
		if got := w.run(arguments...); got != (said{out: "v1.2.3\n"}) {
			t.Errorf("%v says\n%v", arguments, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	w := newWorld(t, "completion")
	w.create("orders")
	w.create("billing")
	w.createAccount("acme")
	w.createAccount("orders")
	w.letLook()
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"names":               {[]string{"status", ""}, "\nbilling\norders\npda/acme\npda/orders\n:4\n"},
		"names not yet named": {[]string{"renew", "orders", "pipedreamaccounts/acme", ""}, "\nbilling\npda/orders\n:4\n"},
		"names of one kind":   {[]string{"renew", "--as=token-looker", ""}, "\nbilling\norders\n:4\n"},
		"names of tokens":     {[]string{"verify", ""}, "\nbilling\norders\n:4\n"},
		"kinds":               {[]string{"status", "--kind", ""}, "\npdt\npda\n:4\n"},
		"one name only":       {[]string{"inspect", "orders", ""}, "\n:4\n"},
		"formats":             {[]string{"status", "--output", "w"}, "\nwide\n:4\n"},
		"namespaces":          {[]string{"status", "--namespace", "completio"}, "completion\n"},
		"contexts":            {[]string{"status", "--context", ""}, "envtest\n:4\n"},
		"Secrets":             {[]string{"probe", "--client-secret", "cred"}, "\ncredentials\n:4\n"},
		"environments":        {[]string{"probe", "--environment", ""}, "\ndevelopment\nproduction\n:4\n"},
		"formats of probe":    {[]string{"probe", "--output", ""}, "\njson\n:4\n"},
		"no project":          {[]string{"probe", "--project", ""}, "\n:4\n"},
		"commands":            {[]string{"doc"}, "doctor\tLook for what is wrong: API, clock, CRDs, permissions, operator, tokens, accounts\n:4\n"},
	} {
		t.Run(name, func(t *testing.T) {
			arguments := append([]string{"__complete", "--kubeconfig=" + kubeconfig, "--namespace=completion"}, test.arguments...)
			if got := call(t.Context(), w.clock.Now, &harness.Buffer{}, arguments...); got.code != 0 || !strings.Contains("\n"+got.out, test.want) {
				t.Errorf("it offers\n%v\nwant\n%s", got, test.want)
			}
		})
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := w.run("completion", shell); got.code != 0 || !strings.Contains(got.out, "kubectl-pipedream") {
			t.Errorf("the script for %s is\n%v", shell, got)
		}
	}
}

// TestDoctorFallsBackToTheNamespaceOfTheContext is about those who may look there only.
func TestDoctorFallsBackToTheNamespaceOfTheContext(t *testing.T) {
	w := newWorld(t, "context")
	w.letLook()
	config, err := clientcmd.Load(plane.Kubeconfig)
	harness.Must(t, err)
	config.Contexts[config.CurrentContext].Namespace = "context"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	harness.Must(t, clientcmd.WriteToFile(*config, path))
	for user, want := range map[string]string{"looker": "you may list pipedreamtokens in namespace context", "": "you may list pipedreamtokens in all namespaces"} {
		got := call(t.Context(), w.clock.Now, &harness.Buffer{}, "doctor", "--kubeconfig="+path, "--as="+user, "--api-url="+w.address, "--allow-insecure-api-url")
		if !strings.Contains(got.out, want) {
			t.Errorf("doctor as %q says\n%v\nwant in it %q", user, got, want)
		}
	}
}

// TestTheDocsNameEachCommand keeps docs/kubectl-plugin.md complete.
func TestTheDocsNameEachCommand(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "kubectl-plugin.md"))
	harness.Must(t, err)
	for _, command := range newPlugin(Options{}).rootCommand().Commands() {
		if !strings.Contains(string(content), "kubectl pipedream "+command.Name()) {
			t.Errorf("docs/kubectl-plugin.md does not name `kubectl pipedream %s`", command.Name())
		}
	}
}
