// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package e2e_test proves on a whole cluster that the operator fulfils its purpose: a pod always has a token that
// works. It does only what a user can do with kubectl and manifests. Run it with `make e2e`.
package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/api/v1alpha1"
	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// A kubelet looks for changes of a mounted Secret every 60 to 90 seconds. A token must live for longer than that
// after its renewal.
const (
	lifetime    = 210 * time.Second
	renewBefore = 105 * time.Second
	renewals    = 3
	clientID    = "orders-client"
)

// consumers each have a PipedreamToken, a Secret and a Deployment with their name. They start at different times,
// so that the renewals are spread over time.
var consumers = []string{"orders", "invoices", "returns"}

// crds are the CRDs of the operator.
var crds = []string{"pipedreamtokens.pipedream-operator.io", "pipedreamaccounts.pipedream-operator.io"}

// world holds the results of the earlier steps that later steps need.
type world struct {
	*cluster
	secret string
	// manifests are the operator's manifests, and before is the inventory before the installation.
	manifests string
	before    map[string]bool
	pods      []pod
	rows      []row
	key       keyReplaced
	// secrets holds all client secrets, API keys and tokens of the run, by a description.
	secrets map[string]string
}

func TestPodsAlwaysHaveATokenThatWorks(t *testing.T) {
	w := &world{cluster: newCluster(), secret: rand.Text(), secrets: map[string]string{}}
	w.secrets["the client secret"] = w.secret
	began := time.Now()
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"0 begin", w.begin},
		{"1 install", w.install},
		{"2 consume through three renewals", w.consume},
		{"2a replace a revoked API key", w.replaceKey},
		{"2b follow an account through two refreshes", w.followAccount},
		{"2c an account dead and back", w.loseAccount},
		{"2d a pod served in spite of a revoked API key", w.wantServedWithKey},
		{"3 disturb", w.disturb},
		{"4a rotate the client secret", w.rotate},
		{"4b revoke the tokens", w.revoke},
		{"6 search etcd", w.searchEtcd},
		{"5 uninstall", w.uninstall},
	} {
		// The later steps need the results of this step.
		if !t.Run(step.name, step.do) {
			w.explain(t)
			break
		}
	}
	table := header
	for _, r := range w.rows {
		table += r.String()
	}
	t.Logf("results of %d consumers after %s:\n\n%s", len(consumers), time.Since(began).Round(time.Second), table)
}

