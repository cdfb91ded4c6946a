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

// Limits bounds the size and the number of requests. For each field, zero means the default, and a negative number means no
// limit. A server of the Handler has limits of its own: if one is lower, clients get the server's response instead of the
// proxy's.
type Limits struct {
	HeaderFields int   // number of header fields; default 256. Many small fields cost more than their bytes
	HeaderBytes  int   // names and values, with those that the proxy adds; default 64 KiB, as for AWS's load balancers
	URLBytes     int   // path and query; default 16 KiB
	BodyBytes    int64 // of the request; default no limit, because the proxy does not store bodies

	// Requests is the number of concurrent requests, with WebSockets; default no limit. The Handler refuses more with
	// [ErrBusy]. A single client cannot have all of them: a connection gets at most half as many as are free, which is a
	// third of all, and an address at most twice as many as are free, which is two thirds. An IPv6 /64 counts as an address.
	// A client behind Config.TrustedProxies counts by the last address in X-Forwarded-For that is not one of them.
	Requests int
}

const (
	defaultHeaderFields = 256
	defaultHeaderBytes  = 64 << 10
	defaultURLBytes     = 16 << 10
)

// limit returns the limit that n stands for, with zero as the default. It returns false if there is no limit.
func limit(n, zero int) (int, bool) {
	if n == 0 {
		n = zero
	}
	return n, n > 0
}

// rejectInvalid refuses requests that must not reach an origin.
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

// checkMethod refuses CONNECT, which opens a tunnel to any port, and TRACE, whose response shows the client what proxies
// have added to its request.
func checkMethod(r *http.Request) error {
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		return ErrMethod
	}
	return nil
}

// checkTarget refuses request targets (RFC 9112 section 3.2) with another host than the Host header. The origin would use
// the target's.
func checkTarget(r *http.Request) error {
	u := r.URL
	switch {
	case u.User != nil:
		return fmt.Errorf("%w: there is user information in its target", ErrBadRequest)
	case u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: its target has the scheme %.20q", ErrBadRequest, u.Scheme)
	case u.Opaque != "", u.Path == "*" && r.Method != http.MethodOptions, u.Path != "" && u.Path != "*" && u.Path[0] != '/':
		return fmt.Errorf("%w: its target is not a path", ErrBadRequest)
	case u.Host != "" && u.Host != r.Host: // net/http makes them equal over HTTP/1.1
		return fmt.Errorf("%w: its target names another host than its authority", ErrBadRequest)
	}
	return nil
}

// checkFraming refuses requests that net/http's server refuses over HTTP/1.1 and accepts over HTTP/2: those whose Host
// differs from :authority (RFC 9113 section 8.3.1), and those whose lengths differ or are not numbers (RFC 9110 section
// 8.6). Two servers could read such a request differently.
func checkFraming(r *http.Request) error {
	hosts := r.Header["Host"]
	if len(hosts) > 1 || len(hosts) == 1 && !strings.EqualFold(hosts[0], r.Host) {
		return fmt.Errorf("%w: its Host differs from its authority, or comes twice", ErrBadRequest)
	}
	lengths := r.Header["Content-Length"]
	for _, length := range lengths {
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || length != lengths[0] || strings.Trim(length, digits) != "" || r.ProtoMajor == 2 && n != r.ContentLength {
			return fmt.Errorf("%w: its Content-Length is not a number, differs from the body's length, or comes twice with different values", ErrBadRequest)
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

// checkHeaderBytes is called for the client's header, and again after the proxy has added its fields.
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

// checkLoop refuses requests that the proxy has forwarded before. If the origin of a route leads back to the proxy, each
// request would be forwarded again and again until a timeout.
func (h *Handler) checkLoop(r *http.Request) error {
	for _, field := range r.Header["Cdn-Loop"] {
		// Quotes are ignored: a client's open quote would hide the proxy's own identifier after it.
		for info := range strings.SplitSeq(field, ",") {
			id, _, _ := strings.Cut(info, ";")
			if strings.EqualFold(strings.TrimSpace(id), h.config.LoopID) {
				return ErrLoop
			}
		}
	}
	return nil
}

// route looks up the route of the requested host, and sets r.Host to the authority whose route it is.
func (h *Handler) route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		var err error
		if x.authority, x.Host, err = h.requestedHost(x, r); err == nil {
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

// requestedHost returns the authority as the client wrote it, and the host to look up. The authority is in ASCII, because it
// goes into header fields.
func (h *Handler) requestedHost(x *exchange, r *http.Request) (authority, host string, err error) {
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
		return "", "", &lookupError{bare, origin.ErrNotFound} // a valid host, but no route has an IP address
	}
	return "", "", &badHostError{err}
}
