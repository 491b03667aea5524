// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// call is one call of a consumer to Pipedream's API, as the consumer logged it.
type call struct {
	Time    time.Time `json:"time"`
	Status  int       `json:"status"`
	Error   string    `json:"error"`
	Token   string    `json:"token"`
	Written time.Time `json:"written"`
	Expires time.Time `json:"expires"`
}

// issued returns the moment before the operator requested the token.
func (c call) issued() time.Time { return c.Expires.Add(-lifetime) }

// delay returns the time from the token request to the change of the file. The time from the write of the Secret
// is shorter by the duration of the request and up to a second of rounding.
func (c call) delay() time.Duration { return c.Written.Sub(c.issued()) }

// pod identifies the pod of a consumer, which must not be replaced during the test.
type pod struct {
	name, uid string
}

// podOf returns the only pod of a consumer.
func podOf(t *testing.T, consumer string) pod {
	t.Helper()
	var list corev1.PodList
	get(t, &list, "pods", "--namespace="+shop, "--selector=app="+consumer)
	if len(list.Items) != 1 {
		t.Fatalf("%s has %d pods, want 1", consumer, len(list.Items))
	}
	return pod{list.Items[0].Name, string(list.Items[0].UID)}
}

// calls returns all calls of a pod. It waits until there is one.
func (p pod) calls(t *testing.T) []call {
	t.Helper()
	var all []call
	eventually(t, patience, "a call of "+p.name, func() string {
		output, err := tryKubectl("logs", p.name, "--namespace="+shop)
		if err != nil {
			return err.Error()
		}
		all = nil
		for line := range strings.Lines(output) {
			var one call
			// The last line may be incomplete.
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				break
			}
			all = append(all, one)
		}
		if len(all) == 0 {
			return p.name + " has made no call yet"
		}
		return ""
	})
	return all
}

// restarts returns how often the containers of a pod were restarted. It fails if another pod has replaced the pod.
func (p pod) restarts(t *testing.T) int {
	t.Helper()
	var now corev1.Pod
	get(t, &now, "pod", p.name, "--namespace="+shop)
	if string(now.UID) != p.uid {
		t.Fatalf("another pod has replaced %s", p.name)
	}
	restarts := 0
	for _, status := range now.Status.ContainerStatuses {
		restarts += int(status.RestartCount)
	}
	return restarts
}

// watch records when a row of the report begins.
type watch struct {
	name  string
	pods  []pod
	began time.Time
	// done is how many calls each pod had made when the watch began.
	done []int
}

func startWatch(t *testing.T, name string, pods []pod) *watch {
	t.Helper()
	w := &watch{name: name, pods: pods, began: time.Now()}
	for _, p := range pods {
		w.done = append(w.done, len(p.calls(t)))
	}
	return w
}

// row summarizes the calls of all consumers during a step.
type row struct {
	name                   string
	seconds                int
	calls, refused, failed int
	tokens, renewed        int
	// issued is how many tokens the operator renewed. renewed is how many new tokens the pods began to use.
	issued         int
	delay, silence time.Duration
	restarts       int
	delays         []string
	firstFailure   string
	callsOf        [][]call
}

// row summarizes the time since the watch began.
func (w *watch) row(t *testing.T) row {
	t.Helper()
	r := row{name: w.name, seconds: int(time.Since(w.began).Seconds())}
	for i, p := range w.pods {
		now, restarts := time.Now(), p.restarts(t)
		all := p.calls(t)
		if len(all) < w.done[i] {
			t.Fatalf("%s: the log of %s has lost calls; its containers were restarted %d times", w.name, p.name, restarts)
		}
		since := all[w.done[i]:]
		r.callsOf = append(r.callsOf, since)
		var before call
		if w.done[i] > 0 {
			before = all[w.done[i]-1]
		}
		r.add(since, before)
		r.restarts += restarts
		r.silence = max(r.silence, silence(before, since, now))
	}
	return r
}

// add counts the calls of a pod. before is the call that precedes them, or an empty call.
func (r *row) add(calls []call, before call) {
	seen := map[string]bool{}
	for i, c := range calls {
		r.calls++
		switch c.Status {
		case http.StatusOK:
		case http.StatusUnauthorized:
			r.refused++
		default:
			r.failed++
			r.firstFailure = fmt.Sprintf("%d %s", c.Status, c.Error)
		}
		if c.Token == "" || seen[c.Token] {
			continue
		}
		seen[c.Token] = true
		if c.Token != before.Token && before.Token != "" || i > 0 {
			r.renewed++
			r.delay = max(r.delay, c.delay())
			r.delays = append(r.delays, c.delay().Round(time.Second).String())
		}
	}
	r.tokens += len(seen)
}

// silence returns the longest time without a call, from the call before (if there is one) until now.
func silence(before call, calls []call, now time.Time) time.Duration {
	var longest time.Duration
	last := before.Time
	for _, c := range calls {
		if !last.IsZero() {
			longest = max(longest, c.Time.Sub(last))
		}
		last = c.Time
	}
	return max(longest, now.Sub(last))
}

// wantServed fails if any call was refused, failed, or not made.
func (r *row) wantServed(t *testing.T) {
	t.Helper()
	if r.refused > 0 || r.failed > 0 {
		t.Errorf("%s: %d calls were refused, and %d failed (%s), want none", r.name, r.refused, r.failed, r.firstFailure)
	}
	if r.restarts > 0 {
		t.Errorf("%s: the consumers' containers were restarted %d times, want never", r.name, r.restarts)
	}
	// A consumer that makes no calls is not refused either.
	if r.silence > 10*time.Second || r.calls < len(r.callsOf)*r.seconds/2 {
		t.Errorf("%s: %d consumers made %d calls in %d s, with a pause of %s", r.name, len(r.callsOf), r.calls, r.seconds, r.silence)
	}
}

const header = "| step | seconds | calls | refused | failed | renewed in Secrets | new tokens in pods | longest token request to file | longest pause | pod restarts |\n|---|---|---|---|---|---|---|---|---|---|\n"

func (r *row) String() string {
	longest := "-"
	if r.renewed > 0 {
		longest = r.delay.Round(time.Second).String()
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %s | %s | %d |\n", r.name, r.seconds, r.calls, r.refused, r.failed, r.issued, r.renewed, longest, r.silence.Round(100*time.Millisecond), r.restarts)
}

// timeline describes the calls of a pod since a moment. Equal results in consecutive seconds share a line.
func timeline(calls []call, from time.Time) string {
	type stretch struct {
		first, last time.Duration
		result      string
		calls       int
	}
	var stretches []stretch
	for _, c := range calls {
		if c.Time.Before(from) {
			continue
		}
		at := c.Time.Sub(from).Truncate(time.Second)
		result := fmt.Sprintf("%d with token %s", c.Status, c.Token)
		if c.Status == 0 {
			result = "no answer with token " + c.Token
		}
		if len(stretches) > 0 && stretches[len(stretches)-1].result == result {
			stretches[len(stretches)-1].last = at
			stretches[len(stretches)-1].calls++
			continue
		}
		stretches = append(stretches, stretch{at, at, result, 1})
	}
	var lines []string
	for _, s := range stretches {
		lines = append(lines, fmt.Sprintf("    +%3.0f s to +%3.0f s: %3d calls, %s", s.first.Seconds(), s.last.Seconds(), s.calls, s.result))
	}
	return strings.Join(lines, "\n")
}
