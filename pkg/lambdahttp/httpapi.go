package lambdahttp

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"

	"github.com/sleightproxy/sleight/pkg/uri"
)

// httpAPI is an API Gateway HTTP API with payload format 2.0.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
type httpAPI struct {
	context events.APIGatewayV2HTTPRequestContext
}

func (f httpAPI) request(e *event) (*parts, error) {
	path := e.RawPath
	if path == "" {
		path = f.context.HTTP.Path
	}
	// HTTP APIs decode the path before they invoke the function, %25 included. The encoding of the client is lost: an encoded
	// slash (%2F) arrives as a plain slash. Characters that need no encoding stay plain, because most clients send them so.
	// See docs/decisions/0005-lambda-edge.md.
	return f.parts(e, uri.EscapeDecodedPath(path)), nil
}

// parts returns the parts of an event of format 2.0, without the path.
func (f httpAPI) parts(e *event, path string) *parts {
	p := &parts{
		method:  f.context.HTTP.Method,
		path:    path,
		query:   uri.EscapeQuery(e.RawQueryString),
		headers: e.headers(),
		domain:  f.context.DomainName,
		client:  f.context.HTTP.SourceIP,
		tls:     true,
		began:   time.UnixMilli(f.context.TimeEpoch),
		make: func(ctx context.Context, domain string) (*http.Request, error) {
			f.context.DomainName = domain
			return new(core.RequestAccessorV2).EventToRequestWithContext(ctx, events.APIGatewayV2HTTPRequest{
				RawPath: "/", RequestContext: f.context, StageVariables: e.StageVariables,
			})
		},
	}
	if f.context.Stage != "$default" {
		p.stage = f.context.Stage
	}
	if len(e.Cookies) > 0 { // function URLs send the header as well
		p.headers["Cookie"] = []string{strings.Join(e.Cookies, "; ")} // one line: RFC 6265 section 5.4
	}
	return p
}

// format2Head returns the reply in format 2.0. Repeated headers are joined. Cookies have a list of their own, because they can contain
// commas.
type format2Head struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers,omitempty"`
	Cookies         []string          `json:"cookies,omitempty"`
	IsBase64Encoded bool              `json:"isBase64Encoded,omitempty"`
}

func (httpAPI) head(a *answer) any {
	h := format2Head{StatusCode: a.status, IsBase64Encoded: a.binary, Headers: make(map[string]string, len(a.header))}
	for name, values := range a.header {
		if name == "Set-Cookie" {
			h.Cookies = values
			continue
		}
		h.Headers[name] = strings.Join(values, ",")
	}
	return h
}

func (httpAPI) prelude(*answer) any { return nil }

// limits has the timeout of HTTP APIs, 30 seconds. It cannot be raised.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
func (httpAPI) limits() limits { return limits{reply: maxReply, timeout: 30 * time.Second} }
