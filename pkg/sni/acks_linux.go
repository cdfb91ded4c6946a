package sni

import (
	"syscall"
	"time"
)

// setAckTimeout sets TCP_USER_TIMEOUT (RFC 5482, tcp(7)), in milliseconds.
func setAckTimeout(fd uintptr, d time.Duration) {
	const tcpUserTimeout = 0x12
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
}
