package localfront

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// alb is an Application Load Balancer with a function as its target.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
type alb struct{ multi bool } // multi is the target group's multi-value headers

type albEvent struct {
	RequestContext                  albContext          `json:"requestContext"`
	HTTPMethod                      string              `json:"httpMethod"`
	Path                            string              `json:"path"`
	QueryStringParameters           map[string]string   `json:"queryStringParameters,omitempty"`
	MultiValueQueryStringParameters map[string][]string `json:"multiValueQueryStringParameters,omitempty"`
	Headers                         map[string]string   `json:"headers,omitempty"`
	MultiValueHeaders               map[string][]string `json:"multiValueHeaders,omitempty"`
	Body                            string              `json:"body"`
	IsBase64Encoded                 bool                `json:"isBase64Encoded"`
}

type albContext struct {
	ELB struct {
		TargetGroupARN string `json:"targetGroupArn"`
	} `json:"elb"`
}

func (f alb) event(r *request) any {
	r.forwarded(r.scheme, r.port)
	e := &albEvent{HTTPMethod: r.method, Path: r.path}
	e.RequestContext.ELB.TargetGroupARN = "arn:aws:elasticloadbalancing:" + region + ":" + account + ":targetgroup/local/0000000000000000"
	// A load balancer does not decode parameters.
	if parameters := split(r.query, "&", verbatim); f.multi {
		e.MultiValueHeaders, e.MultiValueQueryStringParameters = r.lower(), parameters
	} else {
		e.Headers, e.QueryStringParameters = last(r.lower()), last(parameters)
	}
	e.Body, e.IsBase64Encoded = r.text(r.header.Get("Content-Encoding") != "" || !albText(r.contentType()))
	return e
}

// albText matches the media types whose bodies are sent as text, from AWS's list.
func albText(t string) bool {
	return strings.HasPrefix(t, "text/") || slices.Contains([]string{"application/json", "application/javascript", "application/xml"}, t)
}

func (f alb) answer(payload []byte) (*answer, error) {
	e, err := parseEnvelope(payload)
	if err != nil {
		return nil, err
	}
	e.Cookies = nil
	if f.multi {
		e.Headers = nil
	} else {
		e.MultiValueHeaders = nil
	}
	return e.answer("")
}

func (alb) limits() limits {
	return limits{body: megabyte, reply: megabyte, late: http.StatusGatewayTimeout}
}

func (alb) failed() int { return http.StatusBadGateway }

func (alb) mistake(status int) *answer {
	text := http.StatusText(status)
	return &answer{
		status: status,
		header: http.Header{"Content-Type": {"text/html"}, "Server": {"awselb/2.0"}},
		body: fmt.Appendf(nil, "<html>\r\n<head><title>%d %s</title></head>\r\n<body>\r\n<center><h1>%d %s</h1></center>\r\n</body>\r\n</html>\r\n",
			status, text, status, text),
	}
}
