// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package secrettemplate

import (
	"strings"
	"text/template/parse"
)

// expression is a checked part of a template.
type expression struct {
	kind kind
	// isLiteral tells that it stands in the template itself, as literal.
	isLiteral bool
	literal   string
	// secret is the first secret value that it depends on; nil if it depends on none.
	secret *secret
	// isVisibleASCII tells that all secret values that it depends on are visible ASCII.
	isVisibleASCII bool
	// isQuoted tells that it is a string or list of JSON, whatever its secret values are.
	isQuoted bool
	// most is the most bytes that it can have, all elements of a list together, of
	// which there are as many as elements says. It depends on the lengths of values
	// only.
	most, elements int
	// value returns a string, a list of strings or a bool, as kind says.
	value func() (any, *Error)
}

// secret is a secret value in errors.
type secret struct {
	// noun says what it is, as in Name.Secret; name is how templates write it.
	noun, name string
}

// writer renders a checked part of a template.
type writer func() *Error

// compiler compiles one template. What it returns writes to written.
type compiler struct {
	vocabulary *Vocabulary
	values     Values
	// budget is that of the whole Secret.
	budget *budget
	source source
	// isJSON tells that the template must quote the token.
	isJSON  bool
	written []byte
}

// write adds to the value that is being rendered.
func (c *compiler) write(text string) writer {
	return func() *Error {
		c.written = append(c.written, text...)
		return nil
	}
}

// The compiler knows no node but those it names, and checks all branches before
// anything is rendered. It recurses as deep as the parser has, which MaxTemplate
// bounds.

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

// whyNotNode says what to do without the nodes that somebody may have wanted.
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
	}, c.budget.reserve(c.source, node.Pipe, shown.most)
}

func (c *compiler) compileIf(node *parse.IfNode) (writer, *Error) {
	condition, err := c.compilePipe(node.Pipe)
	if err != nil {
		return nil, err
	}
	if condition.kind != aTruth {
		return nil, c.source.errorAt(node.Pipe, "`if` wants a condition, such as `%s`, not %s", c.vocabulary.Condition, condition.kind)
	}
	room := c.budget.room
	then, err := c.compileList(node.List)
	if err != nil {
		return nil, err
	}
	roomThen := c.budget.room
	c.budget.room = room
	otherwise, err := c.compileList(node.ElseList)
	if err != nil {
		return nil, err
	}
	c.budget.room = min(c.budget.room, roomThen)
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

// compilePipe compiles commands that each hand their value to the next.
func (c *compiler) compilePipe(pipe *parse.PipeNode) (expression, *Error) {
	if len(pipe.Decl) > 0 {
		return expression{}, c.source.errorAt(pipe, "variables are not available: name the value where it is used")
	}
	var result expression
	for i, command := range pipe.Cmds {
		var handed []expression
		if i > 0 {
			handed = []expression{result}
		}
		var err *Error
		if result, err = c.compileCommand(command, handed); err != nil {
			return expression{}, err
		}
	}
	return result, nil
}

func (c *compiler) compileCommand(command *parse.CommandNode, handed []expression) (expression, *Error) {
	first := command.Args[0]
	if name, ok := first.(*parse.IdentifierNode); ok {
		if err := c.checkName(name); err != nil {
			return expression{}, err
		}
		args, err := c.compileOperands(command.Args[1:])
		if err != nil {
			return expression{}, err
		}
		return c.compileCall(name, append(args, handed...))
	}
	if len(command.Args) > 1 || len(handed) > 0 {
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
			kind: aText, isLiteral: true, literal: node.Text, most: len(node.Text),
			value: func() (any, *Error) { return node.Text, nil },
		}, nil
	case *parse.PipeNode:
		inner, err := c.compilePipe(node)
		inner.isLiteral = false
		return inner, err
	case *parse.IdentifierNode: // As Go has it: a function in the place of an argument is called without any.
		return c.compileCall(node, nil)
	case *parse.DotNode:
		return expression{}, c.source.errorAt(node, "`.` alone is not available: name a value, which are %s", c.vocabulary.list())
	}
	if why, ok := whyNotOperand[node.Type()]; ok {
		return expression{}, c.source.errorAt(node, "%s", why)
	}
	return expression{}, c.source.errorAt(node, "only values, texts in quotes and functions are available, no numbers, `true`, `false` or `nil`")
}

// whyNotOperand says what to do without the operands that somebody may have wanted.
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
	value, isThere := c.values[full]
	compiled := expression{kind: aText, most: len(value), value: func() (any, *Error) {
		if !isThere && !name.AbsentIsEmpty {
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

// checkName comes before the arguments of a function are looked at: when there is no
// such function, that is what is wrong.
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
	made := called.of(args)
	if made.secret != nil && called.tells {
		return expression{}, c.source.errorAt(node, "%s can't be compared, cut or changed in case, as `%s` would", made.secret.noun, node.Ident)
	}
	return made, c.budget.charge(c.source, node, made.most+made.elements+1)
}

// shorten keeps a message short, whatever a template calls things.
func shorten(name string) string {
	const most = 40
	if runes := []rune(name); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return name
}
