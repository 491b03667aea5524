// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build consumers

// Package consumers runs the programs of docs/guides/consume.md as a pod would: against the simulator, with the
// files of the guide's Secret in a folder. The test changes the files in the folder as the kubelet changes them.
// It needs go, curl, python3, node and Pipedream's SDK; hack/consumers provides them.
package consumers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/internal/controller/token"
	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
	"github.com/pipedream-operator/pipedream-operator/internal/simulator"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// guide returns the first code block of each language in the guide.
func guide(t *testing.T) map[string]string {
	t.Helper()
	page := harness.MustRead(t, "docs", "guides", "consume.md")
	blocks := map[string]string{}
	for _, block := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if _, ok := blocks[block[1]]; !ok {
			blocks[block[1]] = block[2]
		}
	}
	return blocks
}

// pod is the environment in which a program of the guide runs.
type pod struct {
	*testing.T
	blocks    map[string]string
	pipedream *simulator.Simulator
	address   string
	// folder is where the Secret is mounted, and work holds the program.
	folder, work string
	versions     int
}

func newPod(t *testing.T) *pod {
	t.Helper()
	api := simulator.New(simulator.Options{
		Now: time.Now, TokenLifetime: time.Hour, Clients: []simulator.Client{{ID: "orders", Secret: "s3cret"}},
	})
	p := &pod{T: t, blocks: guide(t), pipedream: api, address: harness.MustServe(t, api), folder: t.TempDir(), work: t.TempDir()}
	p.renew()
	return p
}

// renew revokes the token, and writes the files of a new token as the kubelet does: into a new folder, to which it
// then moves a symbolic link.
func (p *pod) renew() {
	p.Helper()
	p.pipedream.RevokeAll()
	api, err := pipedream.NewClient(pipedream.Options{Address: p.address, AllowInsecure: true, Now: time.Now})
	harness.Must(p.T, err)
	issued, err := api.Issue(p.Context(), pipedream.Credentials{ClientID: "orders", ClientSecret: pipedream.NewSensitive("s3cret")}, []string{"connect:accounts:read"})
	harness.Must(p.T, err)
	var example v1alpha1.PipedreamToken
	harness.Must(p.T, yaml.UnmarshalStrict([]byte(p.blocks["yaml"]), &example))
	templates := map[string]string{}
	for key, template := range example.Spec.Secret.Data {
		templates[key] = string(template)
	}
	data, err := token.Vocabulary.Render(templates, token.Values(example.Spec, issued, "connect:accounts:read"))
	harness.Must(p.T, err)
	p.versions++
	version := fmt.Sprintf("..version-%d", p.versions)
	harness.Must(p.T, os.Mkdir(filepath.Join(p.folder, version), 0o700))
	for key, value := range data {
		harness.Must(p.T, os.WriteFile(filepath.Join(p.folder, version, key), value, 0o600))
		if p.versions == 1 {
			harness.Must(p.T, os.Symlink(filepath.Join("..data", key), filepath.Join(p.folder, key)))
		}
	}
	harness.Must(p.T, os.Symlink(version, filepath.Join(p.folder, "..data_tmp")))
	harness.Must(p.T, os.Rename(filepath.Join(p.folder, "..data_tmp"), filepath.Join(p.folder, "..data")))
}

// program writes a program of the guide to a file, followed by the code in after. It replaces the addresses of
// Pipedream and of the mounted volume by those of the simulator and of the folder.
func (p *pod) program(language, name, after string) {
	p.Helper()
	code := p.blocks[language]
	for _, replaced := range []struct{ old, new string }{
		{"https://api.pipedream.com", p.address}, {"/var/run/pipedream", p.folder},
	} {
		if language == "ts" && replaced.new == p.address {
			continue // The SDK reads its address from the environment.
		}
		if !strings.Contains(code, replaced.old) {
			p.Fatalf("the program in %s has no %s", language, replaced.old)
		}
		code = strings.ReplaceAll(code, replaced.old, replaced.new)
	}
	harness.Must(p.T, os.WriteFile(filepath.Join(p.work, name), []byte(code+after), 0o600))
}

// run runs a program twice in one process: it prints the accounts and waits for a line of input. Between the two
// answers run replaces the token.
func (p *pod) run(name string, args ...string) {
	p.Helper()
	ctx, stop := context.WithTimeout(p.Context(), 2*time.Minute)
	defer stop()
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = p.work
	command.Env = append(os.Environ(), "PIPEDREAM_BASE_URL="+p.address, "GOFLAGS=-mod=mod", "GOWORK=off")
	var stderr strings.Builder
	command.Stderr = &stderr
	input, err := command.StdinPipe()
	harness.Must(p.T, err)
	output, err := command.StdoutPipe()
	harness.Must(p.T, err)
	harness.Must(p.T, command.Start())
	lines := bufio.NewScanner(output)
	answers := 0
	for lines.Scan() {
		var page struct {
			Data []any `json:"data"`
		}
		if err := json.Unmarshal(lines.Bytes(), &page); err != nil || page.Data == nil {
			p.Errorf("the program printed %q, want the accounts as JSON", lines.Text())
		}
		if answers++; answers == 1 {
			p.renew()
		}
		_, _ = fmt.Fprintln(input)
	}
	if err := command.Wait(); err != nil {
		p.Fatalf("%s ended with %v:\n%s", name, err, stderr.String())
	}
	calls := p.pipedream.Counters().Calls["accounts"]
	if answers != 2 || calls.Accepted != 2 || calls.Total != 2 {
		p.Errorf("the program has printed %d answers, and made %d calls, of which %d were accepted; want 2 each", answers, calls.Total, calls.Accepted)
	}
}

func TestTypeScript(t *testing.T) {
	p := newPod(t)
	// The guide's code has no type annotations, so it is JavaScript, too.
	p.program("ts", "orders.mjs", `
import { createInterface } from "node:readline/promises";
const input = createInterface({ input: process.stdin });
for (let i = 0; i < 2; i++) {
  const page = await pipedream.accounts.list();
  console.log(JSON.stringify({ data: page.data }));
  await new Promise((resolve) => input.once("line", resolve));
}
input.close();
`)
	modules := filepath.Join(harness.Root(), "bin", "consumers", "node_modules")
	harness.Must(p.T, os.Symlink(modules, filepath.Join(p.work, "node_modules")))
	p.run("node", "orders.mjs")
}

func TestPython(t *testing.T) {
	p := newPod(t)
	p.program("python", "orders.py", `

for _ in range(2):
    print(accounts().decode(), flush=True)
    input()
`)
	p.run("python3", "orders.py")
}

func TestGo(t *testing.T) {
	p := newPod(t)
	p.program("go", "main.go", "")
	harness.Must(p.T, os.WriteFile(filepath.Join(p.work, "driver.go"), []byte(`package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

func main() {
	input := bufio.NewScanner(os.Stdin)
	for range 2 {
		response, err := accounts()
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(response.Body)
		fmt.Println(string(body))
		input.Scan()
	}
}
`), 0o600))
	harness.Must(p.T, os.WriteFile(filepath.Join(p.work, "go.mod"), []byte("module orders\n\ngo 1.26\n"), 0o600))
	p.run("go", "run", ".")
}

func TestCurl(t *testing.T) {
	p := newPod(t)
	p.program("sh", "orders.sh", "")
	harness.Must(p.T, os.WriteFile(filepath.Join(p.work, "twice.sh"), []byte("set -e\nfor i in 1 2; do sh orders.sh; echo; read -r line; done\n"), 0o600))
	p.run("sh", "twice.sh")
}
