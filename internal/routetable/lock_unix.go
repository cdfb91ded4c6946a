//go:build unix && !solaris && !aix

package routetable

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// tryLock locks the file until it is closed. It returns false if the file is locked already.
func tryLock(file *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case errors.Is(err, syscall.EINTR):
			continue
		}
		return err == nil, err
	}
}

// keepOwner gives file the owner and the group of as.
func keepOwner(file *os.File, as fs.FileInfo) error {
	is, err := file.Stat()
	if err != nil {
		return err
	}
	have, ok := is.Sys().(*syscall.Stat_t)
	want, ok2 := as.Sys().(*syscall.Stat_t)
	if !ok || !ok2 || have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	return file.Chown(int(want.Uid), int(want.Gid))
}
