//go:build unix

package main_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

// BenchmarkCheckAll checks a thousand routes at one origin on loopback, each with another name. The command has 128 file descriptors. The
// metrics have only its own CPU time and memory. The time includes the origin's work.
func BenchmarkCheckAll(b *testing.B) {
	ca, err := devca.New("root")
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := ca.Leaf([]string{"*.x.test"})
	if err != nil {
		b.Fatal(err)
	}
	names := tlstest.Names{"lb.test": {"127.0.0.1"}, "proxy.test": {"192.0.2.1"}}
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })}
	var all []map[string]any
	for i := range 1000 {
		host := fmt.Sprintf("h%d.x.test", i)
		names[host], o.Certificates[host] = []string{"proxy.test"}, leaf
		all = append(all, map[string]any{"host": host, "ca_pem": ca.PEM()})
	}
	o.Start(b)
	for _, r := range all {
		r["origin"] = "lb.test:" + o.Port()
	}
	document, err := json.Marshal(map[string]any{"routes": all})
	if err != nil {
		b.Fatal(err)
	}
	routes := filepath.Join(b.TempDir(), "routes.json")
	if err := os.WriteFile(routes, document, 0o600); err != nil {
		b.Fatal(err)
	}
	resolver, _ := tlstest.NameServer(b, names)
	binary := lambdatest.BuildPackage(b, "./cmd/sleight")
	var cpu, memory float64
	for b.Loop() {
		cmd := exec.CommandContext(b.Context(), "sh", "-c", `ulimit -n 128; exec "$0" "$@"`, binary,
			"check", "--all", "--routes", routes, "--allow-cidr", "127.0.0.0/8", "--resolver", resolver, "--target", "proxy.test", "--warn-days", "0")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "0 FAIL, 0 warn, 1000 ok") {
			b.Fatalf("%v: %s", err, out[max(0, len(out)-500):])
		}
		cpu += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
		memory = max(memory, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
	}
	b.ReportMetric(cpu/float64(b.N), "cpu-s/op")
	b.ReportMetric(memory, "MiB")
}
