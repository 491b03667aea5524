// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectlpipedream

import (
	"context"
	"fmt"
	"io"
	"time"
)

// state is the outcome of a check.
type state string

// The outcomes of a check.
const (
	stateOK      state = "ok"
	stateWarning state = "warning"
	stateFailed  state = "failed"
	stateUnknown state = "unknown"
)

// finding is a result of a check, with advice for the user.
type finding struct {
	state  state
	what   string
	advice string
}

func ok(format string, arguments ...any) finding {
	return finding{state: stateOK, what: fmt.Sprintf(format, arguments...)}
}

func failed(advice, format string, arguments ...any) finding {
	return finding{state: stateFailed, what: fmt.Sprintf(format, arguments...), advice: advice}
}

func warning(advice, format string, arguments ...any) finding {
	return finding{state: stateWarning, what: fmt.Sprintf(format, arguments...), advice: advice}
}

func unknown(advice, format string, arguments ...any) finding {
	return finding{state: stateUnknown, what: fmt.Sprintf(format, arguments...), advice: advice}
}

// report runs the checks of doctor and writes their findings. After the first error in writing it writes
// nothing.
type report struct {
	out io.Writer
	// timeout is the maximum time of each check.
	timeout   time.Duration
	hasFailed bool
	err       error
}

// check runs one check with a time limit, writes its findings, and reports whether none of them has failed.
// When the user interrupts the check, it writes nothing and returns false.
func (r *report) check(ctx context.Context, subject string, look func(context.Context) []finding) bool {
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	findings := look(limited)
	return ctx.Err() == nil && r.add(subject, findings...)
}

// add writes findings, and reports whether none of them has failed.
func (r *report) add(subject string, findings ...finding) bool {
	isGood := true
	for _, one := range findings {
		r.write(fmt.Sprintf("%-9s %-12s %s\n", one.state, subject, oneLine(one.what)))
		if one.advice != "" {
			r.write(fmt.Sprintf("%-9s %-12s -> %s\n", "", "", oneLine(one.advice)))
		}
		if one.state == stateFailed {
			isGood, r.hasFailed = false, true
		}
	}
	return isGood
}

func (r *report) write(text string) {
	if r.err == nil {
		_, r.err = io.WriteString(r.out, text)
	}
}
