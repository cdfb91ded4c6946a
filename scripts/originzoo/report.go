package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A row has the results of one server and protocol.
type row struct {
	server, version string
	http2           bool
	failure         string // why the rest is not filled in
	count
	asked       bool  // whether straight is filled in
	straight    count // of the server without sleight
	compared    int   // requests
	differences []difference
	strangers   string // their actions
	refused     string // those that never got an answer with 200
}

func (r row) protocol() string {
	if r.http2 {
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

// slug is protocol for names of files and ids.
func (r row) slug() string {
	if r.http2 {
		return "h2"
	}
	return "h1"
}

// unlisted returns the differences that docs/http.md does not list.
func (r row) unlisted() (n int) {
	for _, d := range r.differences {
		if d.listed == "" {
			n++
		}
	}
	return n
}

// ok reports whether the proxy made no fault. If straight access loses as many POSTs, the server lost them. A server that answers no
// POST counts as a fault, because nothing was tested.
func (r row) ok() bool {
	return r.failure == "" && r.doubled == 0 && r.unseen == 0 && r.lost < r.posts && r.unlisted() == 0 && (r.lost == 0 || r.asked && r.lost <= r.straight.lost)
}

// report prints the table and the notes on its rows. It reports whether all is well.
func report(w io.Writer, rows []row) bool {
	table := [][]string{{"server", "version", "protocol", "POSTs", "lost", "doubled", "unseen", "compared", "listed", "not listed"}}
	var notes []string
	ok := len(rows) > 0
	for _, r := range rows {
		ok = ok && r.ok()
		who := r.server + ", " + r.protocol()
		if r.version == "" {
			table = append(table, []string{r.server, "not here", "", "", "", "", "", "", "", ""})
			notes = append(notes, r.server+": "+r.failure)
			continue
		}
		if r.failure != "" {
			table = append(table, []string{r.server, r.version, r.protocol(), "failed", "", "", "", "", "", ""})
			notes = append(notes, who+": "+r.failure)
			continue
		}
		table = append(table, []string{r.server, r.version, r.protocol(), fmt.Sprint(r.posts), fmt.Sprint(r.lost), fmt.Sprint(r.doubled),
			fmt.Sprint(r.unseen), fmt.Sprint(r.compared), fmt.Sprint(len(r.differences) - r.unlisted()), fmt.Sprint(r.unlisted())})
		if r.refused != "" {
			notes = append(notes, who+": got no 200: "+r.refused)
		}
		if r.lost > 0 {
			notes = append(notes, fmt.Sprintf("%s: %d of the lost were carried out; %s", who, r.carriedOut, strings.Join(r.causes, "; ")))
		}
		switch {
		case r.asked && r.lost <= r.straight.lost:
			notes = append(notes, fmt.Sprintf("%s: the server loses some by itself: straight, over one connection, %d of %d POSTs, %d of them carried out; %s", who, r.straight.lost, r.straight.posts, r.straight.carriedOut, strings.Join(r.straight.causes, "; ")))
		case r.asked:
			notes = append(notes, fmt.Sprintf("%s: straight, %d of %d POSTs are lost: the proxy loses more", who, r.straight.lost, r.straight.posts))
		}
		for _, d := range r.differences {
			how := "NOT LISTED"
			if d.listed != "" {
				how = fmt.Sprintf("listed: %s", d.listed)
			}
			notes = append(notes, fmt.Sprintf("%s: curl %s: %s (%s)", who, d.request, d.what, how))
		}
	}
	widths := make([]int, len(table[0]))
	for _, line := range table {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, line := range table {
		for i, cell := range line {
			fmt.Fprintf(w, "| %-*s ", widths[i], cell)
		}
		fmt.Fprintln(w, "|")
		if n == 0 {
			for _, width := range widths {
				fmt.Fprint(w, "|", strings.Repeat("-", width+2))
			}
			fmt.Fprintln(w, "|")
		}
	}
	if len(notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range notes {
		fmt.Fprintln(w, "-", strings.Join(strings.Fields(n), " "))
	}
	return ok
}
