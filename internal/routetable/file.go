package routetable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// File is a routes file. Each change replaces the file as a whole, so that a reader finds the old routes or the new ones: a new
// file with the same mode and owner gets the name. If the name is a symbolic link, its target is replaced. A file that is
// read-only for the user is not replaced.
//
// Writers in all processes of one machine exclude each other by a lock (flock) on the file itself. They hold it from reading
// the file to replacing it. There is no lock file that could be left behind. Editors do not take the lock, and not
// all systems have flock. A change waits for the lock for at most half a minute.
type File struct {
	// Waiting, if not nil, is called once by a change that has waited for the lock for a second, on the
	// goroutine of the change. It must not be set while a change is under way.
	Waiting func(atMost time.Duration)

	name   string
	create bool // a missing file has no routes, and no error

	opened func() // for tests: called, if not nil, between opening and locking, when another process may be quicker
}

var _ Table = (*File)(nil)

// OpenFile returns the routes file of that name, which must exist.
func OpenFile(name string) (*File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("routetable: routes file: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("routetable: routes file: %q is a directory", name)
	}
	return &File{name: name}, nil
}

// OpenOrCreateFile is [OpenFile] for a file that need not exist. The first change creates it. exists reports whether it exists
// now.
func OpenOrCreateFile(name string) (f *File, exists bool, err error) {
	f, err = OpenFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &File{name: name, create: true}, false, nil
	}
	return f, err == nil, err
}

func (f *File) String() string { return fmt.Sprintf("file %q", f.name) }

// Get implements [Table].
func (f *File) Get(ctx context.Context, host string) (origin.Item, error) {
	var found origin.Item
	n, at := 0, 0
	for item, err := range f.All(ctx) {
		if err != nil {
			return nil, err
		}
		n++
		if item.Host() != host {
			continue
		}
		if found != nil {
			return nil, f.twice(host, at, n)
		}
		found, at = item, n
	}
	if found == nil {
		return nil, ErrNotFound
	}
	return found, nil
}

func (f *File) twice(host string, first, second int) error {
	return fmt.Errorf("routetable: routes file %q: %q occurs more than once (routes %d and %d of the list): remove all but one of them with an editor", f.name, host, first, second)
}

// unique collects items. It returns an error if a host has two.
func (f *File) unique(items iter.Seq2[origin.Item, error]) ([]origin.Item, error) {
	var all []origin.Item
	seen := map[string]int{}
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		all = append(all, item)
		if first, twice := seen[item.Host()]; twice {
			return nil, f.twice(item.Host(), first, len(all))
		}
		seen[item.Host()] = len(all)
	}
	return all, nil
}

// All implements [Table].
func (f *File) All(ctx context.Context) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		file, err := os.Open(f.name)
		if err != nil {
			if !f.create || !errors.Is(err, fs.ErrNotExist) {
				yield(nil, fmt.Errorf("routetable: routes file: %w", err))
			}
			return
		}
		defer file.Close()
		f.items(ctx, file)(yield)
	}
}

// items reads an open routes file.
func (f *File) items(ctx context.Context, file *os.File) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		fail := func(err error) { yield(nil, fmt.Errorf("routetable: routes file %q: %w", f.name, err)) }
		if info, err := file.Stat(); err != nil {
			fail(err)
			return
		} else if f.create && info.Size() == 0 && info.Mode().IsRegular() {
			return // its first writer will replace it
		}
		for item, err := range origin.Items(file) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				fail(err)
				return
			}
			if !yield(item, nil) {
				return
			}
		}
	}
}

// Allows implements [Table]. A file has no level: it is written where it is read.
func (f *File) Allows(context.Context, Change) error { return nil }

