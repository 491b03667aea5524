// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"fmt"
	"strings"
	"text/template/parse"
	"unicode/utf8"
)

// mainName is the name of each parsed template. It is too long for a template of at most
// MaxTemplate to define or call a template of the same name.
var mainName = strings.Repeat("x", MaxTemplate)

func parseTemplate(text string) (*parse.ListNode, *Error) {
	if len(text) > MaxTemplate {
		return nil, &Error{Detail: fmt.Sprintf("the template is longer than %d bytes", MaxTemplate)}
	}
	if !utf8.ValidString(text) {
		return nil, &Error{Detail: "the template is not valid UTF-8"}
	}
	tree := parse.New(mainName)
	tree.Mode = parse.SkipFuncCheck // The compiler reports unknown functions with better advice.
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

// syntaxErrors have this package's texts for common errors of the parser. part is a part of the
// parser's message.
var syntaxErrors = []struct{ part, detail string }{
	{"undefined variable", "variables are not available: name the value where it is used"},
	{"outside {{range}}", "`break` and `continue` are not available: there are no loops"},
	{"unclosed action", "an action is not closed with `}}`"},
	{"unterminated", "a text in quotes is not closed"},
	{"unclosed left paren", "a parenthesis is not closed"},
	{"unexpected right paren", "a parenthesis is closed that was not opened"},
	{"unclosed comment", "a comment is not closed with `*/}}`"},
	{"unexpected EOF", "an `if` has no `{{ end }}`"},
	{"unexpected {{end}}", "an `{{ end }}` has no `if`"},
	{"unexpected {{else}}", "an `{{ else }}` has no `if`"},
	{"missing value", "an action is empty"},
	{"non executable", "only a function can take what stands before a `|`"},
}

// syntaxError describes an error of the parser without the parts of the template that the
// parser quotes, because a person who sees the message may not be allowed to see the template.
func syntaxError(err error) *Error {
	described := &Error{Detail: "the template can't be parsed"}
	message, _ := strings.CutPrefix(err.Error(), "template: "+mainName+":")
	if _, scanErr := fmt.Sscanf(message, "%d:", &described.Line); scanErr != nil {
		return described
	}
	if _, begin, ok := strings.Cut(message, "action started at "+mainName+":"); ok {
		_, _ = fmt.Sscanf(begin, "%d", &described.Line) // No template is long enough to contain mainName.
	}
	for _, known := range syntaxErrors {
		if strings.Contains(message, known.part) {
			described.Detail = known.detail
			break
		}
	}
	return described
}
