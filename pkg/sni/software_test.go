package sni_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/testdeps"
	"github.com/sleightproxy/sleight/internal/tlstest"
	"github.com/sleightproxy/sleight/pkg/sni"
)

// The tests of this file run with nginx, which many origins are, and with OpenSSL, which many other servers use. The other tests have Go
// on both sides, which could share a fault.

// Alerts of RFC 8446 section 6.
const (
	handshakeFailure    tls.AlertError = 40
	unknownCA           tls.AlertError = 48
	protocolVersion     tls.AlertError = 70
	unrecognizedName    tls.AlertError = 112
	certificateRequired tls.AlertError = 116
)

const hostOne, hostTwo = "one.spec-trust.test", "two.spec-trust.test"

func TestNginxServersNeverShareAConnection(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	overTLS(t, func(t *testing.T, over protocol) {
		tr := n.transport(t, over)
		var mu sync.Mutex
		names := map[string]string{} // by number of the connection
		check := func(host string) {
			a, _, err := n.ask(t, tr, "GET", "https://"+host+"/", "")
			if err != nil || a.sni != host || a.host != host || a.http2 != (over == overHTTP2) {
				t.Errorf("%s was answered by %+v, %v", host, a, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if other, ok := names[a.conn]; ok && other != host {
				t.Errorf("connection %s carried %s and %s", a.conn, other, host)
			}
			names[a.conn] = host
		}
		for range 5 {
			check(hostOne)
			check(hostTwo)
		}
		if len(names) != 2 {
			t.Errorf("%d connections in sequence, want one for each name", len(names))
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { check([]string{hostOne, hostTwo}[i%2]) })
		}
		wg.Wait()
		if over == overHTTP2 && len(names) > 2*50/10 {
			t.Errorf("%d connections over HTTP/2, want one for ten requests of a name at most", len(names))
		}
	})
}

func TestNginxUntrustedNeighbourFailsEveryTime(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	overTLS(t, func(t *testing.T, over protocol) {
		tr := n.transport(t, over)
		for i := range 5 {
			_, x, err := n.ask(t, tr, "GET", "https://"+hostOne+"/", "")
			if err != nil || x.Reused != (i > 0) {
				t.Fatalf("the neighbour: reused %t, %v", x.Reused, err)
			}
			for _, host := range []string{"untrusted.spec-trust.test", "wrong.spec-trust.test"} {
				_, _, err := n.ask(t, tr, "GET", "https://"+host+"/", "")
				wantType(t, err, sni.TLSCertificateError)
			}
		}
	})
}

func TestNginxWithoutTheNameIsAnAlert(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	overTLS(t, func(t *testing.T, over protocol) {
		tr := n.transport(t, over)
		for range 3 {
			if _, _, err := n.ask(t, tr, "GET", "https://"+hostOne+"/", ""); err != nil {
				t.Fatal(err)
			}
			_, _, err := n.ask(t, tr, "GET", "https://unknown.spec-trust.test/", "")
			if e := wantType(t, err, sni.TLSAlertReceived); e.Alert != unrecognizedName {
				t.Errorf("alert %v", e.Alert)
			}
		}
	})
}

func TestNginxSessionsAreResumedForTheirNameOnly(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	overTLS(t, func(t *testing.T, over protocol) {
		tr := n.transport(t, over)
		for i := range 4 {
			for _, host := range []string{hostOne, hostTwo} {
				// Over HTTP/2, a connection may become idle a moment after the end of its response.
				var a nginxAnswer
				x := sni.Exchange{Reused: true}
				for begin := time.Now(); x.Reused; {
					if time.Since(begin) > 10*time.Second {
						t.Fatal("the idle connections stay")
					}
					tr.CloseIdleConnections()
					var err error
					if a, x, err = n.ask(t, tr, "GET", "https://"+host+"/", ""); err != nil {
						t.Fatal(err)
					}
				}
				if want := i > 0; a.sni != host || a.resumed != want || x.Resumed != want {
					t.Errorf("connection %d to %s: nginx says %+v, the transport %t", i+1, host, a, x.Resumed)
				}
			}
		}
	})
}

// A server closes an idle connection after some time, without notice before. A request that is on the way then is lost. The gaps of this
// test are around that moment.
func TestNginxHangsUpAndNoPostIsLostOrSentTwice(t *testing.T) {
	t.Parallel()
	n := startNginx(t)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		posts []string // as nginx logs them
	)
	for i := range 128 { // all at once, because they mostly wait
		over, method := []protocol{overTLS1, overHTTP2}[i%2], []string{"POST", "GET"}[i/2%2]
		offset := time.Duration(i/8-8) * 200 * time.Microsecond // the critical time is short
		host := []string{"hasty.spec-trust.test", "announcing.spec-trust.test"}[i/4%2]
		tr := n.transport(t, over)
		gaps := []time.Duration{0, 900 * time.Millisecond, time.Second + offset, time.Second - offset, 1100 * time.Millisecond}
		wg.Go(func() {
			for j, gap := range gaps {
				<-time.After(gap) // time is the subject
				body := fmt.Sprintf("%d-%d", i, j)
				a, x, err := n.ask(t, tr, method, "https://"+host+"/echo", body)
				if err != nil || a.sni != host || a.host != host || a.body != body || a.http2 != (over == overHTTP2) {
					t.Errorf("%s %d: %v\nnginx says %+v\nthe transport %+v", method, j, err, a, x)
				}
				if method == "POST" {
					mu.Lock()
					posts = append(posts, fmt.Sprintf("POST %s %s 200", host, body))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	got := slices.DeleteFunc(n.log(t), func(line string) bool {
		return !strings.HasPrefix(line, "POST ") || strings.HasPrefix(line, "POST "+hostOne)
	})
	slices.Sort(got)
	slices.Sort(posts)
	if !slices.Equal(got, posts) {
		t.Errorf("nginx has logged %d requests, want these %d, each of them once:\n%s", len(got), len(posts), strings.Join(posts, "\n"))
	}
}

func TestOpenSSLChoosesTheCertificateByName(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16, flag string) {
		ca, dir := tlstest.NewAuthority(t), t.TempDir()
		leaf := map[string]tls.Certificate{hostOne: tlstest.Leaf(t, ca, hostOne), hostTwo: tlstest.Leaf(t, ca, hostTwo)}
		first, second := writePEM(t, dir, "one", leaf[hostOne]), writePEM(t, dir, "two", leaf[hostTwo])
		addr := startOpenSSL(t, flag, "-cert", first, "-servername", hostTwo, "-cert2", second)
		tr := observedTransport(t, sni.Target{Addresses: []string{addr}, Roots: sni.RootsFromPEM(ca.PEM())})
		for i := range 3 {
			for _, host := range []string{hostOne, hostTwo} {
				page, x, err := ask(t, tr, "GET", "https://"+host+"/", "")
				if err != nil {
					t.Fatal(err)
				}
				resumed := i > 0 // s_server closes the connection after each page
				if x.ServerName != host || x.LeafSHA256 != sha256.Sum256(leaf[host].Certificate[0]) ||
					x.TLSVersion != version || x.Protocol != "HTTP/1.1" || x.Reused || x.Resumed != resumed {
					t.Errorf("request %d for %s: %+v", i, host, x)
				}
				wantPage(t, page, version, resumed)
			}
			_, _, err := ask(t, tr, "GET", "https://three.spec-trust.test/", "")
			wantType(t, err, sni.TLSCertificateError)
		}
	})
}

func TestOpenSSLWithOldTLSIsRefusedByMinVersion(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16, flag string) {
		ca := tlstest.NewAuthority(t)
		addr := startOpenSSL(t, flag, "-cert", writePEM(t, t.TempDir(), "one", tlstest.Leaf(t, ca, hostOne)))
		target := sni.Target{Addresses: []string{addr}, Roots: sni.RootsFromPEM(ca.PEM())}
		for _, target.MinVersion = range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			_, x, err := ask(t, observedTransport(t, target), "GET", "https://"+hostOne+"/", "")
			if version >= target.MinVersion {
				if err != nil || x.TLSVersion != version {
					t.Errorf("MinVersion %x: version %x, %v", target.MinVersion, x.TLSVersion, err)
				}
			} else if e := wantType(t, err, sni.TLSAlertReceived); e.Alert != protocolVersion {
				t.Errorf("alert %v", e.Alert)
			}
		}
	})
}

