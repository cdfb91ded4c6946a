package lambdahttp

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/sleightproxy/sleight/pkg/uri"
)

// lattice is VPC Lattice with event version V2. The library has no type for it.
// https://docs.aws.amazon.com/vpc-lattice/latest/ug/lambda-functions.html
type lattice struct {
	event latticeEvent
}

type latticeEvent struct {
	Headers        map[string][]string `json:"headers"`
	Query          map[string][]string `json:"queryStringParameters"`
	RequestContext struct {
		ServiceNetworkARN string `json:"serviceNetworkArn"`
		ServiceARN        string `json:"serviceArn"`
		TargetGroupARN    string `json:"targetGroupArn"`
	} `json:"requestContext"`
}

func newLattice(payload []byte) (front, error) {
	var f lattice
	if err := json.Unmarshal(payload, &f.event); err != nil {
		return nil, err
	}
	if c := f.event.RequestContext; c.ServiceNetworkARN+c.ServiceARN+c.TargetGroupARN == "" {
		return nil, errors.New("it looks like one of VPC Lattice, but its requestContext does not")
	}
	return f, nil
}

func (f lattice) request(e *event) (*parts, error) {
	// The query is in the map. If the path has a query too, that has the client's order.
	path, query, found := strings.Cut(e.Path, "?")
	if !found {
		query = joinQuery(f.event.Query, uri.EscapeParameter)
	}
	headers := make(http.Header, len(f.event.Headers))
	for name, values := range f.event.Headers {
		if len(values) > 0 {
			name = textproto.CanonicalMIMEHeaderKey(name)
			headers[name] = append(headers[name], values...)
		}
	}
	return &parts{
		method:  e.Method,
		path:    uri.EscapePath(path),
		query:   uri.EscapeQuery(query),
		headers: headers,
		client:  lastForwarded(headers), // Lattice overwrites these headers
		tls:     overTLS(headers),
		make: func(ctx context.Context, _ string) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		},
	}, nil
}

func (lattice) head(a *answer) any {
	return multiHead{StatusCode: a.status, StatusDescription: description(a.status), IsBase64Encoded: a.binary, Headers: singleValues(a.header)}
}

func (lattice) prelude(*answer) any { return nil }

func (lattice) limits() limits { return limits{reply: maxReply} }
