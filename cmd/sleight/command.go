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

// usageError is a mistake in the call of a command.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// statusError ends the command with a status of its own. Without an error, it prints nothing.
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

// exitStatus returns the usual statuses: 2 for a mistake in the call, 128 plus the number of SIGINT for an interrupted command, 1 for
// other errors. 3 is ours: somebody else has changed the route first.
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

// message returns the text of an error for the last line of a failed command. It may quote origins, tables and documents, and is made
// safe for terminals.
func message(err error) string {
	return printable.Text(strings.ReplaceAll(err.Error(), context.Canceled.Error(), "interrupted"))
}

func newCommand(getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use:   "sleight",
		Short: "A reverse proxy for other people's hostnames: dials the origin, names and verifies the customer's host",
		Long: `sleight is a reverse proxy for other people's hostnames. It opens TCP to a customer's
load balancer, while the TLS handshake names and verifies the host that the client asked for.

Exit status: 0 for success, 1 if something failed, 2 for a mistake in the call, 3 if somebody
else has changed a route meanwhile, 130 if it was interrupted.`,
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
		if c.Name() == "completion" { // cobra's own command succeeds and prints help for an unknown shell
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
		Short: "Show on loopback what sleight does, without configuration",
		Long: `Starts a strict load balancer that has the certificates of several customers on one address,
and the proxy with routes to it. Sends one request through the proxy, says what happened, and
serves until Ctrl-C. The exit status is 1 if that request fails.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return demo.Run(c.Context(), c.OutOrStdout(), listen) },
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "`address` of the proxy; if it is in use, a free port")
	return c
}

// usage turns the errors of a check of arguments into usageErrors.
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
