// Command originzoo puts sleight before real servers and reports lost requests. For each server and protocol, it sends POSTs
// through sleight while other clients misbehave, and counts at the application which of them were processed. It also makes
// a list of requests with curl, straight and through sleight, and compares the results. Run it with make origins.
//
//	go run ./scripts/originzoo -sleight bin/sleight -programs FILE
//
// FILE has a line for each server: its name, its version, and its program with the first arguments, with tabs between them. If a
// server is not installed, the line has its name, "!" and the reason. The exit status is 1 if a POST was lost or processed
// twice, or if a server is not installed or failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// name is the host of every origin.
const name = "origin.example"

// A program is a line of FILE.
type program struct {
	version string
	argv    []string
	missing string // why it is not installed
}

func main() {
	sleight := flag.String("sleight", "bin/sleight", "the `program` to try")
	programs := flag.String("programs", "", "the `file` that names the servers' programs")
	posts := flag.Int("posts", 1000, "how many POSTs to send to each, `N`")
	logs := flag.String("logs", "", "the `folder` to keep all logs in (default none)")
	flag.Parse()
	if flag.NArg() != 0 || *programs == "" || *posts < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, *sleight, *programs, *logs, *posts)
	if err != nil {
		fmt.Fprintln(os.Stderr, "originzoo:", err)
	}
	if err != nil || !ok {
		stop()
		os.Exit(1)
	}
}

// run tries each server of FILE, prints the table, and reports whether all is well.
func run(ctx context.Context, sleight, file, logs string, posts int) (bool, error) {
	here, err := readPrograms(file)
	if err != nil {
		return false, err
	}
	z, err := newZoo(sleight, logs, posts)
	if err != nil {
		return false, err
	}
	defer z.close()
	var rows []row
	for _, s := range servers {
		p, ok := here[s.name]
		if !ok {
			continue
		}
		delete(here, s.name)
		if p.missing != "" {
			rows = append(rows, row{server: s.name, failure: p.missing})
			continue
		}
		for _, http2 := range []bool{false, true} {
			if http2 && !s.h2 {
				continue
			}
			r := row{server: s.name, version: p.version, http2: http2}
			began := time.Now()
			limited, cancel := context.WithTimeout(ctx, 5*time.Minute)
			if err := z.try(limited, s, p, &r); err != nil {
				r.failure = err.Error()
			}
			cancel()
			fmt.Fprintf(os.Stderr, "originzoo: %s, %s: %d POSTs, %d lost, %d doubled, %d differences not listed, in %.0f s; strangers: %s\n",
				s.name, r.protocol(), r.posts, r.lost, r.doubled, r.unlisted(), time.Since(began).Seconds(), r.strangers)
			rows = append(rows, r)
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
		}
	}
	for unknown := range here {
		return false, fmt.Errorf("%s names %q, which is no server of originzoo", file, unknown)
	}
	return report(os.Stdout, rows), nil
}

func readPrograms(file string) (map[string]program, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	here := map[string]program{}
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(columns) < 3 {
			return nil, fmt.Errorf("%s: a line has less than three columns: %q", file, line)
		}
		if columns[1] == "!" {
			here[columns[0]] = program{missing: columns[2]}
		} else {
			here[columns[0]] = program{version: columns[1], argv: columns[2:]}
		}
	}
	if len(here) == 0 {
		return nil, fmt.Errorf("%s names no server", file)
	}
	return here, nil
}
