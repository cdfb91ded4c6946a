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

// Event is the payload of an invocation, from any front. Its decoding never fails if the payload is JSON: [Adapter.Handle] answers
// an invalid event. The zero Event has no front.
type Event struct {
	front front
	event event
	err   error // wraps ErrSetup, because clients cannot cause it
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

// event has the fields of the events of all fronts. The same name can have another meaning in another front, so each front reads its
// own fields.
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

// A front reads the events of one kind of sender, and makes its replies.
type front interface {
	// request reads the event. Its error wraps ErrEvent.
	request(e *event) (*parts, error)

	// head returns the reply without the body.
	head(a *answer) any

	// prelude returns the head of a streamed reply. It is called only if limits say that the front can stream.
	prelude(a *answer) any

	// limits returns the bounds of the front.
	limits() limits
}

// limits are the bounds of a front.
type limits struct {
	reply   int           // bytes of a serialized reply that is not streamed
	timeout time.Duration // of a request as a whole; zero means the timeout of the invocation
	streams bool          // replies can be streamed
}

const (
	// maxReply is Lambda's limit for the payload of a synchronous reply, "6 MB". A larger reply fails the invocation.
	// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
	// The exact figure is in the text of Lambda's error, as others have reported it.
	maxReply = 6291556

	// maxPrelude is API Gateway's limit for the prelude of a streamed reply.
	// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
	maxPrelude = 16 << 10
)

// decode reads an event. It tells the front by fields that no other front has. rawPath is not such a field, because a REST API
// behind a custom domain sends it too.
func (e *event) decode(payload []byte) (front, error) {
	if bytes.Contains(payload, []byte(`"2.0"`)) { // a guess, which says what to try first
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

// format2 chooses among the fronts whose events have version 2.0. err is the error of decoding.
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
		// The event of a function URL looks the same, except that its path is encoded.
		return functionURL{httpAPI{*c}}, nil
	}
	return httpAPI{*c}, nil
}

// format1 chooses among the other fronts.
func format1(e *event, c *restAPIContext, err error) (front, error) {
	switch {
	case e.Version == "1.0" && !c.isREST():
		// AWS does not say whether its path is decoded, and observers disagree.
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

// sender is the advice about an event that no front sends.
const sender = "Look at what invokes the function (its triggers, its resource-based policy), and set that front to it"

var (
	errNoContext = errors.New("it has no requestContext, which every HTTP front sends. " + sender)
	errNoFront   = errors.New("it comes from no HTTP front: neither a REST API, an HTTP API with payload format 2.0, a load balancer, a function URL, nor VPC Lattice with event version V2. " + sender)
)

// explained returns an error without the names of Go types, if the JSON of an event has a value of a type that its field cannot hold. It
// returns other errors as they are.
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

// kind returns the JSON type that was found, without the value that may follow it.
func kind(unlike *json.UnmarshalTypeError) string {
	kind, _, _ := strings.Cut(unlike.Value, " ")
	return kind
}
