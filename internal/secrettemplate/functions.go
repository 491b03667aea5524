// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	sprig "github.com/go-task/slim-sprig/v3"
)

// kind is the type of an expression. The compiler knows each kind before it renders anything.
type kind string

const (
	aText  kind = "a text"
	aList  kind = "a list"
	aTruth kind = "a condition"
	// aLiteral is for parameters only: a short text that the template itself has in quotes.
	aLiteral kind = "a text of at most 16 bytes in quotes"
	// textOrList is for parameters only.
	textOrList kind = "a text or a list"
)

// takes reports whether an expression can be the argument for a parameter.
func (k kind) takes(e expression) bool {
	switch k {
	case aLiteral:
		return e.isLiteral && len(e.literal) <= maxSeparator
	case textOrList:
		return e.kind == aText || e.kind == aList
	case aText, aList, aTruth:
	}
	return e.kind == k
}

// function is a function that templates may call. The length of its result is at most a
// constant factor times the length of its arguments.
type function struct {
	parameters []kind
	// isVariadic is true if the last parameter may be repeated.
	isVariadic bool
	returns    kind
	// readsContent is true if the result depends on the content of an argument in a way that a
	// reader of the status could observe, for example by a comparison. The compiler refuses secret
	// arguments for such a function.
	readsContent bool
	// quotes says for which secret arguments the result is always JSON. The zero value means that
	// there is no such argument.
	quotes quoting
	// maxBytes returns the maximum length of the result; nil for a condition.
	maxBytes func(args []expression) int
	call     func(args []any) any
}

// quoting says which values a function turns into JSON.
type quoting int

const (
	// visibleASCII is for a function that writes Go's escapes. Some of Go's escapes, such as
	// `\x01`, are not JSON.
	visibleASCII quoting = iota + 1
	everything
)

// checkArguments returns a description of the first error in the arguments of a call; empty if there is none.
func (f function) checkArguments(name string, args []expression) string {
	wanted := len(f.parameters)
	if len(args) != wanted && (!f.isVariadic || len(args) < wanted) {
		return fmt.Sprintf("`%s` wants %d arguments, and has %d", name, wanted, len(args))
	}
	for i, arg := range args {
		if parameter := f.parameters[min(i, wanted-1)]; !parameter.takes(arg) {
			return fmt.Sprintf("argument %d of `%s` must be %s", i+1, name, parameter)
		}
	}
	return ""
}

// on returns the expression for a call of the function. The arguments must have passed checkArguments.
func (f function) on(args []expression) expression {
	made := expression{kind: f.returns, isVisibleASCII: true, value: func() (any, *Error) {
		values := make([]any, 0, len(args))
		for _, arg := range args {
			value, err := arg.value()
			if err != nil {
				return nil, err
			}
			values = append(values, value)
		}
		return f.call(values), nil
	}}
	for _, arg := range args {
		if arg.secret == nil {
			continue
		}
		made.isVisibleASCII = made.isVisibleASCII && arg.isVisibleASCII
		if made.secret == nil {
			made.secret = arg.secret
		}
	}
	made.isQuoted = f.quotes == everything || f.quotes == visibleASCII && made.isVisibleASCII
	if f.maxBytes != nil {
		made.maxBytes = f.maxBytes(args)
	}
	if f.returns == aList {
		made.elements = len(args)
	}
	return made
}

// The functions with the prefix max return the maximum length of a function's result. They
// know the maximum lengths of the arguments, and nothing of the content.

func maxSum(args []expression) int {
	sum := 0
	for _, arg := range args {
		sum += arg.maxBytes
	}
	return sum
}

func maxBase64(args []expression) int { return base64.StdEncoding.EncodedLen(args[0].maxBytes) }

// maxCase counts three bytes for each byte, because a byte that is not UTF-8 becomes a character
// of three bytes.
func maxCase(args []expression) int { return 3 * args[0].maxBytes }

// maxQuote counts four bytes for each byte, because a control character becomes `\x01`.
func maxQuote(args []expression) int { return 4*args[0].maxBytes + len(`""`) }

// maxJSON counts six bytes for each byte, because a control character, `<`, `>` or `&` becomes
// an escape such as `\u003c`.
func maxJSON(args []expression) int {
	return 6*args[0].maxBytes + len(`"",`)*max(args[0].elements, 1) + len(`[]`)
}

