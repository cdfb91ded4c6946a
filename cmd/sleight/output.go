package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sleightproxy/sleight/internal/terminal"
)

// format is the value of --output.
type format string

var formats = []string{"table", "json", "yaml"}

// addOutput gives a command the flag --output.
func addOutput(c *cobra.Command, f *format) {
	*f = "table"
	c.Flags().VarP(f, "output", "o", "`format`: table for people, json or yaml for scripts")
	completeValues(c, map[string][]string{"output": formats}, nil)
}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	for _, known := range formats {
		if s == known {
			*f = format(s)
			return nil
		}
	}
	return fmt.Errorf("it is one of %s", strings.Join(formats, ", "))
}

// forPeople reports whether results are printed in words and tables.
func (f format) forPeople() bool { return f != "json" && f != "yaml" }

// print writes v in JSON or YAML, or runs person, which writes it for people. It returns the error of writing: output that was cut off
// by a full disk must not pass for the whole.
func (f format) print(t *terminal.Terminal, v any, person func()) error {
	if f.forPeople() {
		return t.Printing(person)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	if f == "yaml" {
		var err error
		if b, err = toYAML(b.Bytes()); err != nil {
			return err
		}
	}
	_, err := t.Out.Write(b.Bytes())
	return err
}

// mustJSON returns v in JSON. v is of a type that JSON has.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// toYAML writes JSON in the block style of YAML, in the same order.
func toYAML(document []byte) (bytes.Buffer, error) {
	var b bytes.Buffer
	var node yaml.Node
	if err := yaml.Unmarshal(document, &node); err != nil { // JSON is YAML
		return b, err
	}
	var plain func(*yaml.Node)
	plain = func(n *yaml.Node) {
		n.Style = 0
		for _, c := range n.Content {
			plain(c)
		}
	}
	plain(&node)
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return b, err
	}
	return b, encoder.Close()
}

// newTerminal returns the terminal of a command.
func newTerminal(c *cobra.Command) *terminal.Terminal {
	return terminal.New(c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr(), os.Getenv)
}

// newErrTerminal returns a terminal whose Out is the standard error of a command.
func newErrTerminal(c *cobra.Command) *terminal.Terminal {
	return terminal.New(c.InOrStdin(), c.ErrOrStderr(), c.ErrOrStderr(), os.Getenv)
}
