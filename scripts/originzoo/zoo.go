package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sleightproxy/sleight/internal/devca"
)

// A zoo has what all servers share: the certificate, the application, and a folder.
type zoo struct {
	sleight string
	posts   int
	logs    string // folder to keep the servers' and sleight's logs in, if any
	dir     string
	ca      *devca.Authority
	app     *app
	backend *http.Server
	at      place
}

func newZoo(sleight, logs string, posts int) (*zoo, error) {
	sleight, err := filepath.Abs(sleight)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "originzoo")
	if err != nil {
		return nil, err
	}
	z := &zoo{sleight: sleight, logs: logs, posts: posts, dir: dir, app: &app{posts: map[string]int{}}}
	if err := z.prepare(); err != nil {
		z.close()
		return nil, err
	}
	return z, nil
}

func (z *zoo) prepare() error {
	// Servers that root starts work as another user.
	if err := os.Chmod(z.dir, 0o755); err != nil {
		return err
	}
	var err error
	if z.ca, err = devca.New("originzoo"); err != nil {
		return err
	}
	leaf, err := z.ca.Leaf([]string{name})
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	in := func(file string) string { return filepath.Join(z.dir, file) }
	z.at = place{Name: name, Cert: in("cert.pem"), Key: in("key.pem"), Both: in("both.pem"), Store: in("store.p12")}
	for file, text := range map[string][]byte{
		z.at.Cert: certificate, z.at.Key: private, z.at.Both: append(append([]byte{}, certificate...), private...), in("ca.pem"): []byte(z.ca.PEM()),
	} {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	if out, err := exec.Command("openssl", "pkcs12", "-export", "-in", z.at.Cert, "-inkey", z.at.Key, "-out", z.at.Store,
		"-passout", "pass:sleight").CombinedOutput(); err != nil {
		return fmt.Errorf("openssl pkcs12: %w: %s", err, out)
	}
	if os.Getuid() == 0 {
		z.at.User = "nobody"
		if u, err := user.Lookup(z.at.User); err == nil {
			if g, err := user.LookupGroupId(u.Gid); err == nil {
				z.at.Group = g.Name
			}
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	z.at.App = l.Addr().(*net.TCPAddr).Port
	z.backend = &http.Server{Handler: z.app, IdleTimeout: 2 * idle}
	go z.backend.Serve(l)
	return nil
}

func (z *zoo) close() {
	if z.backend != nil {
		z.backend.Close()
	}
	os.RemoveAll(z.dir)
}

// try puts sleight before one server, and fills in r.
func (z *zoo) try(ctx context.Context, s server, p program, r *row) (err error) {
	dir, err := os.MkdirTemp(z.dir, s.name)
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return err
	}
	if z.logs != "" {
		defer func() {
			err = errors.Join(err, os.CopyFS(filepath.Join(z.logs, s.name+"-"+r.slug()), os.DirFS(dir)))
		}()
	}
	at := z.at
	at.Dir, at.Socket, at.Idle, at.HTTP2 = dir, dir+".sock", int(s.idle/time.Second), r.http2
	if at.Port, err = freePort(); err != nil {
		return err
	}
	if err := at.write(s.files); err != nil {
		return err
	}
	origin, err := start(ctx, dir, "server.log", append(p.argv, s.args(at)...), fmt.Sprint("APP=", at.App), "PYTHONDONTWRITEBYTECODE=1")
	if err != nil {
		return err
	}
	defer origin.end()
	if s.front != nil {
		// The front accepts connections before the server behind it does.
		if err := origin.wait(ctx, func() error { return dial("unix", at.Socket) }); err != nil {
			return err
		}
		if origin, err = start(ctx, dir, "front.log", s.front(at)); err != nil {
			return err
		}
		defer origin.end()
	}
	if err := origin.wait(ctx, func() error { return z.handshake(at.Port) }); err != nil {
		return err
	}

	route := map[string]any{"host": name, "origin": fmt.Sprint("127.0.0.1:", at.Port), "ca_pem": z.ca.PEM()}
	if r.http2 {
		route["protocols"] = []string{"h2", "http/1.1"}
	}
	routes, err := json.Marshal(map[string]any{"routes": []any{route}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(at.file("routes.json"), routes, 0o644); err != nil {
		return err
	}
	front, err := freePort()
	if err != nil {
		return err
	}
	address := fmt.Sprint("127.0.0.1:", front)
	proxy, err := start(ctx, dir, "sleight.log", []string{z.sleight, "serve", "--h2c", "--listen", address, "--routes", at.file("routes.json"), "--allow-cidr", "127.0.0.0/8"})
	if err != nil {
		return err
	}
	defer proxy.end()
	if err := proxy.wait(ctx, func() error { return dial("tcp", address) }); err != nil {
		return err
	}

	if r.differences, r.compared, err = compare(ctx, filepath.Join(z.dir, "ca.pem"), at.Port, address, dir, r.http2); err != nil {
		return err
	}
	others := newStrangers(address)
	r.count = z.load(ctx, load{url: "http://" + address, label: s.name + "-" + r.slug(), workers: 8, idle: s.idle + s.late, lengths: s.lengths && r.http2, transport: func() *http.Transport { return &http.Transport{MaxConnsPerHost: 1} }})
	r.strangers, r.refused = others.end()
	if err := errors.Join(ctx.Err(), others.check()); err != nil {
		return err
	}
	if err := wentOver(proxy.log, r); err != nil {
		return err
	}
	if r.lost > 0 || s.loses && r.http2 {
		// Does the server lose them by itself? Send twice as many straight, on connections of the same kind.
		r.straight = z.load(ctx, load{url: "https://" + name, label: s.name + "-" + r.slug() + "-straight", workers: 8, twice: true, lengths: s.lengths && r.http2, transport: z.straight(at.Port, r.http2)})
		r.asked = true
	}
	return ctx.Err()
}

// straight makes transports that go to the server itself. Over HTTP/2, all workers share one, so that requests share a connection as
// they do behind the proxy.
func (z *zoo) straight(port int, http2 bool) func() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	one := func() *http.Transport {
		return &http.Transport{
			MaxConnsPerHost: 1, Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: z.ca.Pool(), ServerName: name},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprint("127.0.0.1:", port))
			},
		}
	}
	if !http2 {
		return one
	}
	shared := one()
	return func() *http.Transport { return shared }
}

