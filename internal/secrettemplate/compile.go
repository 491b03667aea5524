// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"strings"
	"text/template/parse"
)

// expression is a part of a template that the compiler has checked.
type expression struct {
	kind kind
	// isLiteral is true if the template itself has the text in quotes. literal is that text.
	isLiteral bool
	literal   string
	// secret is the first secret value that the expression depends on; nil if it depends on none.
	secret *secret
	// isVisibleASCII is true if all secret values that the expression depends on are visible ASCII.
	isVisibleASCII bool
	// isQuoted is true if the expression is a string or a list of JSON, whatever its secret values
	// are.
	isQuoted bool
	// maxBytes is the maximum length. For a list, it is the maximum length of all elements together.
	// elements is the number of elements of a list. Both depend on the lengths of values, never on
	// their content.
	maxBytes, elements int
	// value returns a string, a list of strings or a bool, depending on kind.
	value func() (any, *Error)
}

// secret describes a secret value in errors. It does not hold the value.
type secret struct {
	// noun is the field Secret of the Name, such as "the access token".
	noun string
	// name is the name as templates write it, such as `.AccessToken`.
	name string
}

// writer writes a part of a template, which the compiler has checked, to compiler.written.
type writer func() *Error

// compiler checks one template and makes a writer of it. It accepts only the kinds of nodes that
// it names, and checks all branches before anything is rendered. Its recursion is as deep as
// the parser's, and MaxTemplate limits both.
type compiler struct {
	vocabulary *Vocabulary
	values     Values
	// budget is shared by all templates of the Secret.
	budget *budget
	source source
	// isJSON is true if the template must show secret values as JSON.
	isJSON bool
	// written is the value that the template has rendered so far.
	written []byte
}

// write returns a writer of a text.
func (c *compiler) write(text string) writer {
	return func() *Error {
		c.written = append(c.written, text...)
		return nil
	}
}

