package origin

import (
	"strings"
	"testing"
	"testing/iotest"
)

func TestFaultsOfADocumentAreFoundByLineAndColumn(t *testing.T) {
	for document, says := range map[string]string{
		"{\"routes\":[\n{\"host\":\"a\"},\n{\"host\" \"b\"}]}":               "line 3, column 9: route 2 of the list: invalid character",
		"{\"routes\":[\n{\"host\":\"a\"},\n\n  {\"host\":tru}]}":             "line 4, column 14: route 2 of the list: invalid character",
		"{\"routes\":[\n{\"host\":\"a\"}\n{\"host\":\"b\"}]}":                "line 3, column 1: route 2 of the list: expected comma",
		"{\"routes\":[\n{\"host\":\"a\"},\n{\"host\":\"b\"":                  "line 3, column 12: route 2 of the list: unexpected EOF",
		"{\"routes\":[\n{\"host\":\"a\"},\n{\"host\":\"b\",\"host\":\"\"}]}": "route 2 of the list (line 3, column 1): has \"host\" twice",
		"{\"routes\":[\n\n" + strings.Repeat("{},\n", 5000) + "  null]}":     "route 5001 of the list (line 5003, column 3): is null",
		"{\"routes\":[]}\n\n x":                                              "line 3, column 2: ",
		"":                                                                   "line 1, column 1: unexpected EOF",
		"\n[]":                                                               "line 2, column 2: [ is where { has to be",
	} {
		for _, bytewise := range []bool{false, true} {
			var got error
			r := iotest.DataErrReader(strings.NewReader(document))
			if bytewise {
				r = iotest.OneByteReader(strings.NewReader(document))
			}
			for _, err := range Items(r) {
				got = err
			}
			if got == nil || !strings.Contains(got.Error(), says) {
				t.Errorf("%.60q (a byte at a time: %v): %v, want %q", document, bytewise, got, says)
			}
		}
	}
}
