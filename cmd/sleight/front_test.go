package main_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

func TestServeFrontRunsTheFunctionAsAWSDoes(t *testing.T) {
	t.Parallel()
	bootstrap := lambdatest.Build(t)
	ca := tlstest.NewAuthority(t)
	o := tlstest.NewOrigin(t, ca, "a.test")
	routes := routesFile(t, map[string]any{"host": "a.test", "origin": o.Addr, "ca_pem": ca.PEM()})
	for _, kind := range []string{"http-api", "rest", "alb", "function-url", "rest-stream"} {
		t.Run(kind, func(t *testing.T) {
			p := run(t, nil, "serve", "--front", kind, "--bootstrap", bootstrap, "--routes", routes, "--allow-cidr", "127.0.0.0/8,::1/128", "--listen", "127.0.0.1:0")
			url := p.waitFor(t, `msg=serving url=(http://127\.0\.0\.1:\d+) front=`+kind+`$`)[1]
			out, err := exec.Command("curl", "-sS", "--max-time", "20", "-i", "-H", "Host: a.test", url+"/x%20y?q=a+b").CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "HTTP/1.1 200 ") || !strings.Contains(string(out), "\r\n\r\na.test") {
				t.Errorf("%v: %s", err, out)
			}
			if r := o.Last(t); r.SNI != "a.test" || r.Host != "a.test" || !strings.HasPrefix(r.URI, "/x%20y?q=a") {
				t.Errorf("%+v", r)
			}
			if status, _ := get(t, url, "b.test"); status != http.StatusNotFound {
				t.Errorf("unmapped: %d", status)
			}
			p.cmd.Process.Signal(os.Interrupt)
			if status := p.exit(t); status != 0 {
				t.Errorf("exit status %d", status)
			}
		})
	}
}

func TestServeFrontSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	routes := routesFile(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	broken := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--front", "rset"}, 2, `--front is "rset": set it to one of http-api, rest, alb, function-url, rest-stream`},
		{[]string{"--front", ""}, 2, `--front is ""`},
		{[]string{"--bootstrap", "x"}, 2, "without --front"},
		{[]string{"--front", "rest", "--h2c"}, 2, "--h2c is given with --front"},
		{[]string{"--front", "rest", "--profile", "x"}, 2, "--profile is given with --front"},
		{[]string{"--front", "rest"}, 1, "make build"},
		{[]string{"--front", "rest", "--bootstrap", "/no/such/file"}, 1, "/no/such/file"},
		{[]string{"--front", "rest", "--bootstrap", broken}, 1, "exit status 3"},
		{[]string{"--front", "rest", "--allow-cidr", "localhost"}, 2, `--allow-cidr is "localhost"`},
	} {
		p := run(t, nil, append([]string{"serve", "--routes", routes}, c.args...)...)
		if status := p.exit(t); status != c.status || !strings.Contains(p.output(), c.says) {
			t.Errorf("%q: status %d, output %q", c.args, status, p.output())
		}
	}
	p := run(t, nil, "serve", "--routes", routes, "--front", "rest", "--bootstrap", lambdatest.Build(t), "--listen", l.Addr().String())
	if status := p.exit(t); status != 1 || !strings.Contains(p.output(), "--listen") {
		t.Errorf("status %d, output %q", status, p.output())
	}
}