func TestOpenSSLSpeaksNoHTTP2AndIsNotSpokenToInIt(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewAuthority(t)
	addr := startOpenSSL(t, "-cert", writePEM(t, t.TempDir(), "one", tlstest.Leaf(t, ca, hostOne)))
	target := sni.Target{Addresses: []string{addr}, Roots: sni.RootsFromPEM(ca.PEM()), ALPN: []string{"h2"}}
	_, _, err := ask(t, observedTransport(t, target), "GET", "https://"+hostOne+"/", "")
	wantType(t, err, sni.TLSProtocolError)
}

func TestOpenSSLIsShownTheClientCertificate(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16, flag string) {
		ca, clients, others, dir := tlstest.NewAuthority(t), tlstest.NewAuthority(t), tlstest.NewAuthority(t), t.TempDir()
		addr := startOpenSSL(t, flag, "-cert", writePEM(t, dir, "one", tlstest.Leaf(t, ca, hostOne)),
			"-Verify", "1", "-verify_return_error", "-CAfile", writeFile(t, dir, "clients.pem", clients.PEM()))

		certificates := t.TempDir()
		forClients := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
		writePEM(t, certificates, "shop", tlstest.Leaf(t, clients, "client-shop", forClients))
		writePEM(t, certificates, "stranger", tlstest.Leaf(t, others, "client-stranger", forClients))
		store, err := sni.OpenCertificateDir(certificates)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		target := sni.Target{Addresses: []string{addr}, Roots: sni.RootsFromPEM(ca.PEM()), ClientCert: "shop"}

		tr := observedTransport(t, target)
		tr.ClientCertificates = store
		for i := range 3 {
			page, x, err := ask(t, tr, "GET", "https://"+hostOne+"/", "")
			if err != nil {
				t.Fatal(err)
			}
			if x.TLSVersion != version || x.Resumed != (i > 0) {
				t.Errorf("request %d: %+v", i, x)
			}
			wantPage(t, page, version, i > 0)
			if !strings.Contains(page, "client-shop") {
				t.Errorf("the page knows no client-shop:\n%s", page)
			}
		}
		missing := certificateRequired
		if version == tls.VersionTLS12 {
			missing = handshakeFailure
		}
		for name, want := range map[string]tls.AlertError{"": missing, "stranger": unknownCA} {
			target.ClientCert = name
			tr := observedTransport(t, target)
			tr.ClientCertificates = store
			for range 3 {
				_, _, err := ask(t, tr, "GET", "https://"+hostOne+"/", "")
				if e := wantType(t, err, sni.TLSAlertReceived); e.Alert != want {
					t.Errorf("with the certificate %q: alert %v, want %v", name, e.Alert, want)
				}
			}
		}
	})
}

