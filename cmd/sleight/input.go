package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/internal/terminal"
)

const (
	// maxDocument bounds the document of one route, in bytes: DynamoDB takes items of 400 KB.
	maxDocument = 1 << 20

	// maxRouteFile bounds a document of routes that is read into memory. 100,000 routes are a fifth of that.
	maxRouteFile = 64 << 20
)

// inputName returns the name of an input for messages. "-" is standard input.
func inputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return fmt.Sprintf("file %q", name)
}

func errBothStdin(flag string) error {
	return usageError{fmt.Errorf("%s and --ca-file both name standard input: give a file for one of them", flag)}
}

// sayHowInputEnds tells a person at a terminal how to end the input.
func sayHowInputEnds(c *cobra.Command, name string) {
	if name == "-" && newTerminal(c).Interactive() {
		fmt.Fprintln(c.ErrOrStderr(), "Reading from the terminal; Ctrl-D ends it.")
	}
}

// readInput reads a file, or standard input for "-", of at most limit bytes. It returns at once if the context of c ends.
func readInput(c *cobra.Command, name string, limit int) ([]byte, error) {
	sayHowInputEnds(c, name)
	return terminal.Read(c.Context(), func() ([]byte, error) { return readBounded(name, c.InOrStdin(), limit) })
}

func readBounded(name string, in io.Reader, limit int) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("%s is larger than %d MiB", inputName(name), limit>>20)
	}
	return b, err
}

// readRouteFile reads a file of routes that are in no table yet, as [routes.ParseDocument] does.
func readRouteFile(c *cobra.Command, name string) (*routes.Document, error) {
	what := inputName(name)
	b, err := readInput(c, name, maxRouteFile)
	if err != nil {
		return nil, err
	}
	d, err := routes.ParseDocument(what, b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return d, nil
}
