package app_test

import (
	"bytes"
	"encoding/json"
	"log"
	"log/slog"
	"strings"
	"testing"

	"github.com/sleightproxy/sleight/internal/app"
)

func TestWhatLibrariesQuoteIsLeftOut(t *testing.T) {
	for said, want := range map[string]string{
		`Unsolicited response received on idle HTTP channel starting with "{\"iban\":\"DE00\"}"; err=<nil>`: "Unsolicited response received on idle HTTP channel starting with (left out); err=<nil>",
		"Unsolicited response received on idle HTTP channel starting with \"\\n\\\\\"; err=EOF\n":           "Unsolicited response received on idle HTTP channel starting with (left out); err=EOF",
		`one "a" and "b\\" and "c`:           "one (left out) and (left out) and (left out)",
		`the end "a\`:                        "the end (left out)",
		"raw `a\"b` and \"`\" here":          "raw (left out) and (left out) here",
		"http: panic serving x\nstack\n\tat": "http: panic serving x\nstack\n\tat",
		"":                                   "",
		strings.Repeat("a", 9<<10):           strings.Repeat("a", 8<<10) + "...",
	} {
		var out bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&out, nil))
		std := log.New(nil, "prefix", log.LstdFlags|log.Llongfile)
		app.LogLibraries(std, logger)
		for _, l := range []*log.Logger{std, app.LibraryLog(logger)} {
			out.Reset()
			l.Print(said)
			var line struct{ Level, Msg, Said string }
			if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Level != "WARN" || line.Msg != "said by a library" || line.Said != want || strings.Count(out.String(), "\n") != 1 {
				t.Errorf("%q: %v, %s, want %q", said, err, out.String(), want)
			}
		}
	}
}

// The lines are those of aws-lambda-go. Nothing but a name would be left of them, and the invocation has no other line.
func TestFailedInvocationIsToldWithItsCause(t *testing.T) {
	for _, c := range []struct{ said, level, cause, advice string }{
		{`{"errorMessage":"EOF","errorType":"errorString"}`, "ERROR", "the event is empty", "the event of an HTTP front, in JSON"},
		{`{"errorMessage":"unexpected EOF","errorType":"errorString"}`, "ERROR", "the event is cut off", "the event of an HTTP front, in JSON"},
		{`{"errorMessage":"invalid character 'h' looking for beginning of value","errorType":"SyntaxError"}`, "ERROR", "invalid character 'h' looking for beginning of value", "the event of an HTTP front, in JSON"},
		{`{"errorMessage":"failed to parse deadline: strconv.ParseInt: parsing \"SECRET\": invalid syntax","errorType":"wrapError"}`, "ERROR", "failed to parse deadline: strconv.ParseInt: parsing (left out): invalid syntax", "Lambda-Runtime-Deadline-Ms"},
		{`{"errorMessage":"failed to unmarshal client context json: EOF","errorType":"wrapError"}`, "ERROR", "failed to unmarshal client context json: EOF", "Lambda-Runtime-Client-Context"},
		{`{"errorMessage":"SECRET","errorType":"boundsError","stackTrace":[{"path":"pkg/x.go","line":7,"label":"(*T).do"},{"path":"y.go","line":8,"label":"main"}]}`, "ERROR", "boundsError; (*T).do at pkg/x.go:7; main at y.go:8", "panicked"},
		{`{"errorMessage":"SECRET"}`, "WARN", "", "said by a library"},
		{`{"SECRET":"x"}`, "WARN", "", "said by a library"},
	} {
		var out bytes.Buffer
		app.LibraryLog(slog.New(slog.NewJSONHandler(&out, nil))).Print(c.said)
		var line struct{ Level, Msg, Error string }
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Level != c.level || line.Error != c.cause || !strings.Contains(line.Msg, c.advice) || strings.Contains(out.String(), "SECRET") {
			t.Errorf("%s: %s, want %q", c.said, out.String(), c)
		}
	}
}

func FuzzLibraryLog(f *testing.F) {
	f.Add("before ", "a\"b\\", " after")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		var out bytes.Buffer
		l := app.LibraryLog(slog.New(slog.NewJSONHandler(&out, nil)))
		l.Printf("%d bytes: %q, %q", len(before), "SECRET"+secret+"SECRET", after)
		if strings.Contains(out.String(), "SECRET") || !json.Valid(out.Bytes()) || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q: %s", secret, out.String())
		}
		l.Print(before + after) // of any form
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) {
				t.Errorf("%q", line)
			}
		}
	})
}
