package localfront

import (
	"maps"
	"net/http"
	"strings"
	"time"
)

// restAPI is an API Gateway REST API with a proxy integration on /{proxy+} and on /. It has binaryMediaTypes */*, so that each body is
// sent as base64.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
type restAPI struct{}

const stage = "live"

type v1Event struct {
	Resource                        string              `json:"resource"`
	Path                            string              `json:"path"`
	HTTPMethod                      string              `json:"httpMethod"`
	Headers                         map[string]string   `json:"headers"`
	MultiValueHeaders               map[string][]string `json:"multiValueHeaders"`
	QueryStringParameters           map[string]string   `json:"queryStringParameters"`
	MultiValueQueryStringParameters map[string][]string `json:"multiValueQueryStringParameters"`
	PathParameters                  map[string]string   `json:"pathParameters"`
	StageVariables                  map[string]string   `json:"stageVariables"`
	RequestContext                  v1Context           `json:"requestContext"`
	Body                            *string             `json:"body"`
	IsBase64Encoded                 bool                `json:"isBase64Encoded"`
}

type v1Context struct {
	ResourceID        string     `json:"resourceId"`
	ResourcePath      string     `json:"resourcePath"`
	HTTPMethod        string     `json:"httpMethod"`
	ExtendedRequestID string     `json:"extendedRequestId"`
	RequestTime       string     `json:"requestTime"`
	Path              string     `json:"path"` // with the stage
	AccountID         string     `json:"accountId"`
	Protocol          string     `json:"protocol"`
	Stage             string     `json:"stage"`
	DomainPrefix      string     `json:"domainPrefix"`
	RequestTimeEpoch  int64      `json:"requestTimeEpoch"`
	RequestID         string     `json:"requestId"`
	Identity          v1Identity `json:"identity"`
	DomainName        string     `json:"domainName"`
	DeploymentID      string     `json:"deploymentId"`
	APIID             string     `json:"apiId"`
}

// v1Identity has null for all fields about credentials.
type v1Identity struct {
	AccessKey                     *string `json:"accessKey"`
	AccountID                     *string `json:"accountId"`
	Caller                        *string `json:"caller"`
	CognitoAuthenticationProvider *string `json:"cognitoAuthenticationProvider"`
	CognitoAuthenticationType     *string `json:"cognitoAuthenticationType"`
	CognitoIdentityID             *string `json:"cognitoIdentityId"`
	CognitoIdentityPoolID         *string `json:"cognitoIdentityPoolId"`
	PrincipalOrgID                *string `json:"principalOrgId"`
	SourceIP                      string  `json:"sourceIp"`
	User                          *string `json:"user"`
	UserAgent                     string  `json:"userAgent"`
	UserARN                       *string `json:"userArn"`
}

func (restAPI) event(r *request) any {
	r.forwarded("https", "443") // it has no other port
	headers := maps.Clone(r.header)
	delete(headers, "Content-Length")
	prefix, _, _ := strings.Cut(r.host, ".")
	if override := r.header.Get("X-Http-Method-Override"); override != "" {
		// https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html
		r.method = override
	}
	// It splits the query at semicolons too, as the same page says.
	parameters := split(r.query, "&;", queryUnescape)
	e := &v1Event{
		Resource: "/", Path: r.path, HTTPMethod: r.method,
		Headers: last(headers), MultiValueHeaders: headers,
		QueryStringParameters: last(parameters), MultiValueQueryStringParameters: parameters,
		RequestContext: v1Context{
			ResourceID: "local00", HTTPMethod: r.method, ExtendedRequestID: r.id, RequestTime: clf(r.time), Path: "/" + stage + r.path,
			AccountID: account, Protocol: r.protocol, Stage: stage, DomainPrefix: prefix, RequestTimeEpoch: r.time.UnixMilli(), RequestID: r.id,
			Identity:   v1Identity{SourceIP: r.peer, UserAgent: r.header.Get("User-Agent")},
			DomainName: r.host, DeploymentID: "local00", APIID: apiID,
		},
	}
	if r.path != "/" {
		e.Resource = "/{proxy+}"
		e.PathParameters = map[string]string{"proxy": strings.TrimPrefix(r.path, "/")}
	}
	e.RequestContext.ResourcePath = e.Resource
	if body, isBase64 := r.text(true); body != "" {
		e.Body, e.IsBase64Encoded = &body, isBase64
	}
	return e
}

func (restAPI) answer(payload []byte) (*answer, error) {
	e, err := parseEnvelope(payload)
	if err != nil {
		return nil, err
	}
	e.Cookies = nil // only format 2.0 has them
	a, err := e.answer("application/json")
	if err == nil {
		remap(a.header)
	}
	return a, err
}

// remapped are the headers of a reply that a REST API renames. AWS's documentation has those that may be renamed. These are the headers
// that others have seen renamed.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-known-issues.html
var remapped = [...]string{"Connection", "Content-Length", "Date", "Server", "Www-Authenticate"}

func remap(h http.Header) {
	for _, name := range remapped {
		if values, ok := h[name]; ok {
			delete(h, name)
			h["X-Amzn-Remapped-"+name] = values
		}
	}
}

func (restAPI) limits() limits {
	return limits{head: maxHead, body: maxAPIBody, event: maxEvent, timeout: 29 * time.Second, late: http.StatusGatewayTimeout}
}

func (restAPI) failed() int { return http.StatusBadGateway }

func (restAPI) mistake(status int) *answer {
	text := http.StatusText(status)
	switch status {
	case http.StatusBadGateway:
		text = "Internal server error"
	case http.StatusGatewayTimeout:
		text = "Endpoint request timed out"
	case http.StatusRequestEntityTooLarge:
		text = "Request Too Long"
	}
	return message(status, `{"message": "`, text, `"}`)
}

// restStream is a REST API whose integration has the response transfer mode STREAM. Its events are those of restAPI.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
type restStream struct{ restAPI }

func (restStream) streams() bool { return true }

// plain returns nil, because a reply that is not streamed is malformed.
func (restStream) plain([]byte, string) *answer { return nil }

func (restStream) prelude(p *envelope) (*answer, error) {
	a, err := p.answer("application/octet-stream")
	if err == nil {
		remap(a.header)
	}
	return a, err
}

func (s restStream) limits() limits {
	l := s.restAPI.limits()
	l.timeout = longest
	return l
}
