package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sleightproxy/sleight/internal/app"
)

// A mirror is a flag that stands for a variable: the flag is the variable, given later. One parser serves both.
type mirror struct{ variable, flag string }

// mirrors returns those of all commands: the settings of the proxy, and the variables of AWS for awsFlags. No command has to
// have all of the flags.
func mirrors() []mirror {
	all := []mirror{{"AWS_REGION", "region"}, {"AWS_PROFILE", "profile"}, {"AWS_ENDPOINT_URL_DYNAMODB", "endpoint-url"}}
	for _, s := range app.Table() {
		if s.Flag != "" {
			all = append(all, mirror{s.Variable, s.Flag})
		}
	}
	return all
}

// addSettings gives a command the flags of settings, by the names of their variables.
func addSettings(c *cobra.Command, variables ...string) {
	f := c.Flags()
	for _, s := range app.Table() {
		if s.Flag == "" || !slices.Contains(variables, s.Variable) {
			continue
		}
		usage := s.Help
		if s.Kind == app.List {
			usage += "; may be repeated"
		}
		if s.Default != "" && s.Kind != app.Bool { // pflag adds the default of a Bool
			usage += " (" + s.Variable + ", default " + s.Default + ")"
		} else {
			usage += " (" + s.Variable + ")"
		}
		switch s.Kind {
		case app.List:
			f.StringSlice(s.Flag, nil, usage)
		case app.Bool:
			f.Bool(s.Flag, s.Default == "true", usage)
		default:
			f.String(s.Flag, "", usage)
		}
		switch s.Kind {
		case app.Directory:
			c.MarkFlagDirname(s.Flag)
		case app.File:
			completeValues(c, nil, map[string][]string{s.Flag: {"json"}})
		default:
			completeValues(c, map[string][]string{s.Flag: s.Values}, nil)
		}
	}
}

// forServe returns the variables of all settings that have a flag of serve.
func forServe() (variables []string) {
	for _, s := range app.Table() {
		if s.Flag != "" {
			variables = append(variables, s.Variable)
		}
	}
	return variables
}

// addProxyFlags gives a command the flags that decide which routes the proxy can use.
func addProxyFlags(c *cobra.Command) {
	addSettings(c, "ORIGIN_ALLOW_CIDRS", "CLIENT_CERTS_DIR", "FORCE_HTTPS")
}

// addAllowCIDR gives a command the flag for the networks that the proxy may dial.
func addAllowCIDR(c *cobra.Command) { addSettings(c, "ORIGIN_ALLOW_CIDRS") }

// proxySettings returns the settings of the proxy: from the flags, and from the variables for flags that are not given.
// setting returns each by the name of its variable, as it was given.
func proxySettings(f *pflag.FlagSet, getenv func(string) string) (s app.Settings, setting func(name string) string, err error) {
	given := map[string]string{}
	if f.Changed("routes") || f.Changed("table") {
		given["ROUTES_FILE"], given["ROUTES_TABLE"] = "", "" // one flag overrules both variables
	}
	var names []string
	for _, m := range mirrors() {
		if !f.Changed(m.flag) {
			continue
		}
		v := f.Lookup(m.flag).Value
		given[m.variable] = v.String()
		if list, ok := v.(pflag.SliceValue); ok {
			given[m.variable] = strings.Join(list.GetSlice(), ",")
		}
		names = append(names, m.variable+" is", "--"+m.flag+" is")
	}
	setting = func(name string) string {
		if v, ok := given[name]; ok {
			return v
		}
		return getenv(name)
	}
	if s, err = app.FromEnvironment(setting); err != nil {
		err = usageError{errors.New(strings.NewReplacer(names...).Replace(err.Error()))}
	}
	return s, setting, err
}
