package sni_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// In FIPS mode, crypto/tls checks keys before this package does, and its error has no type.
func TestWeakKeyIsOneInFIPSModeToo(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run", "^TestCertificateMatrix$/^(P-224|RSA_of_)")
	c.Env = append(os.Environ(), "GODEBUG=fips140=on")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestCertificateMatrix/P-224 ") || !strings.Contains(string(out), "--- PASS: TestCertificateMatrix/RSA_of_1,024_bits") {
		t.Errorf("%v\n%s", err, out)
	}
}
