// Package demo shows what sleight does, on loopback and without configuration. It has a load balancer with the certificates of
// several customers, routes to it, and the proxy in front.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sleightproxy/sleight/internal/app"
)

// Run starts everything, sends one request through the proxy, writes to out what happened, and serves until ctx ends. listen is
// the address for the proxy. If it is in use, Run takes a free port and says so. The error is nil only if the request
// succeeded.
func Run(ctx context.Context, out io.Writer, listen string) error {
	balancer, err := startLoadBalancer()
	if err != nil {
		return err
	}
	defer balancer.close()
	dir, err := os.MkdirTemp("", "sleight-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir)
	routesFile, err := writeFiles(dir, balancer)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	settings := app.Settings{
		RoutesFile: routesFile,
		ForceHTTPS: true,
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	routes, err := app.Routes(settings, logger, nil)
	if err != nil {
		return err
	}
	proxy, err := app.New(settings, logger, routes)
	if err != nil {
		return err
	}
	listener, err := listenOrElse(listen, out)
	if err != nil {
		return err
	}
	// Only the first request is traced.
	traced := &trace{dialled: balancer.address()}
	first := make(chan struct{})
	withTrace := traced.wrap(proxy)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-first:
			proxy.ServeHTTP(w, r)
		default:
			withTrace.ServeHTTP(w, r)
		}
	})}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	defer server.Close()

	address := listener.Addr().String()
	fmt.Fprintf(out, "Load balancer  %s, with certificates for several customers on one address\n", balancer.address())
	fmt.Fprintf(out, "Routes         %s\n", routesFile)
	fmt.Fprintf(out, "Proxy          http://%s\n\n", address)
	err = firstRequest(ctx, out, address, traced)
	close(first)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `
Try:
  curl -H 'Host: %[2]s' http://%[1]s/
  curl -H 'Host: %[3]s' http://%[1]s/any/path
  curl -i -H 'Host: %[4]s' http://%[1]s/      # a certificate for somebody else: 502, and why; more in the log below
  curl -i -H 'Host: unknown.spec-trust.test' http://%[1]s/    # no route: 404, no origin is dialled
What the load balancer thinks of a client that names the wrong host (421):
  curl --cacert %[5]s --connect-to %[2]s:443:%[6]s -H 'Host: %[3]s' https://%[2]s/

Press Ctrl-C to stop.
`, address, customerOne, customerTwo, customerWrong, filepath.Join(dir, "ca.pem"), balancer.address())
	select {
	case err := <-failed:
		return fmt.Errorf("demo: proxy: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// writeFiles writes the routes file and the root's certificate.
func writeFiles(dir string, b *loadBalancer) (routesFile string, err error) {
	type route struct {
		Host   string `json:"host"`
		Origin string `json:"origin"`
		CAPEM  string `json:"ca_pem"`
	}
	var document struct {
		Routes []route `json:"routes"`
	}
	for _, host := range []string{customerOne, customerTwo, customerWrong} {
		document.Routes = append(document.Routes, route{host, b.address(), b.ca.PEM()})
	}
	routes, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return "", err
	}
	routesFile = filepath.Join(dir, "routes.json")
	return routesFile, errors.Join(
		os.WriteFile(routesFile, append(routes, '\n'), 0o600),
		os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(b.ca.PEM()), 0o600))
}

func listenOrElse(address string, out io.Writer) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(address)
		if listener, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
			fmt.Fprintf(out, "%s is taken by another program; the proxy listens on %s instead.\n\n", address, listener.Addr())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	return listener, nil
}

func firstRequest(ctx context.Context, out io.Writer, proxy string, t *trace) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+proxy+"/", nil)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	request.Host = customerOne
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy of the environment
	fmt.Fprintf(out, "curl -H 'Host: %s' http://%s/\n", customerOne, proxy)
	start := time.Now()
	resp, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("demo: the first request failed: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("demo: the first request's answer broke off: %w", err)
	}
	t.total = time.Since(start)
	t.print(out, customerOne, resp)
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("demo: the first request was answered %s: %s", resp.Status, text)
	}
	fmt.Fprintf(out, "\n  %s\n", text)
	return nil
}
