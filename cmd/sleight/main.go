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
	if err := newCommand(os.Getenv).ExecuteContext(ctx); err != nil {
		if said := message(err); said != "" {
			fmt.Fprintln(os.Stderr, "sleight:", said)
		}
		os.Exit(exitStatus(err))
	}
}
