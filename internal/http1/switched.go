package http1

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
)

// switched is the connection after a 101 (Switching Protocols). It is the caller's until it closes
// it; the request's context does not end it. Reads and Writes may go on at the same time.
type switched struct {
	x      *exchange
	closed atomic.Bool
	mu     sync.Mutex // of the reader, which has what came behind the answer
}

func (s *switched) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	return s.x.c.r.Read(p)
}

func (s *switched) Write(p []byte) (int, error) { return s.x.c.Conn.Write(p) }

// CloseWrite tells the server that nothing more comes, and lets it go on.
func (s *switched) CloseWrite() error {
	if half, ok := s.x.c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (s *switched) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.x.c.Conn.Close() // which ends a Read
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x.c.release()
	s.x.c.Done(false)
	return err
}
