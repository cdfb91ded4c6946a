package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sleightproxy/sleight/internal/check"
	"github.com/sleightproxy/sleight/internal/devca"
	"github.com/sleightproxy/sleight/internal/tlstest"
)

const checkDocument = "../../docs/check.md"

// inExamples replaces values that differ in each run with typical values.
var inExamples = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`_ms": [0-9.]+`), `_ms": N`},
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`), `"TIME"`},
	{regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`), "IP"},
	{regexp.MustCompile(`(amazon\.com:|IP:|on port )\d+`), "${1}PORT"},
	{regexp.MustCompile(`[A-Za-z0-9+/]{43}=`), "PIN"},
}

func example(s string) string {
	for _, v := range inExamples {
		s = v.pattern.ReplaceAllString(s, v.with)
	}
	return s
}

// People write scripts after the example.
func TestExamplesOfTheDocumentAreWhatTheCommandSays(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(checkDocument)
	if err != nil {
		t.Fatal(err)
	}
	document := string(b)
	ca, err := devca.New("ISRG Root X1")
	if err != nil {
		t.Fatal(err)
	}
	long := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(61*24*time.Hour + time.Hour) }
	intermediate, err := ca.Intermediate("E7", nil, long)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := intermediate.Leaf([]string{"one.spec-trust.com"}, long)
	if err != nil {
		t.Fatal(err)
	}
	o := &tlstest.Origin{Certificates: map[string]tls.Certificate{"one.spec-trust.com": leaf}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", "nginx") })}
	o.Start(t)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	// The intermediate is trusted, because a root of devca expires within a day.
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[1]}), 0o600); err != nil {
		t.Fatal(err)
	}
	resolver, _ := tlstest.NameServer(t, tlstest.Names{"one.spec-trust.com": {"d-abc123.execute-api.eu-west-1.amazonaws.com"}, "d-abc123.execute-api.eu-west-1.amazonaws.com": {"192.0.2.1"}, "one.lb.aws.amazon.com": {"127.0.0.1", "127.0.0.2"}})
	env := []string{"SSL_CERT_FILE=" + roots, "SSL_CERT_DIR=" + t.TempDir()}
	args := []string{"check", "one.spec-trust.com", "--origin", "one.lb.aws.amazon.com:" + o.Port(), "--allow-cidr", "127.0.0.0/8", "--resolver", resolver, "--target", "d-abc123.execute-api.eu-west-1.amazonaws.com"}
	c := runCheck(t, env, "", append(args, "-o", "json")...)
	fence := regexp.MustCompile("(?s)```json\n(.*?)```").FindStringSubmatch(document)
	if fence == nil || example(fence[1]) != example(c.out) {
		t.Errorf("the example of docs/check.md is not what the command says, which is\n%s%s", c.out, c.err)
	}
	for _, code := range check.Codes() {
		if !strings.Contains(document, "| `"+code+"` |") {
			t.Errorf("docs/check.md lacks the code %q", code)
		}
	}
	for _, code := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (fail|warn|note)").FindAllStringSubmatch(document, -1) {
		found := false
		for _, known := range check.Codes() {
			found = found || known == code[1]
		}
		if !found {
			t.Errorf("docs/check.md has the code %q, which is none", code[1])
		}
	}
}
