// Command sleight runs the proxy outside of Lambda, and is the tool of its operators.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	log.SetOutput(io.Discard) // libraries quote strangers there; serve puts the lines into its own log
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(run(ctx, os.Getenv, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs one command, and returns its exit status.
func run(ctx context.Context, getenv func(string) string, args []string, in io.Reader, out, errs io.Writer) int {
	c := newCommand(getenv)
	c.SetArgs(args)
	c.SetIn(in)
	c.SetOut(out)
	c.SetErr(errs)
	err := c.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if said := message(err); said != "" {
		fmt.Fprintln(errs, "sleight:", said)
	}
	return exitStatus(err)
}
