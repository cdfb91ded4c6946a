package sni

import (
	"errors"
	"fmt"
)

// The causes below are in the Err of an [Error], for callers that tell people what to do. errors.Is finds them.
var (
	// ErrConnLimit says that the Target had as many connections as it may have (Target.MaxConns,
	// Transport.MaxConnsPerTarget), and none became free in time. Its type is ConnectionLimitReached.
	ErrConnLimit = errors.New("all connections that the target may have are in use")

	// ErrNoDescriptors says that the process or the system has no file descriptor left for another
	// connection. Nothing was dialled. Its type is ProxyInternalError.
	ErrNoDescriptors = errors.New("no file descriptor is left")

	// ErrHTTP2Only says that the origin speaks HTTP/2 and was not offered it (Target.ALPN).
	ErrHTTP2Only = errors.New("the origin speaks only HTTP/2, which the target does not list")

	// ErrRenegotiation says that the origin asked for a new handshake on a TLS 1.2 connection (RFC 5246
	// section 7.4.1.1), most often to ask for a client certificate. Its type is TLSProtocolError.
	ErrRenegotiation = errors.New("the origin asks for TLS renegotiation")

	// ErrPingTimeout says that the origin did not acknowledge an HTTP/2 PING within
	// Transport.PingTimeout. Its type is ConnectionTerminated.
	ErrPingTimeout = errors.New("the origin did not acknowledge an HTTP/2 PING in time")
)

// A ResetError is the cause of the [Error] for a request that an HTTP/2 origin ended: by RST_STREAM
// (RFC 9113 section 6.4) for this request alone, or by GOAWAY (section 6.8) for all on the connection.
type ResetError struct {
	GoAway bool
	Code   string // the name of RFC 9113 section 7, such as "ENHANCE_YOUR_CALM"
	Debug  string // what the origin said beside it, at most 200 bytes; empty if it said nothing
}

func (e *ResetError) Error() string {
	what := "RST_STREAM"
	if e.GoAway {
		what = "GOAWAY"
	}
	if e.Debug == "" {
		return fmt.Sprintf("the origin ended the request with %s %s", what, e.Code)
	}
	return fmt.Sprintf("the origin ended the request with %s %s: %.200q", what, e.Code, e.Debug)
}
