package origin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

// faultOf reads a document to its end or its first fault, whole or a byte at a time.
func faultOf(document string, bytewise bool) (fault error) {
	r := iotest.DataErrReader(strings.NewReader(document))
	if bytewise {
		r = iotest.OneByteReader(strings.NewReader(document))
	}
	for _, err := range Items(r) {
		fault = err
	}
	return fault
}

// The texts of encoding/json's errors and the offsets of its decoders differ between releases of Go. The position of a
// fault does not.
func TestFaultsOfADocumentAreFoundByLineAndColumn(t *testing.T) {
	for document, says := range map[string]string{
		"{\"routes\":[\n{\"host\":\"a\"},\n{\"host\" \"b\"}]}":                 "line 3, column 9: route 2 of the list: ",
		"{\"routes\":[\n{\"host\" 5}]}":                                        "line 2, column 9: route 1 of the list: ",
		"{\"routes\":[\n  x]}":                                                 "line 2, column 3: route 1 of the list: ",
		"{\"routes\":[\n{\"host\":\"a\"},\n\n  {\"host\":tru}]}":               "line 4, column 14: route 2 of the list: ",
		"{\"routes\":[\n{\"host\":\"a\"},\n  {\"a\":[1,\n {\"b\":\"\\q\"}]}]}": "line 4, column 9: route 2 of the list: ",
		"{\"routes\":[\n{\"host\":\"a\"}\n{\"host\":\"b\"}]}":                  "line 3, column 1: route 2 of the list: ",
		"{\"routes\":[\n{\"host\":\"a\"}  x":                                   "line 2, column 15: route 2 of the list: ",
		"{\"routes\":[\n{\"host\":\"a\"}.5":                                    "line 2, column 13: route 2 of the list: ",
		"{\"routes\":[\n{\"host\":\"a\"},\n ]}":                                "line 3, column 2: route 2 of the list: ",
		"{\"routes\":[\n{\"host\":\"a\"},\n,":                                  "line 3, column 1: route 2 of the list: ",
		"{\"routes\":[\n{\"host\":\"a\"}\n }":                                  "line 3, column 2: ",
		"{\"routes\":[\n{\"host\":\"a\"}]\n]":                                  "line 3, column 1: ",
		"{\"routes\":[\n{\"host\":\"a\"}]\n x":                                 "line 3, column 2: ",
		"{\"routes\":[\n{\"host\":\"a\"},\n{\"host\":\"b\"":                    "line 3, column 12: route 2 of the list: unexpected EOF",
		"{\"routes\":[\n{\"host\":\"a\"},\n":                                   "line 3, column 1: route 2 of the list: unexpected EOF",
		"{\"routes\":[\n{\"host\":\"a\\ud8":                                    "line 2, column 15: route 1 of the list: unexpected EOF",
		"{\"routes\":[\n{\"host\":\"a\"},\n{\"host\":\"b\",\"host\":\"\"}]}":   "route 2 of the list (line 3, column 1): has \"host\" twice",
		"{\"routes\":[\n\n" + strings.Repeat("{},\n", 5000) + "  null]}":       "route 5001 of the list (line 5003, column 3): is null",
		"{\"routes\":[\n" + strings.Repeat("{},\n", 5000) + "  {\"a\" 5}]}":    "line 5002, column 8: route 5001 of the list: ",
		"{\"routes\":[]}\n\n x":                                                "line 3, column 2: ",
		"{\"routes\":[]}\n\n {\"routes\":[]}":                                  "line 3, column 2: there is more after its end",
		"{\"routes\":[{}]},":                                                   "line 1, column 16: there is more after its end",
		"":                                                                     "line 1, column 1: unexpected EOF",
		"{\"rou":                                                               "line 1, column 6: unexpected EOF",
		"{\"routes\":[\n{}]\n":                                                 "line 3, column 1: unexpected EOF",
		"\n[]":                                                                 "line 2, column 1: [ in place of {",
		"{\n\"routes\" [":                                                      "line 2, column 10: ",
		"{\n\"routes\" :\n 5}":                                                 "line 3, column 2: \"routes\" is not a list",
		"{\n\"routes\":\n {\"a\":[]}}":                                         "line 3, column 2: \"routes\" is not a list",
		"{\"routes\":[\n{\"host\":\"a\"},\n{\"host\":é}]}":                     "line 3, column 9: route 2 of the list: ",
		"{\n x": "line 2, column 2: ",
	} {
		for _, bytewise := range []bool{false, true} {
			if got := faultOf(document, bytewise); got == nil || !strings.Contains(got.Error(), says) {
				t.Errorf("%.60q (a byte at a time: %v): %v, want %q", document, bytewise, got, says)
			}
		}
	}
}

// A failed read is not a fault of the document.
func TestReadersErrorIsTold(t *testing.T) {
	broken := errors.New("the disk is gone")
	for _, document := range []string{"", "{", "{\"routes\":", "{\"routes\":[", "{\"routes\":[{}", "{\"routes\":[{},", "{\"routes\":[{},{\"host\":"} {
		var fault error
		for _, err := range Items(io.MultiReader(strings.NewReader(document), iotest.ErrReader(broken))) {
			fault = err
		}
		if !errors.Is(fault, broken) {
			t.Errorf("%q: %v", document, fault)
		}
	}
}

// The reported fault is the first byte that is not JSON, or an earlier one if the document has the wrong form.
func FuzzFaultsAreFound(f *testing.F) {
	for _, document := range []string{"", "{\"routes\":[{},\n{\"a\" 5}]}", "{\"routes\":[{}\n{}]}", "{\"routes\":[]} x", "[\n", "{\"routes\"\n:5}", "{\"routes\":[{},,", "{\"routes\":[{}.", "{\"routes\":[{\"a\":\"\\ud8"} {
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, document string) {
		const atOnce, bytewise = false, true
		fault := faultOf(document, atOnce)
		where := func(err error) string { // without the text of encoding/json, which may depend on how it was read
			if at := regexp.MustCompile(`line \d+, column \d+`).FindString(fmt.Sprint(err)); at != "" {
				return at
			}
			return fmt.Sprint(err)
		}
		if again := faultOf(document, bytewise); where(again) != where(fault) {
			t.Fatalf("at once: %v\na byte at a time: %v", fault, again)
		}
		var line, column int
		_, at, ok := strings.Cut(fmt.Sprint(fault), "has to be JSON of the form {\"routes\":[...]}: ")
		if !ok {
			if fault == nil && !json.Valid([]byte(document)) {
				t.Fatal("what is no JSON was read")
			}
			return
		}
		if _, err := fmt.Sscanf(at, "line %d, column %d:", &line, &column); err != nil {
			t.Fatalf("%v: %v", fault, err)
		}
		lines := strings.SplitAfter(document, "\n")
		if line < 1 || line > len(lines) || column < 1 || column > len(lines[line-1])+1 {
			t.Fatalf("%v is outside the document", fault)
		}
		offset := len(strings.Join(lines[:line-1], "")) + column - 1
		if end := SyntaxFault([]byte(document)); end >= 0 && offset > end {
			t.Fatalf("%v, but it stops being JSON at %d", fault, end)
		}
	})
}
