package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	// newFolder is the budget of a folder that the budget file does not name.
	newFolder = 3.0
	// least is the lowest budget that is written. A little is left for matches that are good English.
	least = 1.0
	// slack is how far a folder may be below its budget before the budget has to be lowered.
	slack = 1.0
	// shown is how many constructions of a folder a failure lists.
	shown = 20
)

// budget has the highest rate that is allowed to texts of a kind in a folder.
type budget map[[2]string]float64

func readBudget(name string) (budget, error) {
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("prose: %w", err)
	}
	b := budget{}
	lines := bufio.NewScanner(bytes.NewReader(src))
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) != 3 || !slices.Contains(kinds, fields[0]) {
			return nil, fmt.Errorf("prose: %s:%d: %q is not a kind (%s), a folder and a number", name, n, lines.Text(), strings.Join(kinds, ", "))
		}
		rate, err := strconv.ParseFloat(fields[2], 64)
		if err != nil || rate < 0 {
			return nil, fmt.Errorf("prose: %s:%d: %q is not a number", name, n, fields[2])
		}
		key := [2]string{fields[0], fields[1]}
		if _, ok := b[key]; ok {
			return nil, fmt.Errorf("prose: %s:%d: a second line for %s %s", name, n, fields[0], fields[1])
		}
		b[key] = rate
	}
	return b, nil
}

// allowed returns the budget of a row.
func (b budget) allowed(r row) float64 {
	if rate, ok := b[[2]string{r.kind, r.folder}]; ok {
		return rate
	}
	return newFolder
}

// check returns an error for each row that is above its budget or clearly below it, and for each budget without a row.
func (b budget) check(rows []row) error {
	var failures []error
	fail := func(format string, args ...any) { failures = append(failures, fmt.Errorf("prose: "+format, args...)) }
	seen := map[[2]string]bool{}
	for _, r := range rows {
		key := [2]string{r.kind, r.folder}
		seen[key] = true
		allowed := b.allowed(r)
		_, named := b[key]
		switch {
		case r.rate() > allowed:
			var list strings.Builder
			for _, h := range r.hits[:min(shown, len(r.hits))] {
				fmt.Fprintf(&list, "\n  %s", h)
			}
			if more := len(r.hits) - shown; more > 0 {
				fmt.Fprintf(&list, "\n  and %d more: go run ./scripts/prose -show %s", more, r.folder)
			}
			fail("%s (%s) has %.1f riddling constructions per 1,000 words, and may have %.1f: rewrite some of these sentences.%s", r.folder, r.kind, r.rate(), allowed, list.String())
		case named && max(r.rate(), least) <= allowed-slack:
			fail("%s (%s) has %.1f riddling constructions per 1,000 words, and may have %.1f: keep what was won with go run ./scripts/prose -update", r.folder, r.kind, r.rate(), allowed)
		}
	}
	for _, key := range b.keys() {
		if !seen[key] {
			fail("%s names %s (%s), which has no text: go run ./scripts/prose -update", budgetFile, key[1], key[0])
		}
	}
	return errors.Join(failures...)
}

// lowered returns the budget for rows: no number is higher than before, and none is lower than it is useful to have. A new folder
// gets no more than newFolder.
func (b budget) lowered(rows []row) budget {
	now := budget{}
	for _, r := range rows {
		now[[2]string{r.kind, r.folder}] = min(b.allowed(r), max(r.rate(), least))
	}
	return now
}

func (b budget) keys() [][2]string {
	var keys [][2]string
	for k := range b {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y [2]string) int {
		return slices.Compare([]string{strconv.Itoa(slices.Index(kinds, x[0])), x[1]}, []string{strconv.Itoa(slices.Index(kinds, y[0])), y[1]})
	})
	return keys
}

func (b budget) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, `# The highest number of riddling constructions per 1,000 words, for comments of code and of tests, and for docs.
# A number may only fall: go run ./scripts/prose -update writes lower ones. A folder that is not here may have %.1f.
`, newFolder)
	for _, k := range b.keys() {
		fmt.Fprintf(&s, "%-4s  %-24s %5.1f\n", k[0], k[1], b[k])
	}
	return s.String()
}
