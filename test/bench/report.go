// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// budget is the most that a figure may be, or the least.
type budget struct {
	Value float64 `json:"value"`
	// IsLeast tells that the figure must not be below the value, instead of above.
	IsLeast bool `json:"isLeast,omitempty"`
	// IsSoft tells that it depends on the machine: a miss is shown, and fails nothing.
	IsSoft bool `json:"isSoft,omitempty"`
}

func atMost(value float64) *budget  { return &budget{Value: value} }
func atLeast(value float64) *budget { return &budget{Value: value, IsLeast: true} }

// soft makes the budget one that fails nothing.
func (b *budget) soft() *budget {
	b.IsSoft = true
	return b
}

func (b *budget) String() string {
	if b == nil {
		return ""
	}
	sign := "<= "
	if b.IsLeast {
		sign = ">= "
	}
	return sign + show(b.Value)
}

// figure is what was measured.
type figure struct {
	Case   string  `json:"case"`
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	Budget *budget `json:"budget,omitempty"`
}

func (f figure) isMissed() bool {
	// What is shown is what counts: a hundred-thousandth above is no miss.
	const tolerance = 1e-9
	switch {
	case f.Budget == nil:
		return false
	case f.Budget.IsLeast:
		return f.Value < f.Budget.Value-tolerance
	}
	return f.Value > f.Budget.Value+tolerance
}

func (f figure) verdict() string {
	switch {
	case f.Budget == nil:
		return ""
	case !f.isMissed():
		return "met"
	case f.Budget.IsSoft:
		return "missed (depends on the machine)"
	}
	return "MISSED"
}

// report is all that was measured.
type report struct {
	Machine string   `json:"machine"`
	Setting []string `json:"setting"`
	Figures []figure `json:"figures"`
	Took    string   `json:"took"`
}

func (r *report) add(of, name string, value float64, unit string, limit *budget) {
	r.Figures = append(r.Figures, figure{Case: of, Name: name, Value: value, Unit: unit, Budget: limit})
}

func (r *report) missed() (count int) {
	for _, f := range r.Figures {
		if f.isMissed() && !f.Budget.IsSoft {
			count++
		}
	}
	return count
}

// write prints the table, and writes the figures to a file.
func (r *report) write(out io.Writer, path string, began time.Time) error {
	r.Took = time.Since(began).Round(time.Second).String()
	r.Machine = machine()
	_, _ = fmt.Fprintf(out, "\n%s\n", r.Machine)
	for _, line := range r.Setting {
		_, _ = fmt.Fprintln(out, line)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(table, "\ncase\twhat\tmeasured\tbudget\t\n")
	before := ""
	for _, f := range r.Figures {
		name := f.Case
		if name == before {
			name = ""
		}
		before = f.Case
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\t%s\n", name, f.Name, show(f.Value), f.Unit, f.Budget, f.verdict())
	}
	_ = table.Flush()
	_, _ = fmt.Fprintf(out, "\nmeasured in %s; budgets missed that are a count or a ratio: %d\n", r.Took, r.missed())
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the figures: %w", err)
	}
	if err := os.WriteFile(path, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}

// show returns a number with as many digits as say something.
func show(value float64) string {
	digits := 0
	switch {
	case value != 0 && value < 10 && value > -10:
		digits = 2
	case value < 100 && value > -100:
		digits = 1
	}
	text := strconv.FormatFloat(value, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// machine says what it was measured on.
func machine() string {
	model := "unknown processor"
	if content, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(content)) {
			if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
			}
		}
	}
	memory := ""
	if content, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kibibytes, err := statusField(string(content), "MemTotal"); err == nil {
			memory = fmt.Sprintf(", %.0f GiB", kibibytes/(1<<20))
		}
	}
	return fmt.Sprintf("%d cores of %s%s, %s", runtime.NumCPU(), model, memory, runtime.Version())
}
