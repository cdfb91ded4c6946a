//go:build unix

package sni_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/sleightproxy/sleight/pkg/sni"
)

const fewDescriptors = "SNI_TEST_FEW_DESCRIPTORS"

// runAlone runs the test in a process of its own, with the variable set, because it would disturb the other tests.
func runAlone(t *testing.T, variable string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), variable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// If idle connections have used up the descriptors, a new connection replaces some of them. If there are no idle connections, the error
// says what is missing.
func TestWantOfDescriptorsClosesIdleConnectionsFirst(t *testing.T) {
	if os.Getenv(fewDescriptors) == "" {
		runAlone(t, fewDescriptors)
		return
	}
	o := startOriginProcess(t)
	tr := newTransport(t, to(sni.Target{Addresses: []string{o.Address}, Roots: sni.RootsFromPEM(o.Roots)}))
	tr.MaxTargets, tr.MaxIdleConns = 1000, 1000
	limit := syscall.Rlimit{Cur: 100, Max: 100}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		mustGet(t, tr, fmt.Sprintf("https://h%d.many.test/", i))
	}
	if _, _, conns, _ := tr.Held(); conns < 50 || conns > 100 {
		t.Errorf("%d connections under a limit of 100 descriptors", conns)
	}
	tr.CloseIdleConnections()
	var files []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		files = append(files, f)
	}
	_, err := get(t, tr, "https://h0.many.test/")
	e := wantType(t, err, sni.ProxyInternalError)
	if !errors.Is(err, sni.ErrNoDescriptors) || !e.Unprocessed {
		t.Errorf("%v, unprocessed %t", err, e.Unprocessed)
	}
	for _, f := range files {
		f.Close()
	}
	mustGet(t, tr, "https://h0.many.test/") // it is no fault of the address
}

// The route and the certificate have no fault then.
func TestWantOfDescriptorsIsNotBlamedOnTheClientCertificate(t *testing.T) {
	if os.Getenv(fewDescriptors) == "" {
		runAlone(t, fewDescriptors)
		return
	}
	d := newCertDir(t)
	c, k := d.pair("shop")
	d.write("shop.pem", k+c)
	o := startOriginProcess(t)
	tr := newTransport(t, sni.TranslatorFunc(func(_ context.Context, host string) (sni.Target, error) {
		target := sni.Target{Addresses: []string{o.Address}, Roots: sni.RootsFromPEM(o.Roots)}
		if host == "shop.many.test" {
			target.ClientCert = "shop"
		}
		return target, nil
	}))
	tr.ClientCertificates = d
	limit := syscall.Rlimit{Cur: 100, Max: 100}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	take := func() (files []*os.File) {
		for {
			f, err := os.Open(os.DevNull)
			if err != nil {
				return files
			}
			files = append(files, f)
		}
	}
	files := take()
	_, err := get(t, tr, "https://shop.many.test/")
	e := wantType(t, err, sni.ProxyInternalError)
	if !errors.Is(err, sni.ErrNoDescriptors) || !e.Unprocessed {
		t.Errorf("%v, unprocessed %t", err, e.Unprocessed)
	}
	for _, f := range files {
		f.Close()
	}
	mustGet(t, tr, "https://h1.many.test/")
	mustGet(t, tr, "https://h2.many.test/")
	files = take()
	mustGet(t, tr, "https://shop.many.test/") // in the place of the idle ones
	for _, f := range files {
		f.Close()
	}
}
