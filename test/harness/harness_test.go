// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipedream-operator/pipedream-operator/test/harness"
)

// shell returns a command that runs a script.
func shell(script string) harness.Command {
	return harness.Command{Path: "sh", Arguments: []string{"-c", script}}
}

// wantIn checks that an error contains all parts.
func wantIn(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error is %q, want %q in it", err, part)
		}
	}
}

func TestAWaitEndsWhenThereIsNoProblem(t *testing.T) {
	t.Parallel()
	left := 3
	harness.Wait{Every: time.Millisecond}.Eventually(t, "the countdown", func() string {
		if left--; left > 0 {
			return "it goes on"
		}
		return ""
	})
	if left != 0 {
		t.Errorf("%d steps are left, want none", left)
	}
}

func TestAFailedWaitNamesTheConditionAndTheLastProblem(t *testing.T) {
	t.Parallel()
	values := []string{"one", "two", "three"}
	err := harness.Wait{
		Patience: 50 * time.Millisecond, Every: time.Millisecond, Explain: func() string { return "more about it" },
	}.Until(t.Context(), "the fourth value", func() string {
		if len(values) > 1 {
			values = values[1:]
		}
		return "it is " + values[0]
	})
	wantIn(t, err, "the fourth value", "it is three", "more about it")
	if strings.Contains(err.Error(), "it is two") {
		t.Errorf("the error holds an old problem: %v", err)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	err := harness.Wait{}.Until(ctx, "anything", harness.Holds(func() bool { return false }))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want context.Canceled", err)
	}
}

func TestAWaitEndsWithItsProcess(t *testing.T) {
	t.Parallel()
	process := shell("echo too bad; exit 3").MustStart(t)
	err := harness.Wait{Process: process}.Until(t.Context(), "good news", harness.Holds(func() bool { return false }))
	wantIn(t, err, "sh ended", "exit status 3", "good news", "too bad")
}

func TestRunReturnsStdoutAndItsErrorHasStderr(t *testing.T) {
	t.Parallel()
	command := harness.Command{Path: "sh", Arguments: []string{"-c", `read -r line; echo "$line $WORD"`}, Stdin: "good\n", Environment: []string{"WORD=morning"}}
	output, err := command.Run(t.Context())
	if err != nil || output != "good morning\n" {
		t.Errorf("the program printed %q and ended with %v", output, err)
	}
	_, err = shell("echo out; echo problem >&2; exit 1").Run(t.Context())
	wantIn(t, err, "sh -c", "exit status 1", "problem")
}

func TestStopEndsAProcess(t *testing.T) {
	t.Parallel()
	process := shell(`trap 'echo bye; exit 0' TERM; echo "listening on here"; while :; do sleep 0.01; done`).MustStart(t)
	rest, err := process.AwaitLine(t.Context(), harness.Patience, "listening on ")
	if err != nil || rest != "here" {
		t.Fatalf("the rest of the line is %q (%v), want here", rest, err)
	}
	if process.HasEnded() {
		t.Fatal("the process ended before it was stopped")
	}
	if err := process.Stop(harness.Patience); err != nil {
		t.Error(err)
	}
	if got := process.Log.Tail(1); got != "bye" || process.ExitCode() != 0 {
		t.Errorf("the last line is %q and the exit code %d, want bye and 0", got, process.ExitCode())
	}
}

func TestAProcessThatDoesNotEndIsKilled(t *testing.T) {
	t.Parallel()
	process := shell(`trap '' TERM; echo ready; while :; do sleep 0.01; done`).MustStart(t)
	_, err := process.AwaitLine(t.Context(), harness.Patience, "ready")
	harness.Must(t, err)
	if err := process.Stop(50 * time.Millisecond); !errors.Is(err, harness.ErrStillRuns) {
		t.Errorf("the error is %v, want ErrStillRuns", err)
	}
	if !process.HasEnded() {
		t.Error("the process still runs")
	}
}

func TestAProcessThatEndsWithAnError(t *testing.T) {
	t.Parallel()
	process := shell("exit 7").MustStart(t)
	wantIn(t, process.Wait(harness.Patience), "sh ended with an error", "exit status 7")
	if err := process.Signal(syscall.SIGTERM); err == nil {
		t.Error("a signal to an ended process returned no error")
	}
	process.Kill() // It must return.
}

func TestAProgramThatDoesNotExist(t *testing.T) {
	t.Parallel()
	_, err := harness.Command{Path: "/does/not/exist"}.Start(t.Context())
	wantIn(t, err, "/does/not/exist", "make build")
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	url := harness.MustServe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer the-token" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	if problem := harness.Answers(t.Context(), url, "the-token", http.StatusOK); problem != "" {
		t.Error(problem)
	}
	if problem := harness.Answers(t.Context(), url, "", http.StatusOK); !strings.Contains(problem, "401") {
		t.Errorf("the problem is %q, want 401 in it", problem)
	}
	if problem := harness.Answers(t.Context(), "http://"+harness.MustFreeAddress(t), "", http.StatusOK); !strings.Contains(problem, "refused") {
		t.Errorf("without a server the problem is %q, want a refused connection", problem)
	}
}

func TestTheCommandOfAManager(t *testing.T) {
	t.Parallel()
	got := harness.Manager{
		Path: "manager", Kubeconfig: "file", Pipedream: "http://here", Namespace: "system", Probes: "127.0.0.1:1", Flags: []string{"--leader-elect"},
	}.Command()
	want := harness.Command{
		Path: "manager", Environment: []string{"POD_NAMESPACE=system"},
		Arguments: []string{
			"--kubeconfig=file", "--api-url=http://here", "--metrics-bind-address=0", "--health-probe-bind-address=127.0.0.1:1",
			"--allow-insecure-api-url", "--leader-elect",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the command differs (-want +got):\n%s", diff)
	}
	if secure := (harness.Manager{Pipedream: "https://here"}).Command(); strings.Contains(strings.Join(secure.Arguments, " "), "insecure") {
		t.Errorf("the arguments for an https address allow an insecure address: %q", secure.Arguments)
	}
}
