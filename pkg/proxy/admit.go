package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/hostname"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// Limits bound what a request may bring, and how many there are. For each, zero means the default and negative no
// limit. Servers have limits of their own, which must not be lower for these to be what a
// client sees.
type Limits struct {
	HeaderFields int   // how many header fields: 256 by default. Many small ones cost more than their bytes
	HeaderBytes  int   // names and values together, with those that the proxy adds: 64 KiB, what AWS's load balancers take
	URLBytes     int   // path and query: 16 KiB
	BodyBytes    int64 // of the request; no limit by default, since bodies stream through

	// Requests is how many may be under way at a time, WebSockets included; no limit by default. What is
	// beyond fails with [ErrBusy]. One client does not get all of them: a connection gets half as many as it
	// leaves free, which is a third, and an address (of IPv6, a /64) twice as many, which is two thirds.
	// A client behind one of Config.TrustedProxies counts by the address that X-Forwarded-For ends in.
	Requests int
}

const (
	defaultHeaderFields = 256
	defaultHeaderBytes  = 64 << 10
	defaultURLBytes     = 16 << 10
)

// limit returns the limit that n stands for, and false where there is none.
func limit(n, zero int) (int, bool) {
	if n == 0 {
		n = zero
	}
	return n, n > 0
}

// rejectInvalid answers requests that no origin should see.
func (h *Handler) rejectInvalid(next http.Handler) http.Handler {
	checks := []func(*http.Request) error{checkMethod, checkTarget, checkFraming, h.checkLimits, h.checkLoop}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, check := range checks {
			if err := check(r); err != nil {
				h.Fail(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// checkMethod refuses tunnels to a port of the client's choice, and the method that has servers
// repeat what proxies have added to a request.
func checkMethod(r *http.Request) error {
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return ErrMethod
	}
	return nil
}

// checkTarget refuses request targets (RFC 9112 section 3.2) that would name another host than the
// Host header, and win over it at the origin.
func checkTarget(r *http.Request) error {
	u := r.URL
	switch {
	case u.User != nil:
		return fmt.Errorf("%w: there is user information in its target", ErrBadRequest)
	case u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: its target has the scheme %.20q", ErrBadRequest, u.Scheme)
	case u.Opaque != "", u.Path == "*" && r.Method != http.MethodOptions, u.Path != "" && u.Path != "*" && u.Path[0] != '/':
		return fmt.Errorf("%w: its target is not a path", ErrBadRequest)
	case u.Host != "" && u.Host != r.Host: // over HTTP/1.1 they are the same
		return fmt.Errorf("%w: its target names another host than its authority", ErrBadRequest)
	}
	return nil
}

// checkFraming refuses what net/http's server refuses over HTTP/1.1 and lets pass over HTTP/2: a Host that
// differs from :authority (RFC 9113 section 8.3.1), and lengths that differ or are no numbers (RFC 9110
// section 8.6). Two servers that read such a request could see two different ones.
func checkFraming(r *http.Request) error {
	hosts := r.Header["Host"]
	if len(hosts) > 1 || len(hosts) == 1 && !strings.EqualFold(hosts[0], r.Host) {
		return fmt.Errorf("%w: its Host differs from its authority, or comes twice", ErrBadRequest)
	}
	lengths := r.Header["Content-Length"]
	for _, length := range lengths {
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || length != lengths[0] || strings.Trim(length, digits) != "" || r.ProtoMajor == 2 && n != r.ContentLength {
			return fmt.Errorf("%w: its Content-Length is none or another than the body's, or there are two that differ", ErrBadRequest)
		}
	}
	return nil
}

func (h *Handler) checkLimits(r *http.Request) error {
	limits := &h.config.Limits
	if most, ok := limit(limits.URLBytes, defaultURLBytes); ok {
		if n := len(r.URL.RawQuery) + len(r.URL.Path); n > most || n > most/3 && targetLength(r.URL) > most {
			return &RequestTooLargeError{ErrURLTooLong, int64(most)}
		}
	}
	if most := limits.BodyBytes; most > 0 && r.ContentLength > most {
		return &RequestTooLargeError{ErrBodyTooLarge, most}
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if most, ok := limit(limits.HeaderFields, defaultHeaderFields); ok && fields > most {
		return &RequestTooLargeError{ErrTooManyFields, int64(most)}
	}
	return h.checkHeaderBytes(r)
}

// checkHeaderBytes is called for what comes, and again for what is sent, with what the proxy has added.
func (h *Handler) checkHeaderBytes(r *http.Request) error {
	size := 0
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	if most, ok := limit(h.config.Limits.HeaderBytes, defaultHeaderBytes); ok && size > most {
		return &RequestTooLargeError{ErrHeaderTooLarge, int64(most)}
	}
	return nil
}

// checkLoop refuses requests that have been here before: a route whose origin leads back to the
// proxy would multiply each request until time runs out.
func (h *Handler) checkLoop(r *http.Request) error {
	for _, field := range r.Header["Cdn-Loop"] {
		// Quotes do not count: a stranger's that is left open would hide our own name behind it.
		for info := range strings.SplitSeq(field, ",") {
			id, _, _ := strings.Cut(info, ";")
			if strings.EqualFold(strings.TrimSpace(id), h.config.LoopID) {
				return ErrLoop
			}
		}
	}
	return nil
}

// route finds the route of the host that the client asked for. Host is the authority by which
// the route was found from here on.
func (h *Handler) route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		var err error
		if x.authority, x.Host, err = h.asked(x, r); err == nil {
			begin := time.Now()
			x.Route, err = h.config.Routes.Lookup(r.Context(), x.Host)
			x.Lookup = time.Since(begin)
			if err != nil {
				err = &lookupError{x.Host, err}
			}
		}
		if err != nil {
			h.Fail(w, r, err)
			return
		}
		r.Host = x.authority
		next.ServeHTTP(w, r)
	})
}

// asked returns which host the client asked for: the authority as it wrote it, but in ASCII,
// since that goes into the fields of requests and answers, and the name under which the route is
// looked up.
func (h *Handler) asked(x *exchange, r *http.Request) (authority, host string, err error) {
	authority = r.Host
	if name := h.config.TrustedHostHeader; name != "" && (x.trusted || len(h.config.TrustedProxies) == 0) {
		switch values := r.Header.Values(name); len(values) {
		case 0:
		case 1:
			authority = values[0]
		default:
			return "", "", &badHostError{errors.New("more than one " + name)}
		}
	}
	if host, err = hostname.Normalize(authority); err == nil {
		return hostname.ASCII(authority), host, nil
	}
	bare, port := authority, ""
	if name, number, splitErr := net.SplitHostPort(authority); splitErr == nil {
		bare, port = name, number
	}
	if n, portErr := strconv.ParseUint(port, 10, 16); hostname.IsIP(bare) && (port == "" || portErr == nil && n > 0) {
		return "", "", &lookupError{bare, origin.ErrNotFound} // well-formed, but no route has one
	}
	return "", "", &badHostError{err}
}