func maxJoin(args []expression) int { return args[1].maxBytes + args[0].maxBytes*args[1].elements }

// functions are all functions that templates may call. Most are from slim-sprig, which has
// functions of sprig that users of Helm know. The conditions are from Go's templates.
var functions = map[string]function{
	"b64enc":     {parameters: []kind{aText}, returns: aText, maxBytes: maxBase64, call: textFunction("b64enc")},
	"join":       {parameters: []kind{aLiteral, aList}, returns: aText, maxBytes: maxJoin, call: join},
	"list":       {parameters: []kind{aText}, isVariadic: true, returns: aList, maxBytes: maxSum, call: list},
	"lower":      {parameters: []kind{aText}, returns: aText, readsContent: true, maxBytes: maxCase, call: textFunction("lower")},
	"quote":      {parameters: []kind{aText}, returns: aText, quotes: visibleASCII, maxBytes: maxQuote, call: quote},
	"toJson":     {parameters: []kind{textOrList}, returns: aText, quotes: everything, maxBytes: maxJSON, call: toJSON},
	"trim":       {parameters: []kind{aText}, returns: aText, readsContent: true, maxBytes: maxSum, call: textFunction("trim")},
	"trimPrefix": {parameters: []kind{aText, aText}, returns: aText, readsContent: true, maxBytes: maxSum, call: twoTextFunction("trimPrefix")},
	"trimSuffix": {parameters: []kind{aText, aText}, returns: aText, readsContent: true, maxBytes: maxSum, call: twoTextFunction("trimSuffix")},
	"upper":      {parameters: []kind{aText}, returns: aText, readsContent: true, maxBytes: maxCase, call: textFunction("upper")},

	"and": {parameters: []kind{aTruth}, isVariadic: true, returns: aTruth, call: func(args []any) any { return !slices.Contains(args, any(false)) }},
	"eq":  {parameters: []kind{aText, aText}, returns: aTruth, readsContent: true, call: func(args []any) any { return args[0] == args[1] }},
	"ne":  {parameters: []kind{aText, aText}, returns: aTruth, readsContent: true, call: func(args []any) any { return args[0] != args[1] }},
	"not": {parameters: []kind{aTruth}, returns: aTruth, call: func(args []any) any { return !args[0].(bool) }},
	"or":  {parameters: []kind{aTruth}, isVariadic: true, returns: aTruth, call: func(args []any) any { return slices.Contains(args, any(true)) }},
}

// fromSprig holds slim-sprig's functions. If a function has another type than this package
// expects, the program panics at its start.
var fromSprig = sprig.TxtFuncMap()

func textFunction(name string) func([]any) any {
	call := fromSprig[name].(func(string) string)
	return func(args []any) any { return call(args[0].(string)) }
}

func twoTextFunction(name string) func([]any) any {
	call := fromSprig[name].(func(string, string) string)
	return func(args []any) any { return call(args[0].(string), args[1].(string)) }
}

var (
	sprigJoin   = fromSprig["join"].(func(string, any) string)
	sprigList   = fromSprig["list"].(func(...any) []any)
	sprigQuote  = fromSprig["quote"].(func(...any) string)
	sprigToJSON = fromSprig["toJson"].(func(any) string)
)

func join(args []any) any   { return sprigJoin(args[0].(string), args[1]) }
func list(args []any) any   { return sprigList(args...) }
func quote(args []any) any  { return sprigQuote(args...) }
func toJSON(args []any) any { return sprigToJSON(args[0]) }

var functionNames = slices.Sorted(maps.Keys(functions))

// insteadOf returns advice for a function that is not available.
func (v *Vocabulary) insteadOf(name string) string {
	switch name {
	case "print", "printf", "println", "cat":
		return "write texts and values side by side, or use `list` and `join`"
	case "html", "js", "urlquery", "squote", "toRawJson", "toPrettyJson", "mustToJson":
		return "use `toJson` or `quote`"
	case "default", "required", "empty", "coalesce", "ternary":
		if v.InsteadOfDefault != "" {
			return v.InsteadOfDefault
		}
	case "b64dec", "fromJson":
		return "write the text itself"
	}
	return "available are " + inBackticks(functionNames)
}
