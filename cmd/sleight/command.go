package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/demo"
	"github.com/sleightproxy/sleight/internal/printable"
	"github.com/sleightproxy/sleight/internal/routetable"
)

// usageError is a mistake in how the command was called.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// statusError ends the command with a status of its own. One without an error has nothing to say
// that was not said.
type statusError struct {
	status int
	err    error
}

func (e statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e statusError) Unwrap() error { return e.err }

// exitStatus follows convention: 2 for a call that cannot be understood, 128 and the number of SIGINT
// for one that was interrupted, 1 for the rest. 3 is ours: others were there first.
func exitStatus(err error) int {
	if errors.Is(err, context.Canceled) {
		return 130
	}
	if e, ok := errors.AsType[statusError](err); ok {
		return e.status
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	if _, ok := errors.AsType[*routetable.ConflictError](err); ok {
		return 3
	}
	return 1
}

// message is what a person is told of an error: the last line of each command that fails. It has what
// origins, tables and documents say, so it is made safe for terminals.
func message(err error) string {
	return printable.Text(strings.ReplaceAll(err.Error(), context.Canceled.Error(), "interrupted"))
}

func newCommand(getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:   "sleight",
		Short: "A reverse proxy for other people's hostnames: dials the origin, names and verifies the customer's host",
		Long: `sleight is a reverse proxy for other people's hostnames. It opens TCP to a customer's
load balancer, while the TLS handshake names and verifies the host that the client asked for.

Exit status: 0 for success, 1 when something failed, 2 when the call was not understood, 3 when
somebody else had changed a route meanwhile, 130 when it was interrupted.`,
		Example: `  sleight demo
  sleight serve --routes routes.json`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(misused)
	root.AddCommand(newDemo(), newServe(getenv), newRoutes(getenv))
	root.AddCommand(newCheck(getenv), newExplain(getenv))
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" { // for a shell that is not known, the library's own succeeds with the help
			c.Args = usage(cobra.NoArgs)
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	return root
}

func newDemo() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show on loopback what sleight does, with nothing to configure",
		Long: `Starts a strict load balancer with the certificates of several customers on one address,
routes to it, and the proxy. Sends one request through it, tells what happened, and serves
until Ctrl-C. The exit status is 1 if that request fails.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return demo.Run(c.Context(), c.OutOrStdout(), listen) },
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "`address` of the proxy; a free port where it is taken")
	return c
}

// usage marks the errors of a check of arguments.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return misused(c, err)
		}
		return nil
	}
}

func misused(c *cobra.Command, err error) error {
	return usageError{fmt.Errorf("%w; see %q", err, c.CommandPath()+" --help")}
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
