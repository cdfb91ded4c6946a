package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const documentFile, documentCommand = "../../docs/commands.md", "go test ./cmd/sleight -run TestCommandsDocument -update"

// commands returns all commands for people, each after its parent.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "completion" && sub.Name() != "help" {
			all = append(all, commands(sub)...)
		}
	}
	return all
}

// The document has the text of --help.
func TestCommandsDocument(t *testing.T) {
	want := commandsDocument()
	if *update {
		if err := os.WriteFile(documentFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/commands.md is not what the commands say; write it anew with\n\t%s", documentCommand)
	}
}

func commandsDocument() []byte {
	var b bytes.Buffer
	root := newCommand(func(string) string { return "" })
	fmt.Fprintf(&b, `# Commands

<!-- Generated from the commands in cmd/sleight: change those, then run
%s -->

What `+"`sleight COMMAND --help`"+` says, for reading and searching.

| command | |
|---|---|
`, documentCommand)
	all := commands(root)
	for _, c := range all[1:] {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.CommandPath(), anchor(c), c.Short)
	}
	fmt.Fprint(&b, `
## Completion

`+"```sh"+`
source <(sleight completion bash)                                       # in ~/.bashrc, with bash-completion
sleight completion zsh >"${fpath[1]}/_sleight"                          # zsh, once
sleight completion fish >~/.config/fish/completions/sleight.fish        # fish, once
`+"```"+`

Commands, flags and their values are completed, and HOST from the routes that `+"`--table`, `--routes`"+` or their variables name, as far as
those are read within a second.

## Permissions

The commands need these actions on a table in IAM. The proxy itself needs only `+"`dynamodb:BatchGetItem`"+`.

| command | actions |
|---|---|
`)
	for _, c := range all {
		if actions := c.Annotations[permissions]; actions != "" {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c.CommandPath(), actions)
		}
	}
	for _, c := range all {
		heading := "##"
		if c.Parent() != nil && c.Parent() != root {
			heading = "###"
		}
		fmt.Fprintf(&b, "\n%s %s\n\n%s.\n\n```\n%s\n```\n\n", heading, c.CommandPath(), c.Short, c.UseLine())
		long := c.Long
		if long == "" {
			long = c.Short
		}
		fmt.Fprintf(&b, "```text\n%s\n```\n", long)
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```sh\n%s\n```\n", unindented(c.Example))
		}
		if flags := c.NonInheritedFlags().FlagUsages(); flags != "" {
			fmt.Fprintf(&b, "\n```text\n%s```\n", flags)
		}
		if c.InheritedFlags().HasFlags() {
			fmt.Fprintf(&b, "\nAnd the flags of [`%s`](#%s).\n", c.Parent().CommandPath(), anchor(c.Parent()))
		}
	}
	return b.Bytes()
}

func anchor(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func unindented(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, strings.TrimPrefix(line, "  "))
	}
	return strings.Join(lines, "")
}

// A manual page has certain parts, and fits a terminal.
func TestHelpIsWhole(t *testing.T) {
	all := commands(newCommand(func(string) string { return "" }))
	if len(all) < 10 {
		t.Fatalf("only %d commands", len(all))
	}
	for _, c := range all {
		path := c.CommandPath()
		if c.Long == "" || c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s lacks a description", path)
		}
		for line := range strings.Lines(c.Long) {
			if len(strings.TrimSuffix(line, "\n")) > 100 {
				t.Errorf("%s: wider than 100 columns: %s", path, line)
			}
		}
		if !strings.HasPrefix(path, "sleight routes") && path != "sleight check" && path != "sleight explain" {
			continue
		}
		if c.Example == "" && c.HasParent() && !c.HasSubCommands() {
			t.Errorf("%s lacks an example", path)
		}
		if !c.HasSubCommands() && c.Annotations[permissions] == "" {
			t.Errorf("%s does not say which permissions it needs", path)
		}
		for line := range strings.Lines(c.Example) {
			checkExample(t, c, line)
		}
	}
}

// checkExample parses the flags of an example, which are easily forgotten when a flag is renamed.
func checkExample(t *testing.T, c *cobra.Command, line string) {
	t.Helper()
	words := strings.Fields(strings.NewReplacer("'", "", `"`, "", "\n", "").Replace(line))
	for {
		at := slices.Index(words, "sleight")
		if at < 0 {
			return
		}
		words = words[at+1:]
		root := newCommand(func(string) string { return "" })
		called, rest, err := root.Find(words)
		if err != nil || called == root {
			t.Errorf("%s: the example %q calls no command: %v", c.CommandPath(), line, err)
			return
		}
		var flags []string
		for _, w := range rest {
			if strings.ContainsAny(w, ";>|") {
				break
			}
			flags = append(flags, w)
		}
		if err := called.ParseFlags(flags); err != nil {
			t.Errorf("%s: the example %q: %v", c.CommandPath(), line, err)
		}
	}
}
