package lambdahttp

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"

	"github.com/sleightproxy/sleight/pkg/uri"
)

// alb is an Application Load Balancer. Its target group decides whether headers and
// parameters come with one value each, the last, or with all; it wants the answer the
// same way.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
type alb struct {
	context events.ALBTargetGroupRequestContext
	multi   bool
}

func (f alb) request(e *event) (*parts, error) {
	query, err := e.query(uri.EscapeParameter) // as the client encoded it
	if err != nil {
		return nil, err
	}
	headers := e.headers()
	return &parts{
		method:  e.HTTPMethod,
		path:    uri.EscapePath(e.Path),
		query:   query,
		headers: headers,
		client:  lastForwarded(headers),
		tls:     overTLS(headers),
		make: func(ctx context.Context, _ string) (*http.Request, error) {
			return new(core.RequestAccessorALB).EventToRequestWithContext(ctx, events.ALBTargetGroupRequest{
				Path: "/", HTTPMethod: http.MethodGet, RequestContext: f.context,
			})
		},
	}, nil
}

func (f alb) head(a *answer) any {
	h := multiHead{StatusCode: a.status, StatusDescription: description(a.status), IsBase64Encoded: a.binary}
	if f.multi {
		h.MultiValueHeaders = a.header
	} else {
		h.Headers = singleValues(a.header)
	}
	return h
}

func (alb) prelude(*answer) any { return nil }

// limits has the megabyte that load balancers take of a function's answer.
func (alb) limits() limits { return limits{reply: 1 << 20} }

// description is the status line as load balancers want it: "200 OK".
func description(status int) string {
	return strings.TrimSpace(fmt.Sprint(status, " ", http.StatusText(status)))
}

// singleValues joins repeated headers. Cookies cannot be joined. They go out under
// spellings of their name that differ in case, which is all the same to HTTP, and not to
// JSON.
func singleValues(h http.Header) map[string]string {
	single := make(map[string]string, len(h))
	for name, values := range h {
		if name != "Set-Cookie" {
			single[name] = strings.Join(values, ",")
			continue
		}
		for i, value := range values {
			single[spelling(name, i)] = value
		}
	}
	return single
}

// spelling returns the nth spelling of a name: the bits of n say which letters change
// their case. Of Set-Cookie there are 512.
func spelling(name string, n int) string {
	b := []byte(name)
	for i := range b {
		if c := b[i] | 0x20; 'a' <= c && c <= 'z' {
			if n&1 == 1 {
				b[i] ^= 0x20
			}
			n >>= 1
		}
	}
	return string(b)
}

// lastForwarded returns the client's address as the balancer adds it, behind what clients
// make up. A balancer can be set to add the port too.
func lastForwarded(h http.Header) string {
	all := h["X-Forwarded-For"]
	if len(all) == 0 {
		return ""
	}
	last := all[len(all)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// overTLS reports whether the client spoke TLS to the balancer, which says so itself.
func overTLS(h http.Header) bool { return h.Get("X-Forwarded-Proto") == "https" }
