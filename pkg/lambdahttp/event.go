package lambdahttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// Event is the payload of an invocation, from whichever front. It decodes itself, and
// never fails if the payload is JSON: [Adapter.Handle] answers if something is wrong with it.
// The zero Event is one of no front.
type Event struct {
	front front
	event event
	err   error // wraps ErrSetup, since no client makes what events consist of
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Event) UnmarshalJSON(payload []byte) error {
	*e = Event{}
	var err error
	if e.front, err = e.event.decode(payload); err != nil {
		e.err = fmt.Errorf("%w: %w", ErrSetup, explained(err))
	}
	return nil
}

// event holds what the events of all fronts consist of. The fronts share names, but not
// always meanings: each reads its own.
type event struct {
	Version         string              `json:"version"`
	HTTPMethod      string              `json:"httpMethod"`
	Method          string              `json:"method"`
	Path            string              `json:"path"`
	RawPath         string              `json:"rawPath"`
	RawQueryString  string              `json:"rawQueryString"`
	Query           json.RawMessage     `json:"queryStringParameters"`
	MultiQuery      json.RawMessage     `json:"multiValueQueryStringParameters"`
	Headers         map[string]string   `json:"headers"`
	MultiHeaders    map[string][]string `json:"multiValueHeaders"`
	Cookies         []string            `json:"cookies"`
	StageVariables  map[string]string   `json:"stageVariables"`
	Body            string              `json:"body"`
	IsBase64Encoded bool                `json:"isBase64Encoded"`
}

// A front knows what one kind of sender means by its event, and how it wants its answer.
type front interface {
	// request reads the event. The error wraps ErrEvent.
	request(e *event) (*parts, error)

	// head is the reply as far as it is not the body.
	head(a *answer) any

	// prelude is what head is to a streamed reply, and asked for only where limits say that
	// there can be one.
	prelude(a *answer) any

	// limits are what the front waits for and takes.
	limits() limits
}

// limits are the bounds of a front.
type limits struct {
	reply   int           // bytes of a reply that is not streamed, as it is serialized
	timeout time.Duration // for the whole of it; zero means that of the invocation
	streams bool          // replies can be streamed
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

// decode reads an event, and finds out its front by what only that has. (Not by rawPath: a
// REST API behind a custom domain sends it too.)
func (e *event) decode(payload []byte) (front, error) {
	if bytes.Contains(payload, []byte(`"2.0"`)) { // only a guess at which to try first
		var v struct {
			event
			RequestContext *events.APIGatewayV2HTTPRequestContext `json:"requestContext"`
		}
		if err := json.Unmarshal(payload, &v); v.Version == "2.0" {
			*e = v.event
			return format2(payload, e, v.RequestContext, err)
		}
	}
	var v struct {
		event
		RequestContext *restAPIContext `json:"requestContext"`
	}
	err := json.Unmarshal(payload, &v)
	*e = v.event
	return format1(e, v.RequestContext, err)
}

// format2 chooses among the fronts whose events have version 2.0. err is that of decoding.
func format2(payload []byte, e *event, c *events.APIGatewayV2HTTPRequestContext, err error) (front, error) {
	switch {
	case e.Method != "":
		return newLattice(payload)
	case err != nil:
		return nil, err
	case c == nil:
		return nil, errNoContext
	case c.HTTP.Method == "":
		return nil, errNoFront
	case strings.Contains(c.DomainName, ".lambda-url."):
		// A function URL's event looks the same, but its path is encoded.
		return functionURL{httpAPI{*c}}, nil
	}
	return httpAPI{*c}, nil
}

// format1 chooses among the others.
func format1(e *event, c *restAPIContext, err error) (front, error) {
	switch {
	case e.Version == "1.0" && !c.isREST():
		// Whether its path is decoded, AWS does not say, and observers disagree.
		return nil, errors.New("it has payload format 1.0: set the payload format version of the HTTP API's integration to 2.0")
	case e.HTTPMethod == "" && err == nil:
		return nil, errNoFront
	case err != nil:
		return nil, err
	case c == nil:
		return nil, errNoContext
	case c.ELB != nil:
		return alb{context: events.ALBTargetGroupRequestContext{ELB: *c.ELB}, multi: e.MultiHeaders != nil}, nil
	}
	return restAPI{c.APIGatewayProxyRequestContext}, nil
}

// sender is what to do about an event that no front sends.
const sender = "Look at what invokes the function (its triggers, its resource-based policy), and set that front to it"

var (
	errNoContext = errors.New("it has no requestContext, which every HTTP front sends. " + sender)
	errNoFront   = errors.New("it comes from no HTTP front: neither a REST API, an HTTP API with payload format 2.0, a load balancer, a function URL, nor VPC Lattice with event version V2. " + sender)
)

// explained says what is wrong with an event whose JSON has other types than ours, which nobody outside knows. Other
// errors stay as they are.
func explained(err error) error {
	unlike, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return err
	case unlike.Field == "":
		return fmt.Errorf("it is a JSON %s, and no object. So %w", kind(unlike), errNoFront)
	}
	return fmt.Errorf("its %q has a JSON %s where no HTTP front sends one. %s", strings.TrimPrefix(unlike.Field, "event."), kind(unlike), sender)
}

// kind is the JSON type that was found, without the value, which may follow.
func kind(unlike *json.UnmarshalTypeError) string {
	kind, _, _ := strings.Cut(unlike.Value, " ")
	return kind
}
