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

// alb is an Application Load Balancer. A setting of its target group decides whether each header and parameter has all its values,
// or only the last. The reply must have the same form.
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

// limits has the limit of load balancers for a reply, 1 MB.
func (alb) limits() limits { return limits{reply: 1 << 20} }

// description returns the status in the form of load balancers, "200 OK".
func description(status int) string {
	return strings.TrimSpace(fmt.Sprint(status, " ", http.StatusText(status)))
}

// singleValues joins repeated headers. Cookies cannot be joined. Each gets another spelling of Set-Cookie in upper and lower case:
// these are the same name in HTTP, and different names in JSON.
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

// spelling returns the nth spelling of a name. The bits of n say which letters change their case. Set-Cookie has 512 spellings.
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

// lastForwarded returns the client's address. It is the last in the list, because the balancer adds it behind the addresses that the
// client has sent. The balancer can add the port too.
func lastForwarded(h http.Header) string {
	all := h["X-Forwarded-For"]
	if len(all) == 0 {
		return ""
	}
	last := all[len(all)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// overTLS reports whether the client used TLS, as the balancer says.
func overTLS(h http.Header) bool { return h.Get("X-Forwarded-Proto") == "https" }