// explain logs the state of the cluster after a failure.
func (w *world) explain(t *testing.T) {
	t.Helper()
	for _, arguments := range [][]string{
		{"get", "pods", "--all-namespaces", "--output=wide"},
		{"get", "pipedreamtokens", "--all-namespaces"},
		{"get", "pipedreamaccounts", "--all-namespaces", "--output=wide"},
		{"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"},
		{"logs", "--namespace=" + system, "--selector=app.kubernetes.io/component=manager", "--tail=30"},
	} {
		output, err := tryKubectl(arguments...)
		lines := strings.Split(output, "\n")
		t.Logf("kubectl %s: %v\n%s", strings.Join(arguments, " "), err, strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// begin fails if the cluster has objects that the test would remove.
func (w *world) begin(t *testing.T) {
	there := kubectl(t, "", "get", "--ignore-not-found", "--output=name", "namespace/"+pipedream, "namespace/"+shop, "namespace/"+system)
	there += kubectl(t, "", append([]string{"get", "--ignore-not-found", "--output=name", "crd"}, crds...)...)
	if there != "" {
		t.Fatalf("the cluster already has these objects, of an installation or of an earlier run. The test changes none of them:\n%s", there)
	}
	before, err := inventory()
	harness.Must(t, err)
	w.before = before
	t.Logf("the cluster has %d objects", len(w.before))
}

func (w *world) install(t *testing.T) {
	w.apply(t, "simulator.yaml", "CLIENT_ID", clientID, "CLIENT_SECRET", w.secret, "LIFETIME", lifetime.String())
	address := kubectl(t, "", "get", "service", "simulator", "--namespace="+pipedream, "--output=jsonpath={.spec.clusterIP}")
	w.values["API"] = "http://" + address + ":8099"
	kubectl(t, "", "rollout", "status", "deployment/simulator", "--namespace="+pipedream, "--timeout="+patience.String())

	overlay := t.TempDir()
	// kustomize takes relative paths only.
	base, err := filepath.Rel(overlay, filepath.Join(harness.Root(), "config", "default"))
	harness.Must(t, err)
	harness.Must(t, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(w.manifest(t, "operator.yaml", "CONFIG", base)), 0o600))
	w.manifests = kubectl(t, "", "kustomize", overlay)
	kubectl(t, w.manifests, "apply", "--filename=-")
	managersReady(t)
	if got := kubectl(t, "", "get", "namespace", system, `--output=jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`); got != "restricted" {
		t.Errorf("the operator's namespace enforces the Pod Security Standard %q, want restricted", got)
	}
	t.Logf("the operator's image is %s", kubectl(t, "", "get", "deployment", "pipedream-operator-manager", "--namespace="+system, "--output=jsonpath={.spec.template.spec.containers[0].image}"))
}

func (w *world) consume(t *testing.T) {
	w.apply(t, "shop.yaml", "CLIENT_ID", clientID, "CLIENT_SECRET", w.secret)
	for i, name := range consumers {
		if i > 0 {
			w.apart(t)
		}
		w.apply(t, "token.yaml", "NAME", name, "RENEW_BEFORE", fmt.Sprint(renewBefore.Seconds()))
		kubectl(t, "", "wait", "--for=condition=Ready", "pipedreamtoken/"+name, "--namespace="+shop, "--timeout="+patience.String())
		w.apply(t, "consumer.yaml", "NAME", name, "PATH", "/v1/connect/proj_abc123/accounts")
		kubectl(t, "", "rollout", "status", "deployment/"+name, "--namespace="+shop, "--timeout="+patience.String())
		w.pods = append(w.pods, podOf(t, name))
	}
	watched := startWatch(t, "2 three renewals", w.pods)
	watched.done = make([]int, len(w.pods)) // Count all calls from the beginning.
	first := w.pods[0].calls(t)[0].Time
	watched.began = first
	t.Logf("%s waits until its file holds token number %d", consumers[0], renewals+1)
	eventually(t, 4*lifetime, "three renewals", func() string {
		w.remember(t)
		r := &row{}
		r.add(w.pods[0].calls(t), call{})
		if r.refused > 0 {
			t.Fatalf("a call of %s was refused:\n%s", consumers[0], timeline(w.pods[0].calls(t), first))
		}
		if r.tokens <= renewals {
			return fmt.Sprintf("%s has seen %d tokens", consumers[0], r.tokens)
		}
		return ""
	})
	r := watched.row(t)
	r.issued = len(w.secrets) - 1 - len(consumers)
	w.report(t, r)
	r.wantServed(t)
	for i, calls := range r.callsOf {
		one := row{}
		one.add(calls, call{})
		t.Logf("%s: the file changed %s after the token requests", consumers[i], strings.Join(one.delays, ", "))
		if !slices.IsSortedFunc(calls, func(a, b call) int { return a.Written.Compare(b.Written) }) {
			t.Errorf("%s: an older token replaced a newer one in the file", consumers[i])
		}
	}
}

// apart waits until the last token is a share of renewBefore older, so that renewals do not coincide.
func (w *world) apart(t *testing.T) {
	t.Helper()
	step := renewBefore / time.Duration(len(consumers))
	last := w.pods[len(w.pods)-1]
	eventually(t, patience, "the last token to be old enough", func() string {
		calls := last.calls(t)
		if len(calls) > 0 && calls[len(calls)-1].Time.Sub(calls[len(calls)-1].issued()) >= step {
			return ""
		}
		return "the token is not old enough yet"
	})
}

// remember adds all current tokens to w.secrets, for the search of etcd.
func (w *world) remember(t *testing.T) {
	t.Helper()
	var list corev1.SecretList
	if err := tryGet(&list, "secrets", "--namespace="+shop); err != nil {
		return // The API server is unavailable.
	}
	for _, secret := range list.Items {
		if token := secret.Data["access_token"]; len(token) > 0 {
			w.secrets["a token of "+secret.Name+" of "+string(secret.Data["expires_at"])] = string(token)
		}
	}
}

func (w *world) report(t *testing.T, r row) {
	t.Helper()
	w.rows = append(w.rows, r)
	t.Log("\n" + header + r.String())
}

func (w *world) disturb(t *testing.T) {
	for _, disturbance := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"3 operator's pod deleted", func(t *testing.T) {
			t.Helper()
			kubectl(t, "", "delete", "pod", leader(t).Name, "--namespace="+system)
		}},
		{"3 operator rolled out again", func(t *testing.T) {
			t.Helper()
			kubectl(t, "", "rollout", "restart", "deployment/pipedream-operator-manager", "--namespace="+system)
		}},
		{"3 leader killed", w.killLeader},
		{"3 kubelet restarted", w.restarted("kubelet")},
		{"3 API server restarted", w.restarted("kube-apiserver")},
	} {
		watched := startWatch(t, disturbance.name, w.pods)
		disturbance.do(t)
		managersReady(t)
		// The manager that leads after the disturbance must renew, too.
		since := time.Now()
		eventually(t, 2*renewBefore, "a renewal by the manager that leads now", func() string {
			w.remember(t)
			if w.issuedAfter(t, since) == 0 {
				return "no token has been renewed since"
			}
			return ""
		})
		w.remember(t)
		r := watched.row(t)
		r.issued = w.issuedAfter(t, watched.began)
		w.report(t, r)
		r.wantServed(t)
	}
}

