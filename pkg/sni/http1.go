package sni

import (
	"net/http"

	"github.com/sleightproxy/sleight/internal/http1"
)

// serial is a connection over HTTP/1.1, with one request at a time. broken is guarded by the Transport's mutex.
type serial struct {
	conn   *conn
	http   *http1.Conn
	broken bool // the exchange has closed it
}

var _ protocol = (*serial)(nil)

func (s *serial) roundTrip(l lease, req *http.Request, x *Exchange) (*http.Response, error) {
	l.raw.awaitAcks(l.pool.t.ackTimeoutFor(req))
	resp, err := s.http.RoundTrip(req)
	if err != nil && s.http.Begun() {
		err = begunError{err}
	}
	if l.raw.written.Load() > l.before {
		x.wrote()
	}
	return resp, err
}

func (s *serial) answered(*http.Response, error) {}
func (s *serial) inUse() bool                    { return s.conn.busy }
func (s *serial) dead() bool                     { return s.broken }

// alive asks whether the origin has closed the connection, or sent something that nobody has asked for. After a thaw, such
// things wait in the kernel.
func (s *serial) alive() bool {
	raw := s.conn.raw
	raw.now = true
	defer func() { raw.now = false }()
	return s.http.Alive() && !raw.stuck
}

func (s *serial) unprocessed(l lease, err error) bool {
	return l.raw.written.Load() == l.before && exchangeErrorType(err) == ConnectionTerminated
}

func (s *serial) close() { s.http.Conn.Close() }

// begun is called by the exchange when it has the header of its response.
func (s *serial) begun(resp *http.Response) {
	announced := keepAliveTimeout(resp.Header)
	c, t := s.conn, s.conn.pool.t
	t.mu.Lock()
	defer t.unlock()
	c.upgraded = resp.StatusCode == http.StatusSwitchingProtocols
	if announced >= 0 {
		c.announced = announced
	}
}

// ended is called by the exchange when it has ended.
func (s *serial) ended(reusable bool) {
	c, t := s.conn, s.conn.pool.t
	t.mu.Lock()
	defer t.unlock()
	s.broken, c.busy, c.upgraded = !reusable, false, false
	if c.awaitingHeader == 0 { // somebody has just read a response to its end
		c.idleAt = wallClock()
		c.aliveAt = c.idleAt
	}
	c.update()
}
