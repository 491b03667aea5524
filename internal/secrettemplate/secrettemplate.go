// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package secrettemplate renders the values of a Secret from templates that
// somebody else has written. It is pure, and knows nothing of Kubernetes.
//
// A template is a Go template of few words: the fields of Values, conditions, and a
// short list of functions from slim-sprig. There are no loops, variables or nested
// templates, so that each value is used once, and all that functions can return is
// counted: time and memory are at most linear in the limits below. No error quotes a
// value.
//
// Who sees an error, or whether there is one, may not be allowed to see the token.
// Neither depends on the token, but for its length: what would tell of it can't take
// it, and what is counted is how much a function can return, and not how much it has
// returned.
package secrettemplate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template/parse"
	"unicode/utf8"
)

// The limits, in bytes but for MaxKeys.
const (
	// MaxTemplate is the most that a template may have.
	MaxTemplate = 8 << 10
	// MaxKeys is the most templates that a Secret may have.
	MaxKeys = 32
	// MaxSecret is the most that the keys and values of a Secret may have together,
	// whatever the token is.
	MaxSecret = 256 << 10
	// MaxWork is the most that the functions in all templates of a Secret may be able to
	// return together, in all branches.
	MaxWork = 1 << 20
	// maxSeparator is the most that a separator may have, so that what `join` returns
	// is at most a constant times its arguments.
	maxSeparator = 16
)

// Error says what is wrong with a template, and where. It quotes no value.
type Error struct {
	// Key is the key whose template it is; empty when it is about all of them.
	Key string
	// Line and Column are where, from 1 on; zero when that is not known.
	Line, Column int
	// Detail says what is wrong, and what to do instead.
	Detail string
}

func (e *Error) Error() string {
	var where strings.Builder
	if e.Key != "" {
		fmt.Fprintf(&where, "key `%s`", e.Key)
		if e.Line > 0 {
			fmt.Fprintf(&where, ", line %d", e.Line)
		}
		if e.Column > 0 {
			fmt.Fprintf(&where, ", column %d", e.Column)
		}
		where.WriteString(": ")
	}
	return where.String() + e.Detail
}

// Render renders the template of each key. Its error is an *Error, about the first
// key in alphabetical order whose template fails. The templates of jsonKeys must show
// secret values as JSON, so that whether the result is JSON does not depend on a secret.
func (v *Vocabulary) Render(templates map[string]string, values Values, jsonKeys ...string) (map[string][]byte, error) {
	if len(templates) > MaxKeys {
		return nil, &Error{Detail: fmt.Sprintf("there are more than %d keys", MaxKeys)}
	}
	r := newRenderer(v, values)
	data := make(map[string][]byte, len(templates))
	for _, key := range slices.Sorted(maps.Keys(templates)) {
		value, err := r.render(key, templates[key], slices.Contains(jsonKeys, key))
		if err != nil {
			err.Key = key
			return nil, err
		}
		data[key] = value
	}
	return data, nil
}

// KeyShowing returns the first key, in alphabetical order, whose template shows the value
// of a name and nothing else; empty when no template does. The name is written without the
// dot in front: `AccessToken`, or `Credentials.api_key`. KeyShowing looks at the templates
// only: a comparison of values would tell of a secret.
func KeyShowing(name string, templates map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(templates)) {
		if showsOnly(name, templates[key]) {
			return key
		}
	}
	return ""
}

func showsOnly(name, text string) bool {
	root, err := parseTemplate(text)
	if err != nil || root == nil || len(root.Nodes) != 1 {
		return false
	}
	action, ok := root.Nodes[0].(*parse.ActionNode)
	if !ok || len(action.Pipe.Decl) > 0 || len(action.Pipe.Cmds) != 1 || len(action.Pipe.Cmds[0].Args) != 1 {
		return false
	}
	shown, ok := action.Pipe.Cmds[0].Args[0].(*parse.FieldNode)
	return ok && strings.Join(shown.Ident, ".") == name
}

// renderer renders the templates of one Secret, one after the other.
type renderer struct {
	vocabulary *Vocabulary
	values     Values
	budget     budget
	// written is the value that the last template has rendered, as far as it got.
	written []byte
}

func newRenderer(vocabulary *Vocabulary, values Values) *renderer {
	return &renderer{vocabulary: vocabulary, values: values, budget: budget{room: MaxSecret, work: MaxWork}}
}

func (r *renderer) render(key, text string, isJSON bool) ([]byte, *Error) {
	r.written = nil
	root, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	c := &compiler{
		vocabulary: r.vocabulary, values: r.values, budget: &r.budget,
		source: source(text), isJSON: isJSON, written: []byte{},
	}
	if err := c.budget.reserve(c.source, root, len(key)); err != nil {
		return nil, err
	}
	write, err := c.compileList(root)
	if err != nil {
		return nil, err
	}
	err = write()
	if r.written = c.written; err != nil {
		return nil, err
	}
	return r.written, nil
}

// source is the text of a template.
type source string

// errorAt returns an error about what begins at a node.
func (s source) errorAt(node parse.Node, format string, args ...any) *Error {
	before := string(s[:min(int(node.Position()), len(s))])
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &Error{
		Line:   strings.Count(before, "\n") + 1,
		Column: utf8.RuneCountInString(line) + 1,
		Detail: fmt.Sprintf(format, args...),
	}
}

// budget counts what the templates of one Secret cost.
type budget struct {
	// room and work are what is left of MaxSecret and MaxWork.
	room, work int
}

// reserve counts what a part of a template can add to the Secret.
func (b *budget) reserve(s source, node parse.Node, most int) *Error {
	if b.room -= most; b.room < 0 {
		return s.errorAt(node, "the Secret could have more than %d KiB", MaxSecret>>10)
	}
	return nil
}

// charge counts what a function can return.
func (b *budget) charge(s source, node parse.Node, most int) *Error {
	if b.work -= most; b.work < 0 {
		return s.errorAt(node, "the functions of all templates together could return more than %d KiB", MaxWork>>10)
	}
	return nil
}