// issuedAfter returns how many tokens in Secrets Pipedream issued after the moment.
func (w *world) issuedAfter(t *testing.T, moment time.Time) int {
	t.Helper()
	count := 0
	eventually(t, patience, "the PipedreamTokens to be listed", func() string {
		all, err := tokens()
		if err != nil {
			return err.Error()
		}
		count = 0
		for _, token := range all {
			if token.Status.IssueTime.After(moment) {
				count++
			}
		}
		return ""
	})
	return count
}

// killLeader kills the leading manager with SIGKILL. Without access to the node it deletes the pod instead.
func (w *world) killLeader(t *testing.T) {
	t.Helper()
	pod := leader(t)
	if len(w.kill) == 0 {
		t.Log("no access to the node: the test deletes the leader without a grace period, instead of killing it")
		kubectl(t, "", "delete", "pod", pod.Name, "--namespace="+system, "--grace-period=0", "--force")
		return
	}
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	_, err := execute(append(w.kill, id)...)
	harness.Must(t, err)
	restarts := pod.Status.ContainerStatuses[0].RestartCount
	eventually(t, patience, "the killed manager to start again", func() string {
		var now corev1.Pod
		if err := tryGet(&now, "pod", pod.Name, "--namespace="+system); err != nil {
			return err.Error()
		}
		if now.Status.ContainerStatuses[0].RestartCount == restarts {
			return "the killed manager was not started again"
		}
		return ""
	})
}

func (w *world) restarted(component string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if len(w.restart) == 0 {
			t.Logf("NOT DONE: no access to the node, so the %s is not restarted", component)
			return
		}
		began := time.Now()
		_, err := execute(append(w.restart, component)...)
		harness.Must(t, err)
		t.Logf("the %s works again after %s", component, time.Since(began).Round(time.Second))
	}
}

// condition returns the PipedreamToken's condition of a type, or an empty condition.
func condition(token v1alpha1.PipedreamToken, kind string) metav1.Condition {
	return conditionIn(token.Status.Conditions, kind)
}

// conditionIn returns the condition of a type, or an empty condition.
func conditionIn(conditions []metav1.Condition, kind string) metav1.Condition {
	if found := meta.FindStatusCondition(conditions, kind); found != nil {
		return *found
	}
	return metav1.Condition{}
}

