//go:build unix

package main_test

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sleightproxy/sleight/internal/dynamodbtest"
	"github.com/sleightproxy/sleight/internal/lambdatest"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

const benchHost = "one.spec-trust.test"

// contender is a function to measure.
type contender struct {
	name, binary string
	env          []string
}

// contenders are a function that only says hello, a minimal proxy, and sleight with its routes in DynamoDB. Their origin speaks
// HTTP/1.1 and responds with a kilobyte.
func contenders(b *testing.B) []contender {
	ca := tlstest.NewAuthority(b)
	page := bytes.Repeat([]byte("a"), 1024)
	o := &tlstest.Origin{
		HTTP1:        true,
		Certificates: map[string]tls.Certificate{benchHost: tlstest.Leaf(b, ca, benchHost)},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Write(page)
		}),
	}
	o.Start(b)
	db := dynamodbtest.Start(b)
	table := db.CreateRoutesTable(b)
	db.Put(b, table, map[string]types.AttributeValue{
		"host":   &types.AttributeValueMemberS{Value: benchHost},
		"origin": &types.AttributeValueMemberS{Value: o.Addr},
		"ca_pem": &types.AttributeValueMemberS{Value: ca.PEM()},
	})
	return []contender{
		{"hello", lambdatest.BuildPackage(b, "./functions/proxy/testdata/hello"), nil},
		{"naive", lambdatest.BuildPackage(b, "./functions/proxy/testdata/naive"), []string{"NAIVE_ORIGIN=" + o.Addr, "NAIVE_ROOTS=" + ca.PEM()}},
		{"sleight", lambdatest.Build(b), []string{"ROUTES_TABLE=" + table, "AWS_ENDPOINT_URL_DYNAMODB=" + db.Endpoint, "ORIGIN_ALLOW_CIDRS=127.0.0.0/8"}},
	}
}

// BenchmarkInvocation measures warm invocations; cpu-µs/op is the function's own time.
func BenchmarkInvocation(b *testing.B) {
	e := event(b, "http-api", benchHost, "/")
	for _, c := range contenders(b) {
		b.Run(c.name, func(b *testing.B) {
			f := lambdatest.Start(b, c.binary, c.env...)
			for range 50 {
				if r := invoke(b, f, e); r.StatusCode != 200 {
					b.Fatalf("%+v", r)
				}
			}
			before := cpuMicroseconds(b, f.PID())
			for b.Loop() {
				f.MustInvoke(b, e)
			}
			b.ReportMetric((cpuMicroseconds(b, f.PID())-before)/float64(b.N), "cpu-µs/op")
		})
	}
}

// BenchmarkStart measures the time from the start of the process to its request for the first event.
func BenchmarkStart(b *testing.B) {
	for _, c := range contenders(b) {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				f := lambdatest.Start(b, c.binary, c.env...)
				b.StopTimer()
				if err := syscall.Kill(f.PID(), syscall.SIGKILL); err != nil {
					b.Fatal(err)
				}
				if _, err := f.Wait(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// cpuMicroseconds returns the user and system time of a process (proc(5)). It returns zero if the system is not Linux.
func cpuMicroseconds(b *testing.B, pid int) float64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const ticksPerSecond = 100 // USER_HZ on all of Linux's common platforms
	ticks := 0.0
	for _, f := range fields[11:13] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return ticks * 1e6 / ticksPerSecond
}