// Write implements [Table].
func (f *File) Write(ctx context.Context, c Change) error {
	return f.rewrite(ctx, func(old iter.Seq2[origin.Item, error]) ([]origin.Item, bool, error) {
		var items []origin.Item
		at := -1
		for item, err := range old {
			if err != nil {
				return nil, false, err
			}
			if item.Host() == c.Host() {
				if at >= 0 {
					return nil, false, f.twice(c.Host(), at+1, len(items)+1)
				}
				at = len(items)
			}
			items = append(items, item)
		}
		switch {
		case at < 0 && c.Before != nil:
			return nil, false, &ConflictError{c, nil}
		case at >= 0 && !items[at].Equal(c.Before):
			return nil, false, &ConflictError{c, items[at]}
		case at < 0 && c.After != nil:
			items = append(items, c.After)
		case at >= 0 && c.After != nil:
			items[at] = c.After
		case at >= 0:
			items = slices.Delete(items, at, at+1)
		}
		return items, true, nil
	})
}

// rewrite replaces the items of the file by those that plan returns, if plan reports a change. The file is locked meanwhile.
func (f *File) rewrite(ctx context.Context, plan func(old iter.Seq2[origin.Item, error]) (now []origin.Item, changed bool, err error)) error {
	name, file, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer f.unlock(name, file)
	now, changed, err := plan(f.items(ctx, file))
	if err != nil || !changed {
		return err
	}
	if err = ctx.Err(); err == nil {
		err = replace(name, file, now)
	}
	if err != nil {
		return fmt.Errorf("routetable: routes file %q: %w", f.name, err)
	}
	return nil
}

const (
	maxLockWait = 30 * time.Second // a change takes milliseconds
	lockPause   = 5 * time.Millisecond
	lockNotice  = time.Second // how long to wait before Waiting is called
)

// lock opens and locks the file. name is the file's own name if f.name is a link to it.
func (f *File) lock(ctx context.Context) (name string, file *os.File, err error) {
	fail := func(err error) (string, *os.File, error) {
		return "", nil, fmt.Errorf("routetable: routes file %q: %w", f.name, err)
	}
	flags := os.O_RDWR
	if f.create {
		flags |= os.O_CREATE
	}
	began, notified := time.Now(), f.Waiting == nil
	for {
		if file, err = os.OpenFile(f.name, flags, 0o666); err != nil {
			return fail(err)
		}
		if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
			file.Close()
			return fail(errors.New("is not a regular file and cannot be replaced: name one that is"))
		}
		if f.opened != nil {
			f.opened()
		}
		locked, err := tryLock(file)
		if err != nil {
			file.Close()
			return fail(fmt.Errorf("cannot be locked: %w", err))
		}
		if locked {
			// The previous holder of the lock may have replaced the file since we opened it.
			mine, err := file.Stat()
			if err != nil {
				file.Close()
				return fail(err)
			}
			if name, err = filepath.EvalSymlinks(f.name); err == nil {
				if now, err := os.Stat(name); err == nil && os.SameFile(mine, now) {
					return name, file, nil
				}
			}
		}
		file.Close()
		waited := time.Since(began)
		if waited > maxLockWait {
			return fail(fmt.Errorf("has been locked or replaced by other processes for %v: find the process that has it open (lsof), and try again", maxLockWait))
		}
		if !notified && waited >= lockNotice {
			notified = true
			f.Waiting(maxLockWait - waited)
		}
		select {
		case <-ctx.Done():
			return fail(ctx.Err())
		case <-time.After(lockPause):
		}
	}
}

// unlock unlocks and closes the file. It removes an empty file that lock created and nobody replaced.
func (f *File) unlock(name string, file *os.File) {
	defer file.Close() // which releases the lock
	if !f.create {
		return
	}
	if mine, err := file.Stat(); err == nil && mine.Size() == 0 {
		if now, err := os.Stat(name); err == nil && os.SameFile(mine, now) {
			os.Remove(name)
		}
	}
}

// replace replaces the items of the file of that name.
func replace(name string, old *os.File, items []origin.Item) (err error) {
	info, err := old.Stat()
	if err != nil {
		return err
	}
	// In the same directory, since a file can be renamed only within a file system.
	temporary, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		temporary.Close()
		if err != nil {
			os.Remove(temporary.Name())
		}
	}()
	err = FormatItems(temporary, func(yield func(origin.Item, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if err := keepOwner(temporary, info); err != nil {
		return fmt.Errorf("its owner cannot be kept, so other users may lose access to it: make the change as its owner: %w", err)
	}
	if err := temporary.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), name)
}
