package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

func TestPutIsRefusedWhatCannotWork(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test", "sleight-check.x.test")
	down := &tlstest.Origin{Certificates: map[string]tls.Certificate{"a.test": tlstest.Leaf(t, ca, "a.test")}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })}
	down.Start(t)
	closed := tlstest.Refusing(t)
	allowed := map[string]string{"ORIGIN_ALLOW_CIDRS": "127.0.0.0/8"}
	for _, c := range []struct {
		name    string
		env     map[string]string
		route   origin.Route
		refused string // a part of the error; empty if there is no error
		said    string // a part of standard error
	}{
		{"works", allowed, origin.Route{Host: "a.test", Addresses: []string{o.Addr}}, "", "warn: a.test: "}, // its certificate expires within a day
		{"a wildcard works", allowed, origin.Route{Host: "*.x.test", Addresses: []string{o.Addr}}, "", "warn: sleight-check.x.test: "},
		{"nobody listens", allowed, origin.Route{Host: "a.test", Addresses: []string{closed}}, "connection refused", ""},
		{"another name", allowed, origin.Route{Host: "a.test", ServerName: "other.test", Addresses: []string{o.Addr}}, "--force writes it anyway", ""},
		{"a prohibited network", nil, origin.Route{Host: "a.test", Addresses: []string{o.Addr}}, "ORIGIN_ALLOW_CIDRS", ""},
		{"a bad moment", allowed, origin.Route{Host: "a.test", Addresses: []string{down.Addr}}, "", "fail: a.test: "},
		{"disabled", allowed, origin.Route{Host: "a.test", Addresses: []string{closed}, Disabled: true}, "", ""},
		{"wrong settings", map[string]string{"ORIGIN_ALLOW_CIDRS": "x"}, origin.Route{Host: "a.test", Addresses: []string{o.Addr}}, `ORIGIN_ALLOW_CIDRS is "x"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.route.Scheme, c.route.TLSMin, c.route.CAPEM = "https", tls.VersionTLS12, ca.PEM()
			var said bytes.Buffer
			command := &cobra.Command{}
			command.SetErr(&said)
			command.SetContext(t.Context())
			err := checkBeforeWrite(func(name string) string { return c.env[name] })(command, &c.route)
			if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("error %v, want %q", err, c.refused)
			}
			if !strings.HasPrefix(said.String(), c.said) || (said.Len() > 0) != (c.said != "") {
				t.Errorf("said %q, want %q", said.String(), c.said)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	command := &cobra.Command{}
	command.SetContext(ctx)
	if err := checkBeforeWrite(func(string) string { return "" })(command, &origin.Route{Host: "a.test", Addresses: []string{closed}, Scheme: "https", TLSMin: tls.VersionTLS12}); !errors.Is(err, context.Canceled) || exitStatus(err) != 130 {
		t.Errorf("interrupted: %v", err)
	}
}
