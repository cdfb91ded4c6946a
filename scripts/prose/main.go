// Command prose counts constructions that make a text hard to read: in Go comments, and in the Markdown that people read.
//
//	go run ./scripts/prose                 # a table of folders
//	go run ./scripts/prose -show pkg/sni   # each construction in a folder, with file and line
//	go run ./scripts/prose -check          # compare with scripts/prose/budget.txt, as make check does
//	go run ./scripts/prose -update         # write lower numbers into scripts/prose/budget.txt
//
// It runs at the top of the module. String literals are not counted. Most of them are fragments, and a pattern needs the start and
// the end of a sentence. The help texts and the messages of errors are in docs/commands.md and docs/errors.md, which are
// generated from the literals and are counted.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
)

// budgetFile is the path of the budget, relative to the top of the module.
const budgetFile = "scripts/prose/budget.txt"

func main() {
	show := flag.Bool("show", false, "list each construction with file and line")
	check := flag.Bool("check", false, "fail if a folder is above its budget or clearly below it")
	update := flag.Bool("update", false, "lower the budgets to the numbers of today")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: prose [-show | -check | -update] [FOLDER...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(os.Stdout, ".", flag.Args(), *show, *check, *update); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(w io.Writer, top string, folders []string, show, check, update bool) error {
	rows, err := count(top)
	if err != nil {
		return err
	}
	switch {
	case check || update:
		name := path.Join(top, budgetFile)
		b, err := readBudget(name)
		if err != nil {
			return err
		}
		if update {
			if err := os.WriteFile(name, []byte(b.lowered(rows).String()), 0o644); err != nil {
				return fmt.Errorf("prose: %w", err)
			}
			return nil
		}
		return b.check(rows)
	case show:
		for _, r := range rows {
			for _, h := range r.hits {
				if within(h.file, folders) {
					fmt.Fprintln(w, h)
				}
			}
		}
		return nil
	default:
		return table(w, rows, folders)
	}
}

// within reports whether the file or folder name is in one of the folders, or folders is empty.
func within(name string, folders []string) bool {
	return len(folders) == 0 || slices.ContainsFunc(folders, func(f string) bool {
		f = path.Clean(strings.TrimSuffix(f, "/..."))
		return f == "." || name == f || strings.HasPrefix(name, f+"/")
	})
}

func table(w io.Writer, rows []row, folders []string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "words\tfound\tper 1,000\t \t")
	total := map[string]row{}
	line := func(r row) {
		fmt.Fprintf(t, "%d\t%d\t%.1f\t %s\t\n", r.words, len(r.hits), r.rate(), r.kind+" "+r.folder)
	}
	for _, r := range rows {
		if !within(r.folder, folders) {
			continue
		}
		line(r)
		sum := total[r.kind]
		total[r.kind] = row{kind: r.kind, folder: "in all", words: sum.words + r.words, hits: append(sum.hits, r.hits...)}
	}
	for _, kind := range kinds {
		if sum := total[kind]; sum.words > 0 {
			line(sum)
		}
	}
	return t.Flush()
}
