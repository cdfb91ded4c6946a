package sni

import (
	"errors"
	"net/http"
)

// maxUnprocessed bounds how often a request is sent again that an HTTP/2 server says it has not processed: a server that
// always says so would keep us busy forever.
const maxUnprocessed = 3

// roundTrip sends a request, and sends it once more if the comment of Transport allows it.
func (t *Transport) roundTrip(req *http.Request, body *requestBody, x *Exchange) (*http.Response, error) {
	t.once.Do(t.init)
	ctx := req.Context()
	p, budget, out, err := t.prepare(req, x)
	if err != nil {
		return nil, err
	}
	out = body.attach(out)
	var (
		n           = need{safe: isSafe(req.Method), alone: p.offersHTTP2 && needsOwn(req), budget: budget}
		repeated    = false // because a connection was dead, or not the right one
		unprocessed = 0
		refused     *conn // has no room for the request yet
	)
	if p.offersHTTP2 && !n.alone {
		if err := body.readAhead(ctx, req.ContentLength); err != nil {
			return nil, &Error{Type: HTTPRequestError, ServerName: p.key.serverName, Unprocessed: true, Err: err}
		}
	}
	for {
		l, ok := t.again(refused)
		if !ok {
			if l, err = p.acquire(ctx, n, x); err != nil {
				return nil, err
			}
		}
		refused = nil
		resp, err := l.roundTrip(out, x)
		switch {
		// A body that is only kept may still be read for the request of this response.
		case err == nil && n.safe && !repeated && l.isMisdirected(resp) && (body == nil || body.get != nil):
			again, ok := body.again(out)
			if !ok {
				return resp, nil
			}
			repeated, n.fresh, out = true, true, again
			l.retire()
			resp.Body.Close()
		case err == nil:
			return resp, nil
		case ctx.Err() != nil:
			return nil, exchangeError(l, err)
		case unprocessed < maxUnprocessed && l.protocol.unprocessed(l, err):
			unprocessed++
			again, ok := body.again(out)
			if !ok {
				return nil, exchangeError(l, err)
			}
			out = again
			switch {
			case l.h2 == nil:
				n.fresh = true // the reason that ended this connection may have ended the others
			case refusedStream(err):
				refused = l.conn
			case unprocessed == maxUnprocessed: // it met only connections that ended
				n.fresh = true
			}
		case n.safe && !repeated && l.wasAtFault(err):
			again, ok := body.again(out)
			if !ok {
				return nil, exchangeError(l, err)
			}
			repeated, n.fresh, out = true, true, again
		default:
			return nil, exchangeError(l, err)
		}
	}
}

// isMisdirected reports whether a response is about the connection, and not about the request, so that another connection
// may get another response.
func (l lease) isMisdirected(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMisdirectedRequest:
		return true
	case http.StatusRequestTimeout:
		// Some servers say on an idle connection that they will not wait for longer, and close it: this request was not late.
		return l.reused && resp.Close
	}
	return false
}

// wasAtFault reports whether a request that failed with err may succeed on another connection.
func (l lease) wasAtFault(err error) bool {
	switch {
	case hasBegun(err):
		return false
	case l.h2 != nil && (resetOf(err) != nil || isConnectionError(err)):
		return !refusedStream(err)
	}
	return l.reused && exchangeErrorType(err) == ConnectionTerminated
}

// A begunError is the failure of a request after a part of its response, or an interim response, has come.
type begunError struct{ error }

func (e begunError) Unwrap() error { return e.error }

func hasBegun(err error) bool {
	_, ok := errors.AsType[begunError](err)
	return ok
}

// isSafe reports whether a method is safe (RFC 9110 section 9.2.1).
func isSafe(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}
