//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package sni

import (
	"io"
	"os"
	"syscall"
)

// look is a read of a socket that does not wait. It is kept with its connection, to avoid an allocation for each read.
type look struct {
	into []byte
	n    int
	err  error
	at   func(fd uintptr) bool
}

// readNow reads without waiting: data, the end of the stream, or a reset. It returns errNothing if nothing has arrived.
func (r *rawConn) readNow(p []byte) (int, error) {
	if r.socket == nil {
		return 0, errNothing
	}
	l := &r.look
	if l.at == nil {
		l.at = func(fd uintptr) bool {
			for {
				l.n, l.err = syscall.Read(int(fd), l.into)
				if l.err != syscall.EINTR {
					return true
				}
			}
		}
	}
	l.into = p
	err := r.socket.Read(l.at)
	l.into = nil
	switch {
	case err != nil:
		return 0, err
	case l.err == syscall.EAGAIN || l.err == syscall.EWOULDBLOCK:
		return 0, errNothing
	case l.err != nil:
		return 0, os.NewSyscallError("read", l.err)
	case l.n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return l.n, nil
}