func eachVersion(t *testing.T, test func(t *testing.T, version uint16, flag string)) {
	t.Run("TLS12", func(t *testing.T) { t.Parallel(); test(t, tls.VersionTLS12, "-tls1_2") })
	t.Run("TLS13", func(t *testing.T) { t.Parallel(); test(t, tls.VersionTLS13, "-tls1_3") })
}

// wantPage fails the test unless the status page of s_server agrees with the transport.
func wantPage(t testing.TB, page string, version uint16, resumed bool) {
	t.Helper()
	name := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}[version]
	want := "New, " + name + ", Cipher is "
	if resumed {
		want = "Reused, " + name + ", Cipher is "
	}
	if !strings.Contains(page, want) {
		t.Errorf("the page lacks %q:\n%s", want, page)
	}
}

type observedKey struct{}

// observedTransport returns a transport for ask.
func observedTransport(t testing.TB, target sni.Target) *sni.Transport {
	tr := newTransport(t, to(target))
	tr.Observe = func(ctx context.Context, x *sni.Exchange) { *ctx.Value(observedKey{}).(*sni.Exchange) = *x }
	return tr
}

// ask sends a request. It returns the body of the response, and the Exchange.
func ask(t testing.TB, tr *sni.Transport, method, url, body string) (string, sni.Exchange, error) {
	var x sni.Exchange
	ctx := context.WithValue(t.Context(), observedKey{}, &x)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", x, err
	}
	answer, err := send(tr, req)
	return answer, x, err
}

