// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build consumers

// Package consumers runs the programs of docs/guides as a pod would: against the simulator, with the
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
	"slices"
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

// guide returns the first code block of each language in a page of the guides.
func guide(t *testing.T, name string) map[string]string {
	t.Helper()
	page := harness.MustRead(t, "docs", "guides", name)
	blocks := map[string]string{}
	for _, block := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if _, ok := blocks[block[1]]; !ok {
			blocks[block[1]] = block[2]
		}
	}
	return blocks
}

// pod is the environment in which a program of a guide runs.
type pod struct {
	*testing.T
	blocks    map[string]string
	pipedream *simulator.Simulator
	address   string
	// folder is where the Secret is mounted, and work holds the program.
	folder, work string
	versions     int
	// replaced are the texts in the program that stand for addresses and folders, each followed by its replacement.
	replaced []string
	// renew replaces what the Secret holds, so that the earlier one is refused, and writes the files of the Secret.
	renew func()
	// isAnswer reports whether the program has printed an answer to its call.
	isAnswer func(line []byte) bool
	// calls returns how many calls of the program were answered, and how many of them were accepted.
	calls func() (total, accepted int)
}

// newPod returns a pod for the programs of docs/guides/consume.md.
func newPod(t *testing.T) *pod {
	t.Helper()
	p := podWith(t, "consume.md")
	p.replaced = []string{"https://api.pipedream.com", p.address, "/var/run/pipedream", p.folder}
	p.renew = p.renewToken
	p.isAnswer = func(line []byte) bool {
		var page struct {
			Data []any `json:"data"`
		}
		return json.Unmarshal(line, &page) == nil && page.Data != nil
	}
	p.calls = func() (total, accepted int) {
		calls := p.pipedream.Counters().Calls["accounts"]
		return calls.Total, calls.Accepted
	}
	p.renew()
	return p
}

// podWith returns a pod for the programs of a page. Its Secret is not mounted yet.
func podWith(t *testing.T, page string) *pod {
	t.Helper()
	api := simulator.New(simulator.Options{
		Now: time.Now, TokenLifetime: time.Hour, Clients: []simulator.Client{{ID: "orders", Secret: "s3cret"}},
	})
	return &pod{T: t, blocks: guide(t, page), pipedream: api, address: harness.MustServe(t, api), folder: t.TempDir(), work: t.TempDir()}
}

// client returns a client of the simulator, and an access token for it.
func (p *pod) client(scopes ...string) (*pipedream.Client, pipedream.Token) {
	p.Helper()
	api, err := pipedream.NewClient(pipedream.Options{Address: p.address, AllowInsecure: true, Now: time.Now})
	harness.Must(p.T, err)
	issued, err := api.Issue(p.Context(), pipedream.Credentials{ClientID: "orders", ClientSecret: pipedream.NewSensitive("s3cret")}, scopes)
	harness.Must(p.T, err)
	return api, issued
}

// renewToken revokes the token, and writes the files of a new token.
func (p *pod) renewToken() {
	p.Helper()
	p.pipedream.RevokeAll()
	_, issued := p.client("connect:accounts:read")
	var example v1alpha1.PipedreamToken
	harness.Must(p.T, yaml.UnmarshalStrict([]byte(p.blocks["yaml"]), &example))
	data, err := token.Vocabulary.Render(plain(example.Spec.Secret.Data), token.Values(example.Spec, issued, "connect:accounts:read"))
	harness.Must(p.T, err)
	p.mount(data)
}

// plain returns templates as texts.
func plain[T ~string](templates map[string]T) map[string]string {
	texts := map[string]string{}
	for key, template := range templates {
		texts[key] = string(template)
	}
	return texts
}

// mount writes the files of a Secret as the kubelet does: into a new folder, to which it then moves a symbolic link.
func (p *pod) mount(data map[string][]byte) {
	p.Helper()
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

// program writes a program of the guide to a file, followed by the code in after. It replaces the addresses and the
// folder of the mounted volume by the addresses and the folder of the test.
func (p *pod) program(language, name, after string) {
	p.Helper()
	code := p.blocks[language]
	for pair := range slices.Chunk(p.replaced, 2) {
		if language == "ts" && pair[1] == p.address {
			continue // The SDK reads its address from the environment.
		}
		if !strings.Contains(code, pair[0]) {
			p.Fatalf("the program in %s has no %s", language, pair[0])
		}
		code = strings.ReplaceAll(code, pair[0], pair[1])
	}
	harness.Must(p.T, os.WriteFile(filepath.Join(p.work, name), []byte(code+after), 0o600))
}

// run runs a program that makes two calls in one process: after each call it prints the answer and waits for a line of
// input. Between the two calls run replaces the content of the Secret.
func (p *pod) run(name string, args ...string) {
	p.Helper()
	answers := p.runWith(func(count int, line []byte) {
		if !p.isAnswer(line) {
			p.Errorf("the program printed %q, want the answer to its call", line)
		}
		if count == 1 {
			p.renew()
		}
	}, name, args...)
	if total, accepted := p.calls(); answers != 2 || total != 2 || accepted != 2 {
		p.Errorf("the program has printed %d answers, and made %d calls, of which %d were accepted; want 2 each", answers, total, accepted)
	}
}

// runWith runs a program, and has each line of its output handled before the program gets a line of input. It returns the
// number of lines.
func (p *pod) runWith(handle func(count int, line []byte), name string, args ...string) (count int) {
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
	for lines.Scan() {
		count++
		handle(count, lines.Bytes())
		_, _ = fmt.Fprintln(input)
	}
	if err := command.Wait(); err != nil {
		p.Fatalf("%s ended with %v:\n%s", name, err, stderr.String())
	}
	return count
}

// sdk lets programs in the folder work import Pipedream's SDK.
func (p *pod) sdk() {
	p.Helper()
	modules := filepath.Join(harness.Root(), "bin", "consumers", "node_modules")
	harness.Must(p.T, os.Symlink(modules, filepath.Join(p.work, "node_modules")))
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
	p.sdk()
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
