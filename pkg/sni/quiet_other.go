//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package sni

import "time"

type look struct{}

// readNow waits for a moment: this system has no other way to read without waiting.
func (r *rawConn) readNow(p []byte) (int, error) {
	r.Conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	defer r.Conn.SetReadDeadline(time.Time{})
	return r.Conn.Read(p)
}