func (z *zoo) handshake(port int) error {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", fmt.Sprint("127.0.0.1:", port), &tls.Config{RootCAs: z.ca.Pool(), ServerName: name})
	if err == nil {
		c.Close()
	}
	return err
}

// dial returns an error if nobody listens on the port.
func dial(network, address string) error {
	c, err := net.Dial(network, address)
	if err == nil {
		c.Close()
	}
	return err
}

// freePort returns a port that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// wentOver returns an error if sleight's log does not have the POSTs over the protocol of the row.
func wentOver(log string, r *row) error {
	text, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	want := " protocol=" + r.protocol() + " "
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " method=POST ") && strings.Contains(line, want) {
			n++
		}
	}
	if n < r.posts-r.lost {
		return fmt.Errorf("only %d of %d POSTs went over %s, says sleight's log", n, r.posts, r.protocol())
	}
	return nil
}

// A process is a process that we have started and have to end.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func start(ctx context.Context, dir, log string, argv []string, env ...string) (*process, error) {
	p := &process{log: filepath.Join(dir, log), done: make(chan struct{})}
	f, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, f, f
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// wait returns once ready returns nil. It returns an error if the process ends before, or if it takes too long.
func (p *process) wait(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", filepath.Base(p.cmd.Path), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after a minute: %w: %s", filepath.Base(p.cmd.Path), err, p.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tail returns the end of its output.
func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-1000):])
}

func (p *process) end() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}