func (w *world) rotate(t *testing.T) {
	watched := startWatch(t, "4 client secret rotated and repaired", w.pods)
	rotated := rand.Text()
	w.secrets["the rotated client secret"] = rotated
	simulate(t, "replace", "clients/"+clientID, `{"secret":"`+rotated+`"}`)
	at := time.Now()
	// Do not wait for the next renewal to notice the rotation: request a renewal now.
	kubectl(t, "", "annotate", "pipedreamtoken", consumers[0], "--namespace="+shop, "--overwrite", "pipedream-operator.io/renew-request=rotated")
	eventually(t, patience, "the rotated client secret to be refused", func() string {
		var token v1alpha1.PipedreamToken
		if err := tryGet(&token, "pipedreamtoken", consumers[0], "--namespace="+shop); err != nil {
			return err.Error()
		}
		renewed := condition(token, "Renewed")
		if renewed.Status != metav1.ConditionFalse || renewed.Reason != "CredentialsRejected" {
			return fmt.Sprintf("Renewed is %s, %s", renewed.Status, renewed.Reason)
		}
		if ready := condition(token, "Ready"); ready.Status != metav1.ConditionTrue {
			t.Errorf("Ready is %s (%s) while the token works", ready.Status, ready.Reason)
		}
		t.Logf("+%.0f s: Renewed says: %s", time.Since(at).Seconds(), renewed.Message)
		return ""
	})
	t.Logf("+%.0f s: the Secret is repaired", time.Since(at).Seconds())
	// A token can be issued before kubectl returns. Issue times are in whole seconds.
	repaired := time.Now().Truncate(time.Second)
	w.apply(t, "shop.yaml", "CLIENT_ID", clientID, "CLIENT_SECRET", rotated)
	eventually(t, patience, "all tokens to be renewed with the new client secret", func() string {
		all, err := tokens()
		if err != nil {
			return err.Error()
		}
		for _, token := range all {
			if renewed := condition(token, "Renewed"); renewed.Status != metav1.ConditionTrue || token.Status.IssueTime.Time.Before(repaired) {
				return fmt.Sprintf("%s: Renewed is %s (%s), with a token of %s", token.Name, renewed.Status, renewed.Reason, token.Status.IssueTime)
			}
		}
		return ""
	})
	t.Logf("+%.0f s: all %d Secrets have new tokens", time.Since(at).Seconds(), len(consumers))
	w.remember(t)
	// When these tokens have reached the pods, all earlier changes have reached them too.
	for i, p := range w.pods {
		eventually(t, filePatience, "the new token in the file of "+consumers[i], func() string {
			calls := p.calls(t)
			if calls[len(calls)-1].issued().Before(repaired) {
				return consumers[i] + " still has the old token"
			}
			return ""
		})
	}
	r := watched.row(t)
	r.issued = len(consumers)
	w.report(t, r)
	r.wantServed(t)
	for i, calls := range r.callsOf {
		t.Logf("%s, from the rotation on:\n%s", consumers[i], timeline(calls, at))
	}
}

func (w *world) revoke(t *testing.T) {
	wantNothingRefused(t)
	watched := startWatch(t, "4 all tokens revoked", w.pods)
	before := issueTimes(t)
	at := time.Now()
	simulate(t, "create", "revoke", `{"client_id":"`+clientID+`"}`)
	waiting := slices.Clone(consumers)
	eventually(t, patience, "new tokens in place of the revoked ones", func() string {
		all, err := tokens()
		if err != nil {
			return err.Error()
		}
		for _, token := range all {
			if i := slices.Index(waiting, token.Name); i >= 0 && !token.Status.IssueTime.Time.Equal(before[token.Name]) {
				t.Logf("+%.0f s: the Secret of %s has a new token", token.Status.IssueTime.Sub(at).Seconds(), token.Name)
				waiting = slices.Delete(waiting, i, i+1)
			}
		}
		if len(waiting) > 0 {
			return fmt.Sprintf("%s have revoked tokens", waiting)
		}
		return ""
	})
	if took := time.Since(at); took > 30*time.Second {
		t.Errorf("the tokens were replaced after %s; they are verified every 10 s", took)
	}
	w.remember(t)
	for i, p := range w.pods {
		eventually(t, filePatience, "calls of "+consumers[i]+" with the new token", func() string {
			calls := p.calls(t)
			if last := calls[len(calls)-1]; last.Status != 200 || last.issued().Before(at.Add(-time.Second)) {
				return fmt.Sprintf("%s still gets the HTTP status %d", consumers[i], last.Status)
			}
			return ""
		})
	}
	r := watched.row(t)
	r.issued = len(consumers)
	w.report(t, r)
	if r.refused == 0 {
		t.Error("no call was refused, though all tokens were revoked: the consumers measure nothing")
	}
	if r.failed > 0 || r.restarts > 0 {
		t.Errorf("%d calls failed (%s), and consumers were restarted %d times, want neither", r.failed, r.firstFailure, r.restarts)
	}
	for i, calls := range r.callsOf {
		t.Logf("%s, from the revocation on:\n%s", consumers[i], timeline(calls, at))
	}
}

// issueTimes returns when the token of each PipedreamToken was issued, by its name.
func issueTimes(t *testing.T) map[string]time.Time {
	t.Helper()
	all, err := tokens()
	harness.Must(t, err)
	times := map[string]time.Time{}
	for _, token := range all {
		times[token.Name] = token.Status.IssueTime.Time
	}
	return times
}

