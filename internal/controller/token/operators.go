// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import "time"

const (
	// mostFinds is from how many records of another operator in a row on the operator says so. One
	// record is what an operator leaves that was moved to another namespace.
	mostFinds = 3
	// leastFindGap is the shortest time after the last find for which the other operator is expected to
	// write again.
	leastFindGap = time.Hour
)

// otherOperator is another operator that writes the Secret of this PipedreamToken. It is not restored
// after a restart: nothing is said of an operator that may be gone.
type otherOperator struct {
	// name is the namespace and the name of its Lease; empty for an operator without leader election.
	name string
	// inputs are the ones of the record that was found last; empty after a write by this process.
	inputs string
	// finds is how many records in a row were found.
	finds int
	// last is when the last one was found. For the time of gap after that, another one is expected.
	last time.Time
	gap  time.Duration
}

// found returns what is known after a record of an operator was found. The same record counts once.
func (o *otherOperator) found(name, inputs string, life time.Duration, now time.Time) *otherOperator {
	if o != nil && o.name == name && o.inputs == inputs {
		return o
	}
	next := otherOperator{name: name, inputs: inputs, finds: 1, last: now, gap: max(leastFindGap, 3*life)}
	if o.isExpected(now) && o.name == name {
		next.finds = o.finds + 1
	}
	return &next
}

// overwritten returns what is known after this process has written the Secret.
func (o *otherOperator) overwritten() *otherOperator {
	if o == nil {
		return nil
	}
	next := *o
	next.inputs = ""
	return &next
}

// isExpected reports whether another operator is expected to write the Secret again.
func (o *otherOperator) isExpected(now time.Time) bool {
	return o != nil && now.Sub(o.last).Abs() <= o.gap
}

// isCertain reports whether another operator has written the Secret again and again.
func (o *otherOperator) isCertain(now time.Time) bool {
	return o.isExpected(now) && o.finds >= mostFinds
}
