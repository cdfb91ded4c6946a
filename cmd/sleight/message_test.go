package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// Text from a table, a document or an origin could clear the screen, rename the window, or look like a line of the command.
func TestLastLineOfACommandIsSafeForTerminals(t *testing.T) {
	t.Parallel()
	const evil = `\u001b]0;owned\u0007\u001b[2J\nsleight: all is well\r\u202e\u009b`
	table := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ValidationException","message":"%s"}`, evil)
	}))
	t.Cleanup(table.Close)
	document := filepath.Join(t.TempDir(), "routes.json")
	if err := os.WriteFile(document, fmt.Appendf(nil, `{"host":"%s","origin":"lb.test"}`, evil), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_MAX_ATTEMPTS=1"}
	there := []string{"--table", "routes", "--endpoint-url", table.URL}
	for _, args := range [][]string{
		append([]string{"routes", "get", "one.test"}, there...),
		append([]string{"routes", "list"}, there...),
		append([]string{"routes", "export"}, there...),
		append([]string{"routes", "rm", "one.test", "--yes"}, there...),
		append([]string{"check", "one.test"}, there...),
		append([]string{"explain", "one.test"}, there...),
		append([]string{"routes", "put", "one.test", "--file", document}, there...),
		{"check", "--from-file", document},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			t.Parallel()
			got := execute(t, env, "", args...)
			if got.status == 0 || got.err == "" || strings.Contains(got.err, "\nsleight: all is well") {
				t.Errorf("status %d, %q", got.status, got.err)
			}
			for _, said := range []string{got.out, got.err} {
				if strings.ContainsFunc(said, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
					t.Errorf("not safe: %q", said)
				}
			}
		})
	}
}
