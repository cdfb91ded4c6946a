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
