package sni

import (
	"syscall"
	"time"
)

// setAckTimeout sets TCP_RXT_CONNDROPTIME (netinet/tcp.h), after how many seconds of retransmission the connection is dropped.
func setAckTimeout(fd uintptr, d time.Duration) {
	const tcpRxtConnDropTime = 0x80
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpRxtConnDropTime, int((d+time.Second-1)/time.Second))
}
