//go:build !unix || solaris || aix

package routetable

import (
	"io/fs"
	"os"
)

// tryLock does nothing, since there is no flock. A writer may lose the change of another process.
func tryLock(*os.File) (bool, error) { return true, nil }

// keepOwner does nothing, since files have no owner to keep.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
