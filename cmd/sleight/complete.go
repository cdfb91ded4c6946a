package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/printable"
)

// completeValues completes the values of flags. words has the values of a flag, and files the endings of file names. The values of the
// other flags are unknown, and the shell must not offer files for them.
func completeValues(c *cobra.Command, words, files map[string][]string, unknown ...string) {
	for name, all := range words {
		c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp))
	}
	for name, endings := range files {
		c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(endings, cobra.ShellCompDirectiveFilterFileExt))
	}
	for _, name := range unknown {
		c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveNoFileComp))
	}
}

// completeTables completes the values of the flags for tables and routes files.
func completeTables(c *cobra.Command) {
	completeValues(c, nil, map[string][]string{"routes": {"json"}}, "table", "region", "profile", "endpoint-url")
}

// completionTime bounds the wait after a Tab.
const completionTime = time.Second

const maxCompletions = 500

// completeHosts completes HOST from the routes that are read in time. It cannot report a failure.
func (t *tableFlags) completeHosts(many bool) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTime)
		defer cancel()
		table, err := t.open(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		given := map[string]bool{}
		for _, a := range args {
			given[a] = true
		}
		var hosts []string
		for item, err := range table.All(ctx) {
			if err != nil || len(hosts) == maxCompletions {
				break
			}
			host := item.Host()
			if strings.HasPrefix(host, strings.ToLower(begun)) && host == printable.Text(host) && !given[host] {
				hosts = append(hosts, host)
			}
		}
		return hosts, cobra.ShellCompDirectiveNoFileComp
	}
}
