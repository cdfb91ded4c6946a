package printable_test

import (
	"testing"

	"github.com/sleightproxy/sleight/internal/printable"
)

func TestStrangersWordsDoNotMoveTheCursor(t *testing.T) {
	for in, want := range map[string]string{"a\x1b[2Jb": "a\ufffd[2Jb", "a\u202eb": "a\ufffdb", "a\r\nb": "a\ufffd b", "bücher": "bücher"} {
		if got := printable.Text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
