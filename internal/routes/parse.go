package routes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// ParseDocument reads routes that are in no table yet, in JSON or YAML: one route as an object, or a document of "routes".
// name is for messages.
func ParseDocument(name string, b []byte) (*Document, error) {
	trimmed := bytes.TrimSpace(b)
	if len(trimmed) == 0 {
		return nil, errors.New("is empty")
	}
	if err := routetable.CheckUTF8(b); err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		converted, err := routesOfYAML(b)
		if err != nil && trimmed[0] == '{' { // its author meant JSON
			err = jsonFault(b)
		}
		if err != nil {
			return nil, fmt.Errorf("is neither JSON nor YAML: %w", err)
		}
		b = converted
	}
	// The members decide, so that a mistake in a document is not reported as one in a route.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return nil, errors.New("has to be an object, of one route or of \"routes\"")
	}
	if _, ok := members["routes"]; ok {
		return NewDocument(name, origin.Items(bytes.NewReader(b)))
	}
	return NewDocument(name, func(yield func(origin.Item, error) bool) {
		if members == nil {
			yield(nil, errors.New("is null"))
			return
		}
		yield(ParseItem(b, time.Now()))
	})
}

// ParseItem reads one route as a person writes it: an object of JSON or YAML. It does not check the route.
//
// YAML guesses types, and routes are strict about theirs. An attribute that is text is therefore taken as it is written:
// tls_min: 1.3 is "1.3". expires_at may be a text that [ParseExpiry] reads; now is the time for that.
func ParseItem(document []byte, now time.Time) (origin.Item, error) {
	if err := routetable.CheckUTF8(document); err != nil {
		return nil, err
	}
	var item origin.Item
	var err error
	if trimmed := bytes.TrimSpace(document); bytes.HasPrefix(trimmed, []byte("{")) && json.Valid(trimmed) {
		err = item.UnmarshalJSON(trimmed)
	} else if item, err = fromYAML(document); err != nil && bytes.HasPrefix(trimmed, []byte("{")) { // its author meant JSON
		err = cmp.Or(jsonFault(document), err)
	}
	if err != nil {
		return nil, err
	}
	return item, SetExpiry(item, now)
}

// SetExpiry turns an expires_at that is a text for [ParseExpiry] into seconds.
func SetExpiry(item origin.Item, now time.Time) error {
	s, ok := item["expires_at"].(string)
	if !ok {
		return nil
	}
	at, err := ParseExpiry(s, now)
	if err != nil {
		return fmt.Errorf("attribute \"expires_at\" %w", err)
	}
	item["expires_at"] = Seconds(at)
	return nil
}

// position says for people where some text ends. Columns are bytes.
func position(before []byte) string {
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n'))
}

// jsonFault says where a document stops being JSON. It returns nil for JSON.
func jsonFault(document []byte) error {
	at := origin.SyntaxFault(document)
	if at < 0 {
		return nil
	}
	err := io.ErrUnexpectedEOF
	if at < len(document) {
		var whole json.RawMessage
		err = json.Unmarshal(document, &whole)
	}
	return fmt.Errorf("%s: %w", position(document[:at]), err)
}

// Seconds returns the value of expires_at for a time.
func Seconds(t time.Time) json.Number { return json.Number(strconv.FormatInt(t.Unix(), 10)) }

// ParseExpiry reads seconds since 1970, RFC 3339, or a duration from now that begins with a plus, such as "+30d". It cuts
// off fractions of a second.
func ParseExpiry(s string, now time.Time) (time.Time, error) {
	if rest, ok := strings.CutPrefix(s, "+"); ok {
		d, err := parseDays(rest)
		if err != nil {
			return time.Time{}, fmt.Errorf("%.60q: after the plus there has to be a duration such as 90m, 48h or 30d", s)
		}
		return now.Add(d), nil
	}
	if strings.Trim(s, "0123456789") == "" && s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n >= 100_000_000_000 {
			return time.Time{}, fmt.Errorf("%.60q has to be in seconds since 1970 (not milliseconds)", s)
		}
		return time.Unix(n, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.60q has to be a time such as 2030-01-31T12:00:00Z, seconds since 1970, or a duration from now such as +48h", s)
	}
	return t, nil
}

const maxDays = 100 * 366

// parseDays reads what time.ParseDuration does, and whole days such as "30d". The duration has to be positive.
func parseDays(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 32); err == nil && n > maxDays {
			err = errors.New("too many days")
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if err == nil && d <= 0 {
		err = errors.New("not positive")
	}
	return d, err
}