func (c *compiler) compileList(list *parse.ListNode) (writer, *Error) {
	var writers []writer
	if list != nil {
		for _, node := range list.Nodes {
			write, err := c.compileNode(node)
			if err != nil {
				return nil, err
			}
			writers = append(writers, write)
		}
	}
	return func() *Error {
		for _, write := range writers {
			if err := write(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (c *compiler) compileNode(node parse.Node) (writer, *Error) {
	switch node := node.(type) {
	case *parse.TextNode:
		return c.write(string(node.Text)), c.budget.reserve(c.source, node, len(node.Text))
	case *parse.ActionNode:
		return c.compileAction(node)
	case *parse.IfNode:
		return c.compileIf(node)
	}
	if why, ok := whyNotNode[node.Type()]; ok {
		return nil, c.source.errorAt(node, "%s", why)
	}
	return nil, c.source.errorAt(node, "only texts, values, functions and `if` are available")
}

// whyNotNode has advice for kinds of nodes that authors may try although they are not available.
var whyNotNode = map[parse.NodeType]string{
	parse.NodeRange:    "`range` is not available: there are no loops; name each value",
	parse.NodeWith:     "`with` is not available: name the value where it is used",
	parse.NodeTemplate: "`template` and `block` are not available: write the text where it belongs",
}

func (c *compiler) compileAction(node *parse.ActionNode) (writer, *Error) {
	shown, err := c.compilePipe(node.Pipe)
	if err != nil {
		return nil, err
	}
	if shown.kind != aText {
		return nil, c.source.errorAt(node.Pipe, "%s can't be shown: make it a text", shown.kind)
	}
	if c.isJSON && shown.secret != nil && !shown.isQuoted {
		return nil, c.source.errorAt(node.Pipe, "in JSON %s must be shown by `toJson`, as in `{{ %s | toJson }}`, without quotes around it",
			shown.secret.noun, shown.secret.name)
	}
	return func() *Error {
		text, err := shown.value()
		if err != nil {
			return err
		}
		return c.write(text.(string))()
	}, c.budget.reserve(c.source, node.Pipe, shown.maxBytes)
}

func (c *compiler) compileIf(node *parse.IfNode) (writer, *Error) {
	condition, err := c.compilePipe(node.Pipe)
	if err != nil {
		return nil, err
	}
	if condition.kind != aTruth {
		return nil, c.source.errorAt(node.Pipe, "`if` wants a condition, such as `%s`, not %s", c.vocabulary.Condition, condition.kind)
	}
	left := c.budget.secretBytes
	then, err := c.compileList(node.List)
	if err != nil {
		return nil, err
	}
	leftAfterThen := c.budget.secretBytes
	c.budget.secretBytes = left
	otherwise, err := c.compileList(node.ElseList)
	if err != nil {
		return nil, err
	}
	c.budget.secretBytes = min(c.budget.secretBytes, leftAfterThen)
	return func() *Error {
		isTrue, err := condition.value()
		if err != nil {
			return err
		}
		if isTrue.(bool) {
			return then()
		}
		return otherwise()
	}, nil
}

// compilePipe compiles the commands of a pipeline. Each command passes its value to the next command.
func (c *compiler) compilePipe(pipe *parse.PipeNode) (expression, *Error) {
	if len(pipe.Decl) > 0 {
		return expression{}, c.source.errorAt(pipe, "variables are not available: name the value where it is used")
	}
	var result expression
	for i, command := range pipe.Cmds {
		var passed []expression
		if i > 0 {
			passed = []expression{result}
		}
		var err *Error
		if result, err = c.compileCommand(command, passed); err != nil {
			return expression{}, err
		}
	}
	return result, nil
}

func (c *compiler) compileCommand(command *parse.CommandNode, passed []expression) (expression, *Error) {
	first := command.Args[0]
	if name, ok := first.(*parse.IdentifierNode); ok {
		if err := c.checkName(name); err != nil {
			return expression{}, err
		}
		args, err := c.compileOperands(command.Args[1:])
		if err != nil {
			return expression{}, err
		}
		return c.compileCall(name, append(args, passed...))
	}
	if len(command.Args) > 1 || len(passed) > 0 {
		return expression{}, c.source.errorAt(first, "this is no function, and takes no arguments")
	}
	return c.compileOperand(first)
}

func (c *compiler) compileOperands(nodes []parse.Node) ([]expression, *Error) {
	operands := make([]expression, 0, len(nodes)+1)
	for _, node := range nodes {
		operand, err := c.compileOperand(node)
		if err != nil {
			return nil, err
		}
		operands = append(operands, operand)
	}
	return operands, nil
}

func (c *compiler) compileOperand(node parse.Node) (expression, *Error) {
	switch node := node.(type) {
	case *parse.FieldNode:
		return c.compileField(node)
	case *parse.StringNode:
		return expression{
			kind: aText, isLiteral: true, literal: node.Text, maxBytes: len(node.Text),
			value: func() (any, *Error) { return node.Text, nil },
		}, nil
	case *parse.PipeNode:
		inner, err := c.compilePipe(node)
		inner.isLiteral = false
		return inner, err
	case *parse.IdentifierNode: // As in Go, a function in place of an argument is called without arguments.
		return c.compileCall(node, nil)
	case *parse.DotNode:
		return expression{}, c.source.errorAt(node, "`.` alone is not available: name a value, which are %s", c.vocabulary.list())
	}
	if why, ok := whyNotOperand[node.Type()]; ok {
		return expression{}, c.source.errorAt(node, "%s", why)
	}
	return expression{}, c.source.errorAt(node, "only values, texts in quotes and functions are available, no numbers, `true`, `false` or `nil`")
}

// whyNotOperand has advice for operands that authors may try although they are not available.
var whyNotOperand = map[parse.NodeType]string{
	parse.NodeVariable: "variables and `$` are not available: name the value where it is used",
	parse.NodeChain:    "a text has no fields",
}

func (c *compiler) compileField(node *parse.FieldNode) (expression, *Error) {
	full := strings.Join(node.Ident, ".")
	name, ok := c.vocabulary.find(node.Ident)
	if !ok {
		return expression{}, c.source.errorAt(node, "there is no value `.%s`: there are %s", shorten(full), c.vocabulary.list())
	}
	value, isPresent := c.values[full]
	compiled := expression{kind: aText, maxBytes: len(value), value: func() (any, *Error) {
		if !isPresent && !name.AbsentIsEmpty {
			return nil, c.source.errorAt(node, "%s", c.vocabulary.whyAbsent(node.Ident, c.values))
		}
		return value, nil
	}}
	if name.Secret != "" {
		compiled.secret = &secret{noun: name.Secret, name: "." + shorten(full)}
		compiled.isVisibleASCII = name.IsVisibleASCII
	}
	return compiled, nil
}

// checkName returns an error if the function is unknown. It runs before the arguments are
// compiled, so that an unknown function is the first error that is reported.
func (c *compiler) checkName(node *parse.IdentifierNode) *Error {
	if _, ok := functions[node.Ident]; !ok {
		return c.source.errorAt(node, "the function `%s` is not available: %s", shorten(node.Ident), c.vocabulary.insteadOf(node.Ident))
	}
	return nil
}

func (c *compiler) compileCall(node *parse.IdentifierNode, args []expression) (expression, *Error) {
	if err := c.checkName(node); err != nil {
		return expression{}, err
	}
	called := functions[node.Ident]
	if wrong := called.checkArguments(node.Ident, args); wrong != "" {
		return expression{}, c.source.errorAt(node, "%s", wrong)
	}
	made := called.on(args)
	if made.secret != nil && called.readsContent {
		return expression{}, c.source.errorAt(node, "%s can't be compared, cut or changed in case, as `%s` would", made.secret.noun, node.Ident)
	}
	return made, c.budget.charge(c.source, node, made.maxBytes+made.elements+1)
}

// shorten shortens a name of any length, so that errors stay short.
func shorten(name string) string {
	const maxRunes = 40
	if runes := []rune(name); len(runes) > maxRunes {
		return string(runes[:maxRunes]) + "…"
	}
	return name
}
