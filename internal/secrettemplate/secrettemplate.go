// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package secrettemplate renders the values of a Secret from templates that
// somebody else has written. It is pure, and knows nothing of Kubernetes.
//
// A template is a Go template of few words: the fields of Values, conditions, and a
// short list of functions from slim-sprig. There are no loops, variables or nested
// templates, so that each value is used once, and all that functions return is
// counted: time and memory are at most linear in the limits below. No error quotes a
// value.
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
	// MaxSecret is the most that the keys and values of a Secret may have together.
	MaxSecret = 256 << 10
	// MaxWork is the most that the functions in all templates of a Secret may return
	// together.
	MaxWork = 1 << 20
	// maxSeparator is the most that a separator may have, so that what `join` returns
	// is at most a constant times its arguments.
	maxSeparator = 16
)

// Values are what templates can show. An empty one is missing: to show it is an
// error.
type Values struct {
	AccessToken, TokenType, ExpiresAt, Scope, ProjectID, Environment string
}

// field is one of Values, and how to have it set when it is missing.
type field struct {
	of     func(Values) string
	remedy string
}

var fields = map[string]field{
	"AccessToken": {of: func(v Values) string { return v.AccessToken }},
	"TokenType":   {of: func(v Values) string { return v.TokenType }},
	"ExpiresAt":   {of: func(v Values) string { return v.ExpiresAt }},
	"Scope":       {of: func(v Values) string { return v.Scope }},
	"ProjectID":   {of: func(v Values) string { return v.ProjectID }, remedy: "set `spec.projectID`"},
	"Environment": {of: func(v Values) string { return v.Environment }, remedy: "set `spec.environment`"},
}

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
// key in alphabetical order whose template fails.
func Render(templates map[string]string, values Values) (map[string][]byte, error) {
	if len(templates) > MaxKeys {
		return nil, &Error{Detail: fmt.Sprintf("there are more than %d keys", MaxKeys)}
	}
	r := &renderer{values: values, room: MaxSecret, work: MaxWork}
	data := make(map[string][]byte, len(templates))
	for _, key := range slices.Sorted(maps.Keys(templates)) {
		value, err := r.render(key, templates[key])
		if err != nil {
			err.Key = key
			return nil, err
		}
		data[key] = value
	}
	return data, nil
}

// renderer renders the templates of one Secret, and counts what they cost.
type renderer struct {
	values Values
	// room and work are what is left of MaxSecret and MaxWork.
	room, work int
	// text is the template that is being rendered, and written what it has come to.
	text    string
	written []byte
}

func (r *renderer) render(key, text string) ([]byte, *Error) {
	r.text, r.written = text, []byte{}
	root, err := parseTemplate(text)
	if err != nil {
		return nil, err
	}
	write, err := r.compileList(root)
	if err != nil {
		return nil, err
	}
	if r.room -= len(key); r.room < 0 {
		return nil, r.tooLarge(root)
	}
	if err := write(); err != nil {
		return nil, err
	}
	return r.written, nil
}

// mainName is longer than any name that a template of MaxTemplate can define, so
// that none has it.
var mainName = strings.Repeat("x", MaxTemplate)

func parseTemplate(text string) (*parse.ListNode, *Error) {
	if len(text) > MaxTemplate {
		return nil, &Error{Detail: fmt.Sprintf("the template is longer than %d bytes", MaxTemplate)}
	}
	if !utf8.ValidString(text) {
		return nil, &Error{Detail: "the template is not valid UTF-8"}
	}
	tree := parse.New(mainName)
	tree.Mode = parse.SkipFuncCheck // The compiler knows better what to say.
	all := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", all); err != nil {
		return nil, syntaxError(err)
	}
	delete(all, mainName)
	if len(all) > 0 {
		return nil, &Error{Detail: "`define` and `block` are not available: write the text where it belongs"}
	}
	return tree.Root, nil
}

// syntaxErrors are the parser's messages that are worth a word of our own, by a part
// of them.
var syntaxErrors = []struct{ part, detail string }{
	{"undefined variable", "variables are not available: name the value where it is used"},
	{"outside {{range}}", "`break` and `continue` are not available: there are no loops"},
	{"unclosed action", "an action is not closed with `}}`"},
	{"unterminated", "a text in quotes is not closed"},
	{"unclosed left paren", "a parenthesis is not closed"},
	{"unexpected right paren", "a parenthesis is closed that was not opened"},
	{"unclosed comment", "a comment is not closed with `*/}}`"},
	{"unexpected EOF", "an `if` has no `{{ end }}`"},
	{"missing value", "an action is empty"},
	{"non executable", "only a function can take what stands before a `|`"},
}

// syntaxError describes an error of the parser without what it quotes: whoever sees
// the message may not be allowed to see the template.
func syntaxError(err error) *Error {
	described := &Error{Detail: "the template can't be parsed"}
	message, _ := strings.CutPrefix(err.Error(), "template: "+mainName+":")
	if _, scanErr := fmt.Sscanf(message, "%d:", &described.Line); scanErr != nil {
		return described
	}
	for _, known := range syntaxErrors {
		if strings.Contains(message, known.part) {
			described.Detail = known.detail
			break
		}
	}
	return described
}

// errorAt returns an error about what begins at a node.
func (r *renderer) errorAt(node parse.Node, format string, args ...any) *Error {
	before := r.text[:min(int(node.Position()), len(r.text))]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &Error{
		Line:   strings.Count(before, "\n") + 1,
		Column: utf8.RuneCountInString(line) + 1,
		Detail: fmt.Sprintf(format, args...),
	}
}

func (r *renderer) tooLarge(node parse.Node) *Error {
	return r.errorAt(node, "the Secret would have more than %d KiB", MaxSecret>>10)
}

// write adds to the value that is being rendered.
func (r *renderer) write(node parse.Node, text string) *Error {
	if r.room -= len(text); r.room < 0 {
		return r.tooLarge(node)
	}
	r.written = append(r.written, text...)
	return nil
}

// charge counts what a function has returned.
func (r *renderer) charge(node parse.Node, result any) *Error {
	switch result := result.(type) {
	case string:
		r.work -= len(result)
	case []any:
		for i := 0; i < len(result) && r.work >= 0; i++ {
			r.work -= len(result[i].(string)) + 1
		}
	}
	if r.work--; r.work < 0 {
		return r.errorAt(node, "the functions of all templates together return more than %d KiB", MaxWork>>10)
	}
	return nil
}