// An nginx has several servers at each of two addresses, one for each version of HTTP.
type nginx struct {
	*program
	ca           *devca.Authority
	http1, http2 string // addresses
}

// startNginx runs nginx until the test ends. The test makes the sockets, and nginx inherits them, as during an upgrade of nginx: no other
// program can take the ports, and requests may arrive before it is ready.
func startNginx(t testing.TB) *nginx {
	t.Helper()
	n := &nginx{ca: tlstest.NewAuthority(t)}
	var files []*os.File
	listen := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		return l.Addr().String()
	}
	n.http1, n.http2 = listen(), listen()
	echo := listen()

	dir := t.TempDir()
	server := func(name, more string, leaf tls.Certificate) string {
		certificate := writePEM(t, dir, name, leaf)
		return fmt.Sprintf(`server {
			listen %s ssl; listen %s ssl http2;
			server_name %s; ssl_certificate %s; ssl_certificate_key %s; %s
			location / { return 200 "$answer\n"; }
			location /echo { proxy_pass http://%s; proxy_set_header Answer $answer; proxy_set_header Body $request_body; }
		}
		`, n.http1, n.http2, name, certificate, certificate, more, echo)
	}
	own := func(name string) tls.Certificate { return tlstest.Leaf(t, n.ca, name) }
	config := fmt.Sprintf(`
		daemon off; pid %[1]s/pid; error_log stderr;
		events { worker_connections 1000; }
		http {
			client_body_temp_path %[1]s/client; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
			uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
			map "" $answer { default "$ssl_server_name $host $server_protocol $connection $ssl_session_reused"; }
			log_format requests "$request_method $host $request_body $status";
			ssl_protocols TLSv1.2 TLSv1.3; access_log /dev/stdout requests;
			server { listen %[2]s; access_log off; location / { return 200 "$http_answer $http_body\n"; } }
			server { listen %[3]s ssl default_server; listen %[4]s ssl http2 default_server; ssl_reject_handshake on; }
		`, dir, echo, n.http1, n.http2) +
		server(hostOne, "", own(hostOne)) + server(hostTwo, "", own(hostTwo)) +
		server("untrusted.spec-trust.test", "", tlstest.Leaf(t, tlstest.NewAuthority(t), "untrusted.spec-trust.test")) +
		server("wrong.spec-trust.test", "", own("someone-else.test")) +
		server("hasty.spec-trust.test", "keepalive_timeout 1s;", own("hasty.spec-trust.test")) +
		server("announcing.spec-trust.test", "keepalive_timeout 1s 1s;", own("announcing.spec-trust.test")) +
		"}\n"
	n.program = runProgram(t, files, []string{"NGINX=3;4;5;"}, "nginx", "-e", "stderr", "-p", dir, "-c", writeFile(t, dir, "nginx.conf", config))
	return n
}

