package localfront

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// answer is the response for the client.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func message(status int, parts ...string) *answer {
	return &answer{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(strings.Join(parts, ""))}
}

func (a *answer) setDefault(name, value string) {
	if _, ok := a.header[name]; !ok && a.hasBody() {
		a.header.Set(name, value)
	}
}

// hasBody reports whether a response with this status may have a body.
func (a *answer) hasBody() bool {
	return a.status != http.StatusNoContent && a.status != http.StatusNotModified
}

func (a *answer) write(w http.ResponseWriter, r *http.Request) {
	a.writeHead(w, r)
	if a.hasBody() && r.Method != http.MethodHead {
		w.Write(a.body)
	}
}

// writeHead writes the status and the headers. net/http sets the headers about the connection. It sets the length of the body too,
// except for HEAD.
func (a *answer) writeHead(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for name, values := range a.header {
		if !strings.ContainsAny(name, ": ") { // otherwise it is not a valid name, and net/http gives some of these a meaning
			h[name] = values
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade"} {
		delete(h, name)
	}
	if _, err := strconv.ParseUint(h.Get("Content-Length"), 10, 63); err != nil || r.Method != http.MethodHead {
		delete(h, "Content-Length")
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // otherwise net/http would set one
	}
	w.WriteHeader(a.status)
}

// envelope is a reply, or the prelude of a streamed reply.
type envelope struct {
	Status            *number             `json:"statusCode"`
	Headers           map[string]scalar   `json:"headers"`
	MultiValueHeaders map[string][]scalar `json:"multiValueHeaders"`
	Cookies           []string            `json:"cookies"`
	Body              *string             `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
}

func parseEnvelope(payload []byte) (*envelope, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		return nil, errors.New("localfront: the reply is not a JSON object")
	}
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("localfront: the reply is malformed: %w", err)
	}
	return &e, nil
}

// answer returns the response for an envelope. An empty contentType means that there is no default.
func (e *envelope) answer(contentType string) (*answer, error) {
	if e.Status == nil || *e.Status < 200 || *e.Status > 599 {
		return nil, errors.New("localfront: the reply's statusCode is missing, or no final status")
	}
	a := &answer{status: int(*e.Status), header: http.Header{}}
	// Names that differ only in case are one header with several values. Functions behind load balancers rely on that.
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		a.header.Add(name, string(e.Headers[name]))
	}
	multi := http.Header{}
	for name, values := range e.MultiValueHeaders {
		for _, value := range values {
			multi.Add(name, string(value))
		}
	}
	for name, values := range multi {
		a.header[name] = values
	}
	for _, c := range e.Cookies {
		a.header.Add("Set-Cookie", c)
	}
	if e.Body != nil {
		a.body = []byte(*e.Body)
	}
	if e.IsBase64Encoded {
		var err error
		if a.body, err = base64.StdEncoding.DecodeString(string(a.body)); err != nil {
			return nil, fmt.Errorf("localfront: the reply's body: %w", err)
		}
	}
	if contentType != "" {
		a.setDefault("Content-Type", contentType)
	}
	return a, nil
}

// v2Answer reads a reply in payload format 2.0. If the reply has no status, the whole reply is the body.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
func v2Answer(payload []byte) (*answer, error) {
	e, malformed := parseEnvelope(payload) // first, since nearly all replies have a status, and a large one takes a while to parse
	if malformed == nil && e.Status != nil {
		e.MultiValueHeaders = nil // this format does not have it
		return e.answer("")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(payload, &raw); err != nil {
		return nil, fmt.Errorf("localfront: the reply is no JSON: %w", err)
	}
	var probe struct {
		Status json.RawMessage `json:"statusCode"`
	}
	if json.Unmarshal(payload, &probe) == nil && probe.Status != nil {
		if malformed != nil {
			return nil, malformed
		}
		return e.answer("") // which says that the status is null
	}
	body := []byte(raw)
	var text string
	if json.Unmarshal(payload, &text) == nil && body[0] == '"' {
		body = []byte(text)
	}
	return &answer{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: body}, nil
}

// scalar is the value of a header. It can be a number or a boolean too.
type scalar string

// UnmarshalJSON implements json.Unmarshaler.
func (s *scalar) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(s))
	}
	if b[0] == '{' || b[0] == '[' {
		return fmt.Errorf("localfront: %.20q is not a header's value", b)
	}
	*s = scalar(b)
	return nil
}

// number is a status. It can be a string too.
type number int

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	i, err := strconv.Atoi(strings.Trim(string(b), `"`))
	if err != nil {
		return fmt.Errorf("localfront: %.20q is not a status", b)
	}
	*n = number(i)
	return nil
}
