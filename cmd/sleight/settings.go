package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sleightproxy/sleight/internal/app"
)

// mirrors are the variables of the proxy that flags stand for. A flag is the variable, said later: one
// parser serves both. Not every command has all of them.
var mirrors = []struct{ variable, flag string }{
	{"ROUTES_FILE", "routes"},
	{"ROUTES_TABLE", "table"},
	{"AWS_REGION", "region"},
	{"AWS_PROFILE", "profile"},
	{"AWS_ENDPOINT_URL_DYNAMODB", "endpoint-url"},
	{"ROUTES_TTL", "routes-ttl"},
	{"ROUTES_MAX_STALE", "routes-max-stale"},
	{"ROUTES_MAX_HOSTS", "routes-max-hosts"},
	{"WARM_HOSTS", "warm-host"},
	{"ORIGIN_ALLOW_CIDRS", "allow-cidr"},
	{"FORCE_HTTPS", "force-https"},
	{"TRUSTED_HOST_HEADER", "trusted-host-header"},
	{"TRUSTED_PROXIES", "trusted-proxies"},
	{"CDN_LOOP_ID", "loop-id"},
	{"CLIENT_CERTS_DIR", "client-certs"},
	{"CONNECT_TIMEOUT", "connect-timeout"},
	{"HANDSHAKE_TIMEOUT", "handshake-timeout"},
	{"RESPONSE_TIMEOUT", "response-timeout"},
	{"IDLE_TIMEOUT", "idle-timeout"},
	{"REQUEST_TIMEOUT", "request-timeout"},
	{"MAX_REQUEST_BODY", "max-request-body"},
	{"MAX_REQUESTS", "max-requests"},
	{"MAX_CONNECTIONS_PER_ORIGIN", "max-connections-per-origin"},
	{"LOG_LEVEL", "log-level"},
}

// addProxyFlags gives a command the flags that decide which routes the proxy can use.
func addProxyFlags(c *cobra.Command) {
	f := c.Flags()
	addAllowCIDR(c)
	f.String("client-certs", "", "`directory` of the client certificates that routes refer to (CLIENT_CERTS_DIR)")
	f.Bool("force-https", true, "refuse routes with http:// (FORCE_HTTPS)")
	c.MarkFlagDirname("client-certs")
}

// addAllowCIDR gives a command the flag that says which networks the proxy may dial.
func addAllowCIDR(c *cobra.Command) {
	c.Flags().StringSlice("allow-cidr", nil, "`network` that the proxy may dial although it is not public; may be repeated (ORIGIN_ALLOW_CIDRS)")
	completeValues(c, nil, nil, "allow-cidr")
}

// proxySettings are those of the proxy: what the flags say, and for the rest the variables. setting is the
// same by the name of a variable, as it was said.
func proxySettings(f *pflag.FlagSet, getenv func(string) string) (s app.Settings, setting func(name string) string, err error) {
	said := map[string]string{}
	if f.Changed("routes") || f.Changed("table") {
		said["ROUTES_FILE"], said["ROUTES_TABLE"] = "", "" // one flag overrules both variables
	}
	var names []string
	for _, m := range mirrors {
		if !f.Changed(m.flag) {
			continue
		}
		v := f.Lookup(m.flag).Value
		said[m.variable] = v.String()
		if list, ok := v.(pflag.SliceValue); ok {
			said[m.variable] = strings.Join(list.GetSlice(), ",")
		}
		names = append(names, m.variable+" is", "--"+m.flag+" is")
	}
	setting = func(name string) string {
		if v, ok := said[name]; ok {
			return v
		}
		return getenv(name)
	}
	if s, err = app.FromEnvironment(setting); err != nil {
		err = usageError{errors.New(strings.NewReplacer(names...).Replace(err.Error()))}
	}
	return s, setting, err
}
