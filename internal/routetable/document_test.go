package routetable_test

import (
	"bytes"
	"errors"
	"iter"
	"testing"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// Diff and version control show lines, so that each route has its own.
func TestDocumentHasARouteInEachLine(t *testing.T) {
	t.Parallel()
	a, b := origin.Item{"note": "n", "host": "a.test"}, origin.Item{"host": "b.test"}
	for _, c := range []struct {
		items []origin.Item
		want  string
	}{
		{nil, "{\"routes\":[]}\n"},
		{[]origin.Item{a}, "{\"routes\":[\n{\"host\":\"a.test\",\"note\":\"n\"}\n]}\n"},
		{[]origin.Item{a, b}, "{\"routes\":[\n{\"host\":\"a.test\",\"note\":\"n\"},\n{\"host\":\"b.test\"}\n]}\n"},
	} {
		var document bytes.Buffer
		if err := routetable.FormatItems(&document, sequence(nil, c.items...)); err != nil || document.String() != c.want {
			t.Errorf("%s, %v, want %s", &document, err, c.want)
			continue
		}
		n := 0
		for item, err := range origin.Items(&document) {
			if err != nil || !item.Equal(c.items[n]) {
				t.Errorf("%v, %v, want %v", item, err, c.items[n])
			}
			n++
		}
		if n != len(c.items) {
			t.Errorf("%d routes are read, want %d", n, len(c.items))
		}
	}
	down := errors.New("down")
	if err := routetable.FormatItems(new(bytes.Buffer), sequence(down, a)); !errors.Is(err, down) {
		t.Errorf("%v", err)
	}
	if err := routetable.FormatItems(new(bytes.Buffer), sequence(nil, origin.Item{"host": []byte("a")})); err == nil {
		t.Error("an item that is not JSON is written")
	}
}

// sequence yields items, and err at the end if it is not nil.
func sequence(err error, items ...origin.Item) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}
