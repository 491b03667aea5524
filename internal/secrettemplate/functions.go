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

// kind is what an expression stands for. All is known before anything is rendered.
type kind string

const (
	aText  kind = "a text"
	aList  kind = "a list"
	aTruth kind = "a condition"
	// aLiteral is a short text that stands in the template itself.
	aLiteral kind = "a text of at most 16 bytes in quotes"
	// textOrList is for parameters only.
	textOrList kind = "a text or a list"
)

// takes tells whether an expression can stand for a parameter.
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

// function is one that templates may call. What it returns is at most a constant
// times its arguments.
type function struct {
	parameters []kind
	// isVariadic tells that the last parameter may be repeated.
	isVariadic bool
	returns    kind
	// tells is set where the outcome, rather than only its length and what it looks
	// like, depends on what the arguments are: nobody may learn of the token by such.
	tells bool
	// quotes tells what it returns JSON of, whatever secret values it is given.
	quotes quoting
	// most returns the most bytes that the function can return; nil for a condition.
	most func(args []expression) int
	call func(args []any) any
}

// quoting says of which values a function returns JSON.
type quoting int

const (
	nothing quoting = iota
	// visibleASCII is for Go's escapes: JSON has no `\x01`.
	visibleASCII
	everything
)

// checkArguments says what is wrong with the arguments of a call; empty if nothing is.
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

// of returns the expression of a call.
func (f function) of(args []expression) expression {
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
	if f.most != nil {
		made.most = f.most(args)
	}
	if f.returns == aList {
		made.elements = len(args)
	}
	return made
}

// What a function makes of the bytes of its arguments at most.

func asMany(args []expression) int {
	sum := 0
	for _, arg := range args {
		sum += arg.most
	}
	return sum
}

func ofBase64(args []expression) int { return base64.StdEncoding.EncodedLen(args[0].most) }

// ofCase is for bytes that are no UTF-8: each becomes a character of three bytes.
func ofCase(args []expression) int { return 3 * args[0].most }

// ofQuote is for control characters: `\x01`.
func ofQuote(args []expression) int { return 4*args[0].most + len(`""`) }

// ofJSON is for control characters, and for `<`, `>` and `&`: `\u003c`.
func ofJSON(args []expression) int {
	return 6*args[0].most + len(`"",`)*max(args[0].elements, 1) + len(`[]`)
}

func ofJoin(args []expression) int { return args[1].most + args[0].most*args[1].elements }

// functions are all that templates may call: those of slim-sprig, which Helm's users
// know from sprig, and the conditions of Go's templates.
var functions = map[string]function{
	"b64enc":     {parameters: []kind{aText}, returns: aText, most: ofBase64, call: ofText("b64enc")},
	"join":       {parameters: []kind{aLiteral, aList}, returns: aText, most: ofJoin, call: join},
	"list":       {parameters: []kind{aText}, isVariadic: true, returns: aList, most: asMany, call: list},
	"lower":      {parameters: []kind{aText}, returns: aText, tells: true, most: ofCase, call: ofText("lower")},
	"quote":      {parameters: []kind{aText}, returns: aText, quotes: visibleASCII, most: ofQuote, call: quote},
	"toJson":     {parameters: []kind{textOrList}, returns: aText, quotes: everything, most: ofJSON, call: toJSON},
	"trim":       {parameters: []kind{aText}, returns: aText, tells: true, most: asMany, call: ofText("trim")},
	"trimPrefix": {parameters: []kind{aText, aText}, returns: aText, tells: true, most: asMany, call: ofTexts("trimPrefix")},
	"trimSuffix": {parameters: []kind{aText, aText}, returns: aText, tells: true, most: asMany, call: ofTexts("trimSuffix")},
	"upper":      {parameters: []kind{aText}, returns: aText, tells: true, most: ofCase, call: ofText("upper")},

	"and": {parameters: []kind{aTruth}, isVariadic: true, returns: aTruth, call: func(args []any) any { return !slices.Contains(args, any(false)) }},
	"eq":  {parameters: []kind{aText, aText}, returns: aTruth, tells: true, call: func(args []any) any { return args[0] == args[1] }},
	"ne":  {parameters: []kind{aText, aText}, returns: aTruth, tells: true, call: func(args []any) any { return args[0] != args[1] }},
	"not": {parameters: []kind{aTruth}, returns: aTruth, call: func(args []any) any { return !args[0].(bool) }},
	"or":  {parameters: []kind{aTruth}, isVariadic: true, returns: aTruth, call: func(args []any) any { return slices.Contains(args, any(true)) }},
}

// fromSprig holds slim-sprig's functions. That they have the types they are used with
// is found out when the program starts.
var fromSprig = sprig.TxtFuncMap()

func ofText(name string) func([]any) any {
	call := fromSprig[name].(func(string) string)
	return func(args []any) any { return call(args[0].(string)) }
}

func ofTexts(name string) func([]any) any {
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

// insteadOf says what to use in place of a function that is not available.
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
