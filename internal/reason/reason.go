// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reason holds all that is known of the reasons of conditions, as rows of a
// table: how a failure is paced, when a person is called, what happened, what to do
// about it, and who must act. Conditions, metrics, the plugin of kubectl and the tables
// of the documentation are made from these rows.
//
// This package knows no kind of object. It has the mechanics that kinds share, each
// written once. The rows of a kind are in a package of their own below this one: a row
// joins the mechanics of a reason with the conditions and the words of the kind, because
// the words name fields of its spec.
package reason

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipedream-operator/pipedream-operator/internal/pipedream"
)

// Class says how failed attempts are paced, and whether only a person can mend the cause.
type Class string

// The classes.
const (
	// NoFailure is the class of a reason that no failed attempt has.
	NoFailure Class = "NoFailure"
	// Missing: something that the spec refers to is not there yet, or something that is
	// being deleted is not gone yet. No attempt is possible before it is, and then one is
	// made at once.
	Missing Class = "Missing"
	// Refused: only a person can mend the cause. While an attempt is possible, one is
	// made after a minute, doubling to 15 minutes.
	Refused Class = "Refused"
	// Paused: Pipedream asks for fewer requests. The next attempt is made when the pause
	// of all requests ends.
	Paused Class = "Paused"
	// Transient: the cause may go away by itself. An attempt is made after a second,
	// doubling to 5 minutes. Failures of this class in a row are paced as one, even
	// when their reasons differ.
	Transient Class = "Transient"
	// Unknown is the class of a reason that this version does not know. Failures of this
	// class are paced like Transient ones, and each reason by itself.
	Unknown Class = "Unknown"
)

// NeedsPerson reports whether only a person can mend the cause of a failure.
func (c Class) NeedsPerson() bool { return c == Refused }

// Mechanics are the part of a row that is the same for all kinds of objects.
type Mechanics struct {
	// Reason is the name of the reason: a constant of api/v1alpha1.
	Reason string
	// Class is the class of a failed attempt that ends with the reason.
	Class Class
	// Stalls is true if attempts which keep failing for the reason call a person:
	// condition Stalled is True once they have failed for Grace.
	Stalls bool
	// Grace is how long attempts fail before a person is called; 0 means at once.
	Grace time.Duration
	// Kind is the kind of failed request to Pipedream that the reason stands for; empty
	// if the reason stands for none.
	Kind pipedream.Kind
	// Verdict is the result of verifying a token that the reason stands for; empty if
	// the reason stands for none.
	Verdict pipedream.Verdict
}

// StallsAt returns when a person is called, for attempts that have failed since the
// given time; zero if no person is ever called.
func (m Mechanics) StallsAt(since time.Time) time.Time {
	if !m.Stalls {
		return time.Time{}
	}
	return since.Add(m.Grace)
}

// Place is a condition and a status in which a reason appears.
type Place struct {
	// Condition is the type of the condition.
	Condition string
	// Status is the status of the condition while it has the reason.
	Status metav1.ConditionStatus
	// When says when the condition has the reason, for the documentation of the kind;
	// empty if Words.Short says it.
	When string
}

// String returns the place as the documentation writes it, such as `Ready=False`.
func (p Place) String() string { return p.Condition + "=" + string(p.Status) }

// Words are what people read of a reason. They may change in any release.
type Words struct {
	// Happened says what has happened. It begins a sentence and has no full stop.
	// `{detail}` in it stands for the detail of the failure. It is empty if no failed
	// attempt has the reason.
	Happened string
	// Advice says what to do, in full sentences. It is empty if no failed attempt has
	// the reason.
	Advice string
	// Meaning says in one sentence what the reason means for the owner of the object.
	Meaning string
	// Actor says who must act.
	Actor string
	// Short is the text of the column "in short" in the documentation.
	Short string
	// Retry is the text of the column "tried again" in the documentation; empty if there
	// is nothing to try again.
	Retry string
}

// Row is all that is known of one reason of one kind of objects.
type Row struct {
	Mechanics
	// Places are the conditions in which the reason appears, without Stalled.
	Places []Place
	Words
}

// detail is the part of Words.Happened that stands for the detail of a failure.
const detail = "{detail}"

// Explain returns what has happened and what to do about it, for a failure with a detail. The detail
// is empty if it is not known.
func (r Row) Explain(what string) (happened, advice string) {
	switch {
	case what != "":
		happened = strings.Replace(r.Happened, detail, what, 1)
	case r.Happened == detail:
		happened = strings.TrimSuffix(r.Meaning, ".")
	default:
		happened = strings.Replace(r.Happened, " ("+detail+")", "", 1)
	}
	return happened, r.Advice
}

// Table has the rows of one kind of objects, in the order in which the documentation
// lists them.
type Table []Row

// Lookup returns the row of a reason. It fails if there is none.
func (t Table) Lookup(reason string) (Row, error) {
	for i := range t {
		if t[i].Reason == reason {
			return t[i], nil
		}
	}
	return Row{}, fmt.Errorf("the reason %q has no row", reason)
}

// Of returns the row of a reason that was read from a status. The reason may come from
// another version of the operator: if there is no row, Of returns one that says so. A
// failure with such a reason calls no person.
func (t Table) Of(reason string) Row {
	row, err := t.Lookup(reason)
	if err != nil {
		return unknown(reason)
	}
	return row
}

// OfKind returns the row that stands for a failed request to Pipedream, and whether
// there is one.
func (t Table) OfKind(kind pipedream.Kind) (row Row, ok bool) {
	for i := range t {
		if t[i].Kind == kind && kind != "" {
			return t[i], true
		}
	}
	return Row{}, false
}

// OfVerdict returns the row that stands for a result of verifying a token, and whether
// there is one.
func (t Table) OfVerdict(verdict pipedream.Verdict) (row Row, ok bool) {
	for i := range t {
		if t[i].Verdict == verdict && verdict != "" {
			return t[i], true
		}
	}
	return Row{}, false
}

// unknown returns the row of a reason that this version does not know.
func unknown(reason string) Row {
	return Row{
		Mechanics: Mechanics{Reason: reason, Class: Unknown},
		Words: Words{
			Happened: "The last attempt failed for the reason `" + reason + "`, which this version of the operator does not know",
			Advice:   "Another version of the operator has set this reason. Look it up in the documentation of that version.",
			Meaning:  "This version of the program does not know the reason.",
			Actor:    "see the message, and the documentation of the operator's version",
		},
	}
}
