package routetable

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// File is a routes file. It is replaced as a whole with each change, so that who reads it finds
// the old routes or the new ones.
type File struct {
	name string
}

var _ Table = (*File)(nil)

// OpenFile opens the routes file of that name, which has to exist.
func OpenFile(name string) (*File, error) {
	if _, err := os.Stat(name); err != nil {
		return nil, fmt.Errorf("routetable: routes file: %w", err)
	}
	return &File{name}, nil
}

func (f *File) String() string { return fmt.Sprintf("file %q", f.name) }

// Get implements [Table].
func (f *File) Get(ctx context.Context, host string) (origin.Item, error) {
	for item, err := range f.All(ctx) {
		if err != nil {
			return nil, err
		}
		if item.Host() == host {
			return item, nil
		}
	}
	return nil, ErrNotFound
}

// All implements [Table].
func (f *File) All(context.Context) iter.Seq2[origin.Item, error] {
	return func(yield func(origin.Item, error) bool) {
		file, err := os.Open(f.name)
		if err != nil {
			yield(nil, fmt.Errorf("routetable: routes file: %w", err))
			return
		}
		defer file.Close()
		for item, err := range origin.Items(file) {
			if err != nil {
				err = fmt.Errorf("routetable: routes file %q: %w", f.name, err)
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// Write implements [Table].
func (f *File) Write(ctx context.Context, c Change) error {
	var items []origin.Item
	for item, err := range f.All(ctx) {
		if err != nil {
			return err
		}
		items = append(items, item)
	}
	i := slices.IndexFunc(items, func(item origin.Item) bool { return item.Host() == c.Host() })
	switch {
	case i < 0 && c.Before != nil:
		return &ConflictError{c, nil}
	case i >= 0 && !items[i].Equal(c.Before):
		return &ConflictError{c, items[i]}
	case i < 0 && c.After != nil:
		items = append(items, c.After)
	case i >= 0 && c.After != nil:
		items[i] = c.After
	case i >= 0:
		items = slices.Delete(items, i, i+1)
	}
	return f.replace(items)
}

// replace puts items in the place of what the file holds.
func (f *File) replace(items []origin.Item) (err error) {
	info, err := os.Stat(f.name)
	if err != nil {
		return fmt.Errorf("routetable: routes file: %w", err)
	}
	// In the same directory, since a name can be given to another file only within a file system.
	temporary, err := os.CreateTemp(filepath.Dir(f.name), filepath.Base(f.name)+".*")
	if err != nil {
		return fmt.Errorf("routetable: routes file: %w", err)
	}
	defer func() {
		temporary.Close()
		if err != nil {
			os.Remove(temporary.Name())
			err = fmt.Errorf("routetable: routes file %q: %w", f.name, err)
		}
	}()
	err = origin.FormatItems(temporary, func(yield func(origin.Item, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if err := temporary.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), f.name)
}
