package localfront

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// httpAPI is an API Gateway HTTP API with payload format 2.0, route and stage $default.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
type httpAPI struct{}

// v2Event is payload format 2.0, which function URLs share.
type v2Event struct {
	Version               string            `json:"version"`
	RouteKey              string            `json:"routeKey"`
	RawPath               string            `json:"rawPath"`
	RawQueryString        string            `json:"rawQueryString"`
	Cookies               []string          `json:"cookies,omitempty"`
	Headers               map[string]string `json:"headers"`
	QueryStringParameters map[string]string `json:"queryStringParameters,omitempty"`
	RequestContext        v2Context         `json:"requestContext"`
	Body                  string            `json:"body,omitempty"`
	IsBase64Encoded       bool              `json:"isBase64Encoded"`
}

type v2Context struct {
	AccountID    string `json:"accountId"`
	APIID        string `json:"apiId"`
	DomainName   string `json:"domainName"`
	DomainPrefix string `json:"domainPrefix"`
	HTTP         v2HTTP `json:"http"`
	RequestID    string `json:"requestId"`
	RouteKey     string `json:"routeKey"`
	Stage        string `json:"stage"`
	Time         string `json:"time"`
	TimeEpoch    int64  `json:"timeEpoch"`
}

type v2HTTP struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

func (httpAPI) event(r *request) any {
	r.forwarded("https", "443") // it has no other port
	path := decodedPath(r.path)
	e := r.v2(path, path, r.host)
	delete(e.Headers, "cookie") // only Cookies has it
	return e
}

// v2 returns the fields that HTTP APIs and function URLs share.
func (r *request) v2(rawPath, path, domain string) *v2Event {
	prefix, _, _ := strings.Cut(domain, ".")
	e := &v2Event{
		Version: "2.0", RouteKey: "$default", RawPath: rawPath, RawQueryString: r.query,
		Cookies: r.cookies(), Headers: r.joined(),
		RequestContext: v2Context{
			AccountID: account, APIID: apiID, DomainName: domain, DomainPrefix: prefix,
			HTTP:      v2HTTP{Method: r.method, Path: path, Protocol: r.protocol, SourceIP: r.peer, UserAgent: r.header.Get("User-Agent")},
			RequestID: r.id, RouteKey: "$default", Stage: "$default", Time: clf(r.time), TimeEpoch: r.time.UnixMilli(),
		},
	}
	e.Body, e.IsBase64Encoded = r.text(binaryType(r.contentType()))
	for name, values := range split(r.query, "&", queryUnescape) {
		if e.QueryStringParameters == nil {
			e.QueryStringParameters = map[string]string{}
		}
		e.QueryStringParameters[name] = strings.Join(values, ",")
	}
	return e
}

// decodedPath returns a path as HTTP APIs send it: decoded, and cut off at an encoded question mark, as captures from AWS show
// (https://github.com/hotsock/voker/pull/8).
func decodedPath(path string) string {
	if u, err := url.PathUnescape(path); err == nil {
		path = u
	}
	path, _, _ = strings.Cut(path, "?")
	return path
}

// binaryType matches the media types whose bodies are sent as base64. AWS has no list. These are the types that others have seen.
func binaryType(t string) bool {
	return strings.HasPrefix(t, "image/") || strings.HasPrefix(t, "audio/") || strings.HasPrefix(t, "video/") ||
		slices.Contains([]string{"application/octet-stream", "application/zip", "application/pdf", "application/wasm", "application/x-protobuf"}, t)
}

func (httpAPI) answer(payload []byte) (*answer, error) {
	a, err := v2Answer(payload)
	if err == nil {
		a.setDefault("Content-Type", "text/plain; charset=utf-8")
	}
	return a, err
}

func (httpAPI) limits() limits {
	return limits{head: maxHead, body: maxAPIBody, event: maxEvent, timeout: 30 * time.Second, late: http.StatusServiceUnavailable}
}

func (httpAPI) failed() int { return http.StatusInternalServerError }

func (httpAPI) mistake(status int) *answer {
	return message(status, `{"message":"`, http.StatusText(status), `"}`)
}
