package localfront

import (
	"net/http"
	"strings"
)

// functionURL is a Lambda function URL without authentication. Its events have payload format 2.0, with the path as the client encoded
// it, and with cookies twice.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
type functionURL struct{ buffered bool }

// urlDomain is the domain of function URLs. Functions tell their events from those of an HTTP API by it. On AWS it is the Host too. Here, the Host is
// the client's, because it chooses the route.
const urlDomain = "localfront00000000000000000000000.lambda-url." + region + ".on.aws"

func (functionURL) event(r *request) any {
	claimed, _, _ := strings.Cut(r.header.Get("X-Forwarded-For"), ",")
	r.forwarded("https", "443")
	if claimed = strings.TrimSpace(claimed); claimed != "" {
		// It passes only the leftmost address of the chain, which the client chooses.
		r.header.Set("X-Forwarded-For", claimed)
	}
	r.header.Set("X-Amzn-Tls-Version", "TLSv1.3")
	r.header.Set("X-Amzn-Tls-Cipher-Suite", "TLS_AES_128_GCM_SHA256")
	e := r.v2(r.path, decodedPath(r.path), urlDomain)
	e.RequestContext.AccountID = "anonymous"
	return e
}

func (functionURL) answer(payload []byte) (*answer, error) {
	a, err := v2Answer(payload)
	if err == nil {
		a.setDefault("Content-Type", "application/json")
	}
	return a, err
}

func (f functionURL) streams() bool { return !f.buffered }

// plain implements streamer. The whole envelope becomes the body, as in a function URL that streams.
func (functionURL) plain(payload []byte, contentType string) *answer {
	if contentType == "" {
		contentType = "application/json"
	}
	return &answer{status: http.StatusOK, header: http.Header{"Content-Type": {contentType}}, body: payload}
}

func (functionURL) prelude(p *envelope) (*answer, error) {
	p.MultiValueHeaders = nil
	if p.Status == nil {
		p.Status = new(number)
		*p.Status = http.StatusOK
	}
	return p.answer("application/octet-stream")
}

func (functionURL) limits() limits {
	return limits{body: maxEvent, event: maxEvent, timeout: longest, late: http.StatusGatewayTimeout}
}

func (functionURL) failed() int { return http.StatusBadGateway }

func (functionURL) mistake(status int) *answer {
	text := http.StatusText(status)
	if status == http.StatusBadGateway {
		text = "Internal Server Error"
	}
	return &answer{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(text)}
}
