package origin

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// Columns are bytes in every release of Go, beside characters of several bytes and inside an escape too.
func TestSyntaxFaultIsTheFirstByteThatCannotBeThere(t *testing.T) {
	for document, want := range map[string]int{
		`{"a":[1,-2.5e+3,0,{}],"b":"\u00e9\n é","c":[true,false,null,[]]}`: -1,
		" \t\r\n1 \n": -1, "0": -1, `""`: -1, "-0.0E-0": -1,
		"": 0, "  ": 2, "é": 0, "\ufeff1": 0, "\x00": 0, "x": 0, "]": 0, ",": 0, "+1": 0, ".5": 0, "NaN": 0,
		`{"a" 5}`: 5, `{"a" é}`: 5, `{"a":é}`: 5, `{a:1}`: 1, `{"a":1,}`: 7, `{,}`: 1, `{"a"}`: 4, `{"a":}`: 5, `{1:2}`: 1, "{\"a\":1]": 6,
		"[1 2]": 3, "[1,]": 3, "[,1]": 1, "[1,,2]": 3, "[1}": 2, "[1]]": 3, "[1] x": 4, "{} {}": 3,
		"tru": 3, "trua": 3, "truee": 4, "nul\xc3\xa9": 3, "falsy": 4,
		"01": 1, "-": 1, "-x": 1, "1.": 2, "1.x": 2, "1e": 2, "1e+": 3, "1ex": 2, "--1": 1, "1.5.2": 3,
		`"`: 1, `"a`: 2, `"\`: 2, `"\q"`: 2, `"\é"`: 2, `"\u12`: 5, `"\u12é"`: 5, `"\u1x34"`: 4, `"\ud800"`: -1, "\"\xff\"": -1, "\"\x1f\"": 1, "\"é\n\"": 3,
		strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth):     -1,
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1): maxDepth,
		strings.Repeat(`{"a":`, 1_000_000):                                5 * maxDepth,
	} {
		if got := SyntaxFault([]byte(document)); got != want || (got < 0) != json.Valid([]byte(document)) {
			t.Errorf("%.60q: %d, want %d; encoding/json takes it: %v", document, got, want, json.Valid([]byte(document)))
		}
	}
}

// SyntaxFault and encoding/json agree whether a document is JSON, and whether it is cut off.
func FuzzSyntaxFault(f *testing.F) {
	for _, document := range []string{`{"a":[1,-2.5e+3,{}],"b":"\u00e9\n é"}`, `{"a" é}`, "[1 2]", `"\u12`, "1.5.2", "nul", "{} {}"} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		at := SyntaxFault(document)
		if (at < 0) != json.Valid(document) {
			t.Fatalf("fault at %d, encoding/json takes it: %v", at, json.Valid(document))
		}
		if at < 0 {
			return
		}
		if at > len(document) {
			t.Fatalf("fault at %d of %d", at, len(document))
		}
		var whole json.RawMessage
		var syntax *json.SyntaxError
		before, err := document[:at], error(nil)
		if err = json.Unmarshal(before, &whole); err != nil { // otherwise the fault follows a whole value
			err = json.NewDecoder(strings.NewReader(string(before))).Decode(&whole)
		}
		if errors.As(err, &syntax) || err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("fault at %d, but %q cannot go on: %v", at, before, err)
		}
	})
}
