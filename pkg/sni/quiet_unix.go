//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package sni

import "syscall"

// quiet reports whether nothing has arrived that nobody has read yet, be it data, the end of
// the stream or a reset. After a thaw such things wait in the kernel, and the goroutine that
// reads the connection may not have had its turn.
func (r *rawConn) quiet() bool {
	sc, ok := r.Conn.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return err == nil && quiet
}
