// Command sleight runs the proxy outside of Lambda, and is the tool of those who
// operate it.
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
	log.SetOutput(io.Discard) // libraries quote there what others send; serve has it in its own log
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the requests that are running
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
