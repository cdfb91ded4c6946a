// Command sleight runs the proxy outside of Lambda, and is the tool of those who
// operate it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the requests that are running
	if err := newCommand(os.Getenv).ExecuteContext(ctx); err != nil {
		if said := err.Error(); said != "" {
			fmt.Fprintln(os.Stderr, "sleight:", said)
		}
		os.Exit(exitStatus(err))
	}
}