// wantNothingRefused compares the consumers' results with the simulator's counters.
func wantNothingRefused(t *testing.T) {
	t.Helper()
	var counters struct {
		Calls map[string]struct{ Total, Accepted, Refused int }
	}
	output := kubectl(t, "", "get", "--raw=/api/v1/namespaces/"+pipedream+"/services/simulator:8099/proxy/_sim/counters")
	harness.Must(t, json.Unmarshal([]byte(output), &counters))
	calls := counters.Calls["accounts"]
	t.Logf("the simulator was called %d times, verifications included: it accepted %d and refused %d", calls.Total, calls.Accepted, calls.Refused)
	if calls.Refused > 0 || calls.Accepted == 0 {
		t.Error("want all of them accepted")
	}
}

// encodings returns a text in each encoding that a secret is looked for in, by a description.
func encodings(text string) map[string]string {
	raw := []byte(text)
	return map[string]string{
		"in clear":          text,
		"in base64":         strings.TrimRight(base64.StdEncoding.EncodeToString(raw), "="),
		"in base64 of URLs": strings.TrimRight(base64.RawURLEncoding.EncodeToString(raw), "="),
		"in hexadecimal":    fmt.Sprintf("%x", raw),
	}
}

func (w *world) searchEtcd(t *testing.T) {
	if len(w.etcd) == 0 {
		t.Log("NOT DONE: no access to etcd")
		return
	}
	// First prove that the search finds an unencrypted text.
	marker := rand.Text()
	arguments := []string{"create", "configmap", "marker", "--namespace=" + shop}
	for name, text := range encodings(marker) {
		arguments = append(arguments, "--from-literal="+strings.ReplaceAll(name, " ", "-")+"="+text)
	}
	kubectl(t, "", arguments...)
	stored, err := execute(w.etcd...)
	harness.Must(t, err)
	for name, text := range encodings(marker) {
		if !strings.Contains(stored, text) {
			t.Errorf("a ConfigMap's text %s is not found, so the search proves nothing", name)
		}
	}
	for _, name := range append([]string{"pipedream-oauth-client", keySecret}, consumers...) {
		if !strings.Contains(stored, "/registry/secrets/"+shop+"/"+name) {
			t.Errorf("the Secret %s is not in etcd", name)
		}
	}
	for name, secret := range w.secrets {
		for encoding, text := range encodings(secret) {
			if strings.Contains(stored, text) {
				t.Errorf("%s is in etcd, %s", name, encoding)
			}
		}
		// Search for parts of a token, too.
		if _, signature, found := strings.Cut(secret, "."); found && strings.Contains(stored, signature) {
			t.Errorf("a part of %s is in etcd", name)
		}
	}
	t.Logf("in %d bytes of etcd, older versions included, looked for %d tokens, API keys and client secrets in clear, base64 and hexadecimal", len(stored), len(w.secrets))
}

func (w *world) uninstall(t *testing.T) {
	for _, name := range consumers {
		kubectl(t, "", "delete", "deployment", name, "--namespace="+shop)
	}
	secrets := func() ([]string, error) {
		output, err := tryKubectl("get", "secrets", "--namespace="+shop, "--output=jsonpath={.items[*].metadata.name}")
		return strings.Fields(output), err
	}
	wantSecrets := func(want ...string) {
		t.Helper()
		eventually(t, patience, "the Secrets to be garbage-collected", func() string {
			if got, err := secrets(); err != nil || !slices.Equal(got, want) {
				return fmt.Sprintf("there are the Secrets %q (%v), want %q", got, err, want)
			}
			return ""
		})
	}
	// Delete one PipedreamToken, and the others with the operator: docs/install.md says that its CRDs go too.
	kubectl(t, "", "delete", "pipedreamtoken", consumers[0], "--namespace="+shop)
	wantSecrets("invoices", keySecret, "pipedream-oauth-client", "returns")
	kubectl(t, w.manifests, "delete", "--filename=-")
	wantSecrets(keySecret, "pipedream-oauth-client")
	if output, err := tryKubectl(append([]string{"get", "--ignore-not-found", "crd"}, crds...)...); err != nil || output != "" {
		t.Errorf("a CRD still exists: %s %v", output, err)
	}
	kubectl(t, "", "delete", "namespace", pipedream, shop)
	eventually(t, patience, "all installed objects to be gone", func() string {
		now, err := inventory()
		if err != nil {
			return err.Error()
		}
		var left []string
		for object := range now {
			if !w.before[object] {
				left = append(left, object)
			}
		}
		if len(left) > 0 {
			slices.Sort(left)
			return "these objects are left: " + strings.Join(left, ", ")
		}
		return ""
	})
	t.Log("nothing is left in the cluster")
}
