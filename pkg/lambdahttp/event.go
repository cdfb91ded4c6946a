package lambdahttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// Event is the payload of an invocation, from whichever front. It decodes itself, and
// never fails where the payload is JSON: what is wrong with it, [Adapter.Handle] tells
// the client. The zero Event is one of no front.
type Event struct {
	front front
	event event
	err   error // wraps ErrEvent
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Event) UnmarshalJSON(payload []byte) error {
	*e = Event{}
	err := json.Unmarshal(payload, &e.event)
	if e.front, err = choose(&e.event, payload, err); err != nil {
		e.err = fmt.Errorf("%w: %w", ErrEvent, err)
	}
	return nil
}

// event holds what the events of all fronts consist of. The fronts share names, but not
// always meanings: each reads its own.
type event struct {
	Version        string              `json:"version"`
	HTTPMethod     string              `json:"httpMethod"`
	Method         string              `json:"method"`
	Path           string              `json:"path"`
	RawPath        string              `json:"rawPath"`
	RawQueryString string              `json:"rawQueryString"`
	Query          json.RawMessage     `json:"queryStringParameters"`
	MultiQuery     json.RawMessage     `json:"multiValueQueryStringParameters"`
	Headers        map[string]string   `json:"headers"`
	MultiHeaders   map[string][]string `json:"multiValueHeaders"`
	Cookies        []string            `json:"cookies"`
	StageVariables map[string]string   `json:"stageVariables"`
	RequestContext json.RawMessage     `json:"requestContext"`

	Body            string `json:"body"`
	IsBase64Encoded bool   `json:"isBase64Encoded"`
}

// A front knows what one kind of sender means by its event, and how it wants its answer.
type front interface {
	// request reads the event. The error wraps ErrEvent.
	request(e *event) (*parts, error)

	// head is the reply as far as it is not the body.
	head(a *answer) any

	// prelude is what head is to a streamed reply; nil where the front can have none.
	prelude(a *answer) any

	// limits are what the front waits for and takes.
	limits() limits
}

// limits are the bounds of a front.
type limits struct {
	reply   int           // bytes of a reply that is not streamed, as it is serialized
	timeout time.Duration // for the whole of it; zero means that of the invocation
}

const (
	// maxReply is Lambda's limit for the payload of a synchronous reply, "6 MB"; beyond it
	// the invocation fails. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	// The figure is from the error's own text, as others have seen it.
	maxReply = 6291556

	// maxPrelude is where API Gateway has to find the end of a streamed reply's prelude.
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
	maxPrelude = 16 << 10
)

// choose finds out which front sent an event, by what only that front has. (Not by
// rawPath: a REST API behind a custom domain sends it too.) err is that of decoding.
func choose(e *event, payload []byte, err error) (front, error) {
	switch {
	case e.Version == "2.0" && e.Method != "":
		return newLattice(payload)
	case e.Version == "2.0":
		var c events.APIGatewayV2HTTPRequestContext
		if err = errors.Join(err, decode(e.RequestContext, &c)); err != nil {
			return nil, err
		}
		// A function URL's event looks the same, but its path is encoded.
		if strings.Contains(c.DomainName, ".lambda-url.") {
			return functionURL{httpAPI{c}}, nil
		}
		return httpAPI{c}, nil
	case e.Version == "1.0":
		// Whether its path is decoded, AWS does not say, and observers disagree.
		return nil, errors.New("it has payload format 1.0: set the HTTP API's integration to 2.0")
	case e.HTTPMethod != "":
		var c restAPIContext
		if err = errors.Join(err, decode(e.RequestContext, &c)); err != nil {
			return nil, err
		}
		if c.ELB != nil {
			return alb{context: events.ALBTargetGroupRequestContext{ELB: *c.ELB}, multi: e.MultiHeaders != nil}, nil
		}
		return restAPI{c.APIGatewayProxyRequestContext}, nil
	case err != nil:
		return nil, err
	}
	return nil, errors.New("it comes from no HTTP front: neither a REST API, an HTTP API with payload format 2.0, a load balancer, a function URL, nor VPC Lattice with event version V2")
}

// decode reads a part of an event that has to be there.
func decode(part json.RawMessage, into any) error {
	if len(part) == 0 || string(part) == "null" {
		return errors.New("it has no requestContext")
	}
	return json.Unmarshal(part, into)
}
