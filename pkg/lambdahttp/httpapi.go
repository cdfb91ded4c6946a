package lambdahttp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/core"
)

// httpAPI is an API Gateway HTTP API with payload format 2.0.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
type httpAPI struct{}

type httpAPIEvent struct {
	event
	RawPath        string                                `json:"rawPath"`
	RawQueryString string                                `json:"rawQueryString"`
	Cookies        []string                              `json:"cookies"`
	RequestContext events.APIGatewayV2HTTPRequestContext `json:"requestContext"`
}

func (httpAPI) request(ctx context.Context, payload []byte) (*http.Request, error) {
	var e httpAPIEvent
	err := json.Unmarshal(payload, &e)
	switch {
	case e.Version != "2.0":
		return nil, errOtherFront
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	rc := e.RequestContext
	if strings.Contains(rc.DomainName, ".lambda-url.") {
		// Its events look the same, but their path is encoded.
		return nil, fmt.Errorf("%w: function URLs are not served", ErrEvent)
	}
	if err := checkMethod(rc.HTTP.Method); err != nil {
		return nil, err
	}
	headers := e.headers()
	if len(e.Cookies) > 0 {
		headers["Cookie"] = []string{strings.Join(e.Cookies, "; ")} // one line: RFC 6265 section 5.4
	}
	r, err := new(core.RequestAccessorV2).EventToRequestWithContext(ctx, events.APIGatewayV2HTTPRequest{
		RawPath: "/", RequestContext: rc, StageVariables: e.StageVariables,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	path := e.RawPath
	if path == "" {
		path = rc.HTTP.Path
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return r, mend(r, &e.event, path, escapePath(path), escapeQuery(e.RawQueryString), headers, rc.HTTP.SourceIP, rc.DomainName)
}

func (httpAPI) reply(a *answer) any {
	headers := make(map[string]string, len(a.header))
	var cookies []string
	for name, values := range a.header {
		if name == "Set-Cookie" {
			cookies = values // a list of its own: commas occur in cookies, so they cannot be joined
			continue
		}
		headers[name] = strings.Join(values, ",")
	}
	return events.APIGatewayV2HTTPResponse{
		StatusCode: a.status, Headers: headers, Cookies: cookies,
		Body: a.text(), IsBase64Encoded: a.binary,
	}
}

// escapePath encodes a path that the front has decoded: HTTP APIs do so before they
// invoke the function. What may stand in a path as it is (RFC 3986 section 3.3) stays, as
// clients mostly send it so. Which characters the client had encoded is lost; an encoded
// slash (%2F) for instance arrives as a plain one.
func escapePath(path string) string { return escape(path, &pathBytes) }

// escapeQuery leaves a query as the client sent it, but for what would end the query or
// the request line early.
func escapeQuery(query string) string { return escape(query, &queryBytes) }

func escape(s string, keep *[256]bool) string {
	const hex = "0123456789ABCDEF"
	n := 0
	for i := range len(s) {
		if !keep[s[i]] {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; keep[c] {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

var (
	pathBytes = func() (keep [256]bool) { // pchar and "/"
		for c := range keep {
			keep[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
				strings.IndexByte("-._~!$&'()*+,;=:@/", byte(c)) >= 0
		}
		return keep
	}()
	encodedBytes = func() (keep [256]bool) { // of a path that is encoded already
		keep = pathBytes
		keep['%'] = true
		return keep
	}()
	queryBytes = func() (keep [256]bool) { // printable ASCII
		for c := range keep {
			keep[c] = ' ' < c && c < 0x7f && c != '#'
		}
		return keep
	}()
)
