package testdeps_test

import (
	"testing"

	"github.com/sleightproxy/sleight/internal/testdeps"
)

func TestCacheIsWhereTestdepsPutsIt(t *testing.T) {
	t.Setenv("HOME", "/h")
	for _, c := range []struct{ own, xdg, want string }{{"", "", "/h/.cache/sleight"}, {"", "/x", "/x/sleight"}, {"/o", "/x", "/o"}} {
		t.Setenv("SLEIGHT_TEST_CACHE", c.own)
		t.Setenv("XDG_CACHE_HOME", c.xdg)
		if got := testdeps.Dir(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
