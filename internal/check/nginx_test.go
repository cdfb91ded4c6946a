package check_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/testdeps"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// guard runs a program, and ends it at the end of its standard input, which is the end of the test.
const guard = `"$@" </dev/null & exec >/dev/null 2>&1 3<&- 4<&-; trap "" HUP INT QUIT TERM; read -r _; kill $!; wait`

// nginx, which many origins are, reports faults in its own ways.
func TestWhatNginxSaysIsUnderstood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	write := func(name string, c tls.Certificate) string {
		key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate := write("one.pem", w.leaf([]string{"one.test", "mtls.test", "optional.test", "loop.test", "down.test"}))
	clients := filepath.Join(dir, "clients.pem")
	if err := os.WriteFile(clients, []byte(w.stranger.PEM()), 0o600); err != nil {
		t.Fatal(err)
	}
	// The test makes the listener, and nginx inherits it: no other program can take the port, and requests can come before nginx
	// is ready.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	inherited, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	server := func(name, more string) string {
		return fmt.Sprintf("server { listen %s ssl http2; server_name %s; ssl_certificate %[3]s; ssl_certificate_key %[3]s; %s }\n", address, name, certificate, more)
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; events {}
		http { access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
		server { listen %[2]s ssl http2 default_server; ssl_reject_handshake on; }
		`, dir, address)+
		server("one.test", "location / { return 200 ok; }")+
		server("mtls.test", "ssl_verify_client on; ssl_client_certificate "+clients+"; location / { return 200 ok; }")+
		server("optional.test", "ssl_verify_client optional; ssl_client_certificate "+clients+"; location / { return 200 ok; }")+
		server("loop.test", "location / { return 301 https://$host$request_uri; }")+
		server("down.test", "location / { return 503; }")+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", guard, "sh", testdeps.Path(t, "nginx"), "-e", "stderr", "-p", dir, "-c", config)
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), "NGINX=3;"), []*os.File{inherited}
	var said strings.Builder
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inherited.Close()
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait() // its error says that it was killed
		if t.Failed() {
			t.Logf("nginx: %s", &said)
		}
	})
	_, resolver := tlstest.NameServer(t, tlstest.Names{})
	forClients := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	certificates := certificateMap{"trusted": leafOf(t, w.stranger, nil, []string{"shop"}, forClients), "another": w.leaf([]string{"shop"}, forClients)}
	for _, c := range []struct{ host, scheme, clientCert, code, message string }{
		{"one.test", "https", "", "", ""},
		{"unknown.test", "https", "", "unrecognized_name", "has no server with the name unknown.test"},
		{"mtls.test", "https", "", "client_cert_wanted", "answers 400 if it gets none"},
		{"mtls.test", "https", "another", "client_cert_refused", `refuses the client certificate "another" (400)`},
		{"mtls.test", "https", "trusted", "", ""},
		{"optional.test", "https", "another", "client_cert_refused", `refuses the client certificate "another" (400)`},
		{"optional.test", "https", "trusted", "", ""},
		{"loop.test", "https", "", "redirect_loop", "the URL of the request itself"},
		{"down.test", "https", "", "server_error", "(503)"},
		{"one.test", "http", "", "tls_port", "is for TLS"},
	} {
		t.Run(strings.TrimSpace(c.host+" "+c.scheme+" "+c.clientCert), func(t *testing.T) {
			checker := &check.Checker{AllowCIDRs: w.checker.AllowCIDRs, RootCAs: w.checker.RootCAs, Resolver: resolver, WarnDays: -1, ClientCertificates: certificates}
			r := checker.Check(t.Context(), c.host, &origin.Route{Host: c.host, Scheme: c.scheme, TLSMin: tls.VersionTLS12, Addresses: []string{address}, ClientCert: c.clientCert})
			if c.code == "" {
				if r.Status != check.OK {
					t.Errorf("%+v", r.Findings)
				}
			} else if r.Status != check.Fail || r.Findings[0].Code != c.code || !strings.Contains(r.Findings[0].Message, c.message) {
				t.Errorf("%s %+v", r.Status, r.Findings)
			}
		})
	}
}
