//go:build unix && !solaris && !aix

package routetable_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sleightproxy/sleight/internal/routetable"
)

// lockFile locks a file like another process.
func lockFile(t *testing.T, name string) (unlock func()) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { file.Close() }
}

func TestFileThatStaysLockedIsWaitedForUntilInterrupted(t *testing.T) {
	t.Parallel()
	name := routesFile(t, `{"routes":[]}`)
	unlock := lockFile(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	f := openFile(t, name)
	if err := f.Write(ctx, routetable.Change{After: item(t, `{"host":"a.test"}`)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	unlock()
	write(t, f, nil, item(t, `{"host":"a.test"}`))
}

func TestFileThatStaysLockedIsGivenUpInTheEnd(t *testing.T) {
	t.Parallel()
	name := routesFile(t, `{"routes":[]}`)
	defer lockFile(t, name)()
	f := openFile(t, name)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		var told []time.Duration
		f.Waiting = func(atMost time.Duration) { told = append(told, time.Since(began), atMost) }
		err := f.Write(ctx, routetable.Change{After: item(t, `{"host":"a.test"}`)})
		wantSaid(t, err, "locked", "lsof")
		if want := []time.Duration{time.Second, 29 * time.Second}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v: of the wait, once, after a second", told, want)
		}
	})
}

func TestShortWaitForALockIsNotToldOf(t *testing.T) {
	t.Parallel()
	name := routesFile(t, `{"routes":[]}`)
	unlock := lockFile(t, name)
	f := openFile(t, name)
	synctest.Test(t, func(t *testing.T) {
		f.Waiting = func(time.Duration) { t.Error("told of a wait of half a second") }
		time.AfterFunc(500*time.Millisecond, unlock)
		if err := f.Write(t.Context(), routetable.Change{After: item(t, `{"host":"a.test"}`)}); err != nil {
			t.Error(err)
		}
	})
}
