// Copyright The pipedream-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var layerLine = regexp.MustCompile(`(?m)^//\t((?:\w+\.go ?)+)  `)

// layersOfFiles returns the layer of each file, as the comment of the package lists them from the top.
func layersOfFiles(t *testing.T) map[string]int {
	t.Helper()
	content, err := os.ReadFile("reconciler.go")
	Must(t, err)
	lines := layerLine.FindAllSubmatch(content, -1)
	layers := map[string]int{}
	for i, line := range lines {
		for name := range strings.FieldsSeq(string(line[1])) {
			layers[name] = len(lines) - i
		}
	}
	return layers
}

func parseFile(t *testing.T, name string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	Must(t, err)
	return file
}

// declaredIn returns what each file of the package declares at its top, methods included. A name that
// two files declare, or that a field or a variable has, too, is left out: it does not tell what is
// meant.
func declaredIn(t *testing.T, names []string) map[string]string {
	t.Helper()
	declared, twice := map[string]string{}, map[string]bool{}
	for _, file := range names {
		for _, name := range declaredAtTop(parseFile(t, file)) {
			if other, ok := declared[name]; ok && other != file {
				twice[name] = true
			}
			declared[name] = file
		}
	}
	for name := range twice {
		delete(declared, name)
	}
	for _, file := range names {
		for _, name := range declaredInside(parseFile(t, file)) {
			delete(declared, name)
		}
	}
	return declared
}

// declaredAtTop returns what a file declares at its top, methods included.
func declaredAtTop(file *ast.File) (names []string) {
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				case *ast.ValueSpec:
					names = append(names, s.Names[0].Name)
				}
			}
		}
	}
	return names
}

// declaredInside returns the names of the fields, the parameters and the variables in a file.
func declaredInside(file *ast.File) (names []string) {
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.Field:
			for _, ident := range n.Names {
				names = append(names, ident.Name)
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				if ident, ok := left.(*ast.Ident); ok {
					names = append(names, ident.Name)
				}
			}
		}
		return true
	})
	return names
}

// usedIn returns the names that a file uses, but for the ones of the packages that it imports.
func usedIn(file *ast.File) (names []string) {
	imported := map[string]bool{}
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		imported[path[strings.LastIndex(path, "/")+1:]] = true
		if spec.Name != nil {
			imported[spec.Name.Name] = true
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.SelectorExpr:
			if of, ok := n.X.(*ast.Ident); ok && imported[of.Name] {
				return false
			}
		case *ast.Ident:
			names = append(names, n.Name)
		}
		return true
	})
	return names
}

// WantLayers checks that each file of the package in the working folder uses only what files of its own layer,
// and of the layers below it, declare. The comment of the package in reconciler.go lists the layers.
func WantLayers(t *testing.T) {
	t.Helper()
	all, err := filepath.Glob("*.go")
	Must(t, err)
	var names []string
	for _, name := range all {
		if !strings.HasSuffix(name, "_test.go") {
			names = append(names, name)
		}
	}
	layers, declared := layersOfFiles(t), declaredIn(t, names)
	if len(layers) != len(names) {
		t.Errorf("the comment of the package lists %d files, and there are %d", len(layers), len(names))
	}
	calls := 0
	for _, name := range names {
		if layers[name] == 0 {
			t.Errorf("%s is in no layer", name)
		}
		for _, used := range usedIn(parseFile(t, name)) {
			to, ok := declared[used]
			if !ok || to == name {
				continue
			}
			calls++
			if layers[to] > layers[name] {
				t.Errorf("%s uses %s of %s, which is above it", name, used, to)
			}
		}
	}
	if calls < 100 {
		t.Errorf("only %d uses were found", calls)
	}
}