// transport returns a transport that sends all hosts to nginx.
func (n *nginx) transport(t testing.TB, over protocol) *sni.Transport {
	target := sni.Target{Addresses: []string{n.http2}, Roots: sni.RootsFromPEM(n.ca.PEM())}
	if over == overTLS1 {
		target.Addresses = []string{n.http1}
	}
	return observedTransport(t, target)
}

// An nginxAnswer is a request as nginx got it.
type nginxAnswer struct {
	sni, host, conn, body string
	http2, resumed        bool
}

func (n *nginx) ask(t testing.TB, tr *sni.Transport, method, url, body string) (nginxAnswer, sni.Exchange, error) {
	answer, x, err := ask(t, tr, method, url, body)
	if err != nil {
		return nginxAnswer{}, x, err
	}
	words := strings.Split(answer+" ", " ")
	if len(words) < 6 {
		return nginxAnswer{}, x, fmt.Errorf("the answer is %q", answer)
	}
	return nginxAnswer{
		sni: words[0], host: words[1], conn: words[3], body: words[5], http2: words[2] == "HTTP/2.0", resumed: words[4] == "r",
	}, x, nil
}

// log returns a line for each request so far: method, host, body, status.
func (n *nginx) log(t testing.TB) []string {
	t.Helper()
	last := rand.Text() // nginx writes its log in order, a moment after it has answered
	if _, _, err := n.ask(t, n.transport(t, overTLS1), "POST", "https://"+hostOne+"/echo", last); err != nil {
		t.Fatal(err)
	}
	n.wait(t, "POST "+hostOne+" "+last+" ")
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lines)
}

// startOpenSSL runs openssl s_server, and returns its address. It answers with a page about the connection, and closes the connection.
func startOpenSSL(t testing.TB, args ...string) string {
	t.Helper()
	p := runProgram(t, nil, nil, "openssl", append([]string{"s_server", "-accept", "127.0.0.1:0", "-www"}, args...)...)
	return p.wait(t, "ACCEPT ")
}

// A program runs until the test ends.
type program struct {
	mu      sync.Mutex
	changed *sync.Cond
	lines   []string // of its output
	ended   bool
}

// guard runs a program, and ends it at the end of its standard input, which is the end of the test. It closes the files that the program
// inherits.
const guard = `"$@" </dev/null & exec >/dev/null 2>&1 3<&- 4<&- 5<&-; trap "" HUP INT QUIT TERM; read -r _; kill $!; wait`

// runProgram starts a program, and ends it with the test. The program inherits files from descriptor 3 on.
func runProgram(t testing.TB, files []*os.File, env []string, name string, args ...string) *program {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", guard, "sh", testdeps.Path(t, name)}, args...)...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = t.TempDir(), append(os.Environ(), env...), files
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	err = cmd.Start()
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &program{}
	p.changed = sync.NewCond(&p.mu)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.change(func() { p.lines = append(p.lines, s.Text()) })
		}
		p.change(func() { p.ended = true })
	}()
	t.Cleanup(func() {
		stdin.Close()
		<-done
		cmd.Wait() // its error says that it was killed
		if t.Failed() {
			t.Logf("%s has written:\n%s", name, strings.Join(p.lines, "\n"))
		}
	})
	return p
}

func (p *program) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.Broadcast()
}

// wait waits for a line that begins with prefix, and returns the rest of the line. It fails the test if the program ends before, or
// after ten seconds.
func (p *program) wait(t testing.TB, prefix string) string {
	t.Helper()
	late := false
	timer := time.AfterFunc(10*time.Second, func() { p.change(func() { late = true }) })
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for _, line := range p.lines {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		}
		if p.ended || late {
			t.Fatalf("no line %q came", prefix)
		}
		p.changed.Wait()
	}
}

// writePEM writes a certificate with its key into a file, and returns the path.
func writePEM(t testing.TB, dir, name string, c tls.Certificate) string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: key})
	return writeFile(t, dir, name+".pem", b.String())
}

func writeFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
