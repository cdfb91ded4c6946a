package origin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Item is a route as it is stored: its attributes by name, each as it was written. What
// edits, compares and copies routes works on Items, so that nothing is lost on the way, not
// even of a route that cannot be used. [Item.Route] reads one.
//
// The values are string, json.Number, bool, []any, [StringSet], map[string]any, and nil. An
// item of DynamoDB may have others, which JSON has not, and no route either: they are kept
// apart as what they are, and [Item.MarshalJSON] refuses them. The zero Item has no
// attributes; it can be read, not written to.
type Item map[string]any

// StringSet is DynamoDB's type SS. JSON has no sets: an Item read from JSON has one where the
// attribute is known to be one.
type StringSet []string

// Attribute names that tools write beside a route: its record.
const (
	VersionAttribute   = "version"
	UpdatedAtAttribute = "updated_at"
	UpdatedByAttribute = "updated_by"
)

// attributeOrder is the order in which attributes are written: what a route is, what it
// needs, when it holds, what tools know of it. Others follow by name.
var attributeOrder = []string{
	"host", "origin", "server_name", "host_header", "ca_pem", "spki_pins", "client_cert", "tls_min", "protocols", "max_connections", "rewrite",
	"connect_timeout", "handshake_timeout", "response_timeout", "idle_timeout", "request_timeout",
	"enabled", "expires_at", "note", VersionAttribute, UpdatedAtAttribute, UpdatedByAttribute,
}

// AttributeNames returns the names of all attributes that a route may have, in the order in which
// they are written.
func AttributeNames() []string { return slices.Clone(attributeOrder) }

// Route reads the item. The error is an *[InvalidRouteError].
func (i Item) Route() (*Route, error) { return decode(i) }

// Host returns the key of the item, or "" where it has none that is a string.
func (i Item) Host() string {
	s, _ := i["host"].(string)
	return s
}

// Names returns the names of the attributes in the order in which they are written.
func (i Item) Names() []string {
	names := make([]string, 0, len(i))
	for _, name := range attributeOrder {
		if _, ok := i[name]; ok {
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i)) {
		if !slices.Contains(attributeOrder, name) {
			names = append(names, name)
		}
	}
	return names
}

// Equal reports whether both have the same attributes with the same values. Sets have no
// order, and numbers are what they are worth.
func (i Item) Equal(other Item) bool { return maps.EqualFunc(i, other, sameValue) }

// SameRoute is Equal without what tools write beside a route: who changed it, when and how
// often. Pins that are a list are as good as a set, which is what they become in JSON.
func (i Item) SameRoute(other Item) bool {
	return i.withPinSet().Equal(other.withPinSet())
}

func (i Item) withPinSet() Item {
	only := i.WithoutRecord()
	if set, ok := asSet(only["spki_pins"]); ok {
		only["spki_pins"] = set
	}
	return only
}

// IsRecord reports whether an attribute of that name is what tools write beside a route.
func IsRecord(name string) bool {
	return name == VersionAttribute || name == UpdatedAtAttribute || name == UpdatedByAttribute
}

// WithoutRecord returns a copy without what tools write beside a route. Of nil, it has no attributes.
func (i Item) WithoutRecord() Item {
	only := make(Item, len(i))
	for name, v := range i {
		if !IsRecord(name) {
			only[name] = v
		}
	}
	return only
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case StringSet:
		b, ok := b.(StringSet)
		return ok && slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
	case json.Number:
		b, ok := b.(json.Number)
		return ok && canonical(a) == canonical(b)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, sameValue)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, sameValue)
	}
	return reflect.DeepEqual(a, b)
}

// canonical returns the one way to write a number by digits and an exponent. DynamoDB gives back 1.5
// for 1.50, which otherwise would be a change for ever.
func canonical(n json.Number) string {
	mantissa, power, found := strings.Cut(strings.ToLower(n.String()), "e")
	exponent, err := 0, error(nil)
	if found {
		exponent, err = strconv.Atoi(power)
	}
	if err != nil {
		return n.String() // DynamoDB has no such number
	}
	digits, minus := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(short) - len(fraction)
	switch {
	case short == "":
		return "0"
	case minus:
		short = "-" + short
	}
	return fmt.Sprintf("%se%d", short, exponent)
}

// MarshalJSON writes an object with the attributes in the order of Names; sets are sorted.
func (i Item) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	write := func(v any) error {
		if err := encoder.Encode(v); err != nil {
			return err
		}
		b.Truncate(b.Len() - len("\n"))
		return nil
	}
	b.WriteByte('{')
	for n, name := range i.Names() {
		if n > 0 {
			b.WriteByte(',')
		}
		v := i[name]
		if !inJSON(v) {
			return nil, fmt.Errorf("origin: route %q: attribute %q is of a type that JSON has not", i.Host(), name)
		}
		if set, ok := v.(StringSet); ok {
			v = slices.Sorted(slices.Values(set))
		}
		if err := write(name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := write(v); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// inJSON reports whether v comes back from JSON as it is.
func inJSON(v any) bool {
	switch v := v.(type) {
	case nil, string, json.Number, bool, StringSet:
		return true
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !inJSON(e) })
	case map[string]any:
		for _, e := range v {
			if !inJSON(e) {
				return false
			}
		}
		return true
	}
	return false
}

// UnmarshalJSON reads an object. One with a member twice is refused: the last would win, and
// which one its author meant, nobody knows.
func (i *Item) UnmarshalJSON(b []byte) error {
	if err := checkMembers(json.NewDecoder(bytes.NewReader(b))); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var attrs map[string]any
	if err := d.Decode(&attrs); err != nil {
		return err
	}
	if attrs == nil {
		return errors.New("is null")
	}
	if set, ok := asSet(attrs["spki_pins"]); ok {
		attrs["spki_pins"] = set
	}
	*i = attrs
	return nil
}

// asSet makes a set of a list of strings, and returns false for what is none.
func asSet(v any) (StringSet, bool) {
	list, _ := v.([]any)
	set := make(StringSet, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, false
		}
		set = append(set, s)
	}
	slices.Sort(set)
	return slices.Compact(set), len(set) > 0
}

// Items reads the routes of a document one by one, in its order, as they are: neither that
// they can be used nor that each host is there once is looked at. An error ends it, and says
// where in the document.
func Items(r io.Reader) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if err := readItems(r, func(item Item) bool { return yield(item, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// readItems is [Items] with its error apart, nil where yield wants no more.
func readItems(r io.Reader, yield func(Item) bool) error {
	lines := &lineReader{r: r}
	d := json.NewDecoder(lines)
	malformed := func(err error) error {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("has to be JSON of the form {\"routes\":[...]}: %s: %w", lines.position(faultOffset(d, err)), err)
	}
	if err := expectDelim(d, '{'); err != nil {
		return malformed(err)
	}
	found := false
	for d.More() {
		switch name, err := d.Token(); {
		case err != nil:
			return malformed(err)
		case name != "routes":
			return fmt.Errorf("has %q beside \"routes\"", name)
		case found:
			return errors.New("has \"routes\" twice in one object")
		}
		found = true
		switch token, err := d.Token(); {
		case err != nil:
			return malformed(err)
		case token == nil:
			return errNoRoutes
		case token != json.Delim('['):
			return malformed(errors.New("\"routes\" is no list"))
		}
		for n := 1; d.More(); n++ {
			lines.forget(d.InputOffset())
			var item Item
			var raw json.RawMessage
			if err := d.Decode(&raw); err != nil {
				return malformed(fmt.Errorf("route %d of the list: %w", n, err))
			}
			if err := item.UnmarshalJSON(raw); err != nil {
				return fmt.Errorf("route %d of the list (%s): %w", n, lines.position(d.InputOffset()-int64(len(raw))), err)
			}
			if !yield(item) {
				return nil
			}
		}
		if err := expectDelim(d, ']'); err != nil {
			return malformed(err)
		}
	}
	if err := expectDelim(d, '}'); err != nil {
		return malformed(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed(errors.New("something follows its end"))
	}
	if !found {
		return errNoRoutes
	}
	return nil
}

// lineReader remembers where lines began in what was read from r, from the offset on that is not
// forgotten yet.
type lineReader struct {
	r        io.Reader
	offset   int64
	newlines []int64
	line     int   // how many lines are forgotten
	start    int64 // where the line after them begins
}

func (l *lineReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	for i, c := range p[:n] {
		if c == '\n' {
			l.newlines = append(l.newlines, l.offset+int64(i))
		}
	}
	l.offset += int64(n)
	return n, err
}

// forget gives up what is before an offset, so that a long document needs no memory.
func (l *lineReader) forget(offset int64) {
	i, _ := slices.BinarySearch(l.newlines, offset)
	if i > 0 {
		l.line, l.start = l.line+i, l.newlines[i-1]+1
		l.newlines = slices.Delete(l.newlines, 0, i)
	}
}

// position says where an offset is, for people. Columns are bytes.
func (l *lineReader) position(offset int64) string {
	l.forget(offset)
	return fmt.Sprintf("line %d, column %d", l.line+1, offset-l.start+1)
}

// faultOffset is where the decoder could not go on with that error. Its own SyntaxError counts from elsewhere, where tokens
// were read before.
func faultOffset(d *json.Decoder, fault error) int64 {
	rest, _ := io.ReadAll(d.Buffered())
	offset := d.InputOffset()
	// It has to be the value that is read next: behind white space, and a comma.
	value := bytes.TrimLeft(rest, " \t\r\n")
	if comma, ok := bytes.CutPrefix(value, []byte(",")); ok {
		value = bytes.TrimLeft(comma, " \t\r\n")
	}
	offset += int64(len(rest) - len(value))
	var whole json.RawMessage
	var syntax *json.SyntaxError
	switch err := json.NewDecoder(bytes.NewReader(value)).Decode(&whole); {
	case errors.As(err, &syntax) && syntax.Offset > 0:
		return offset + syntax.Offset - 1
	case errors.Is(err, io.ErrUnexpectedEOF) && errors.Is(fault, io.ErrUnexpectedEOF):
		return offset + int64(len(value))
	}
	return offset
}

var errNoRoutes = errors.New("has no \"routes\"; an empty list is written {\"routes\":[]}")

// expectDelim reads one delimiter.
func expectDelim(d *json.Decoder, want json.Delim) error {
	token, err := d.Token()
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case token != want:
		return fmt.Errorf("%v is where %v has to be", token, want)
	}
	return nil
}

// checkMembers reads one value, and refuses objects that have a member twice. What is no JSON
// at all is left for others to report.
func checkMembers(d *json.Decoder) error {
	token, err := d.Token()
	delim, _ := token.(json.Delim)
	if err != nil || delim != '{' && delim != '[' {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return nil
			}
			name, _ := token.(string)
			if seen[name] {
				return fmt.Errorf("has %q twice in one object", name)
			}
			seen[name] = true
		}
		before := d.InputOffset()
		if err := checkMembers(d); err != nil {
			return err
		}
		if d.InputOffset() == before {
			return nil // an error, at which the decoder stays
		}
	}
	d.Token() // the end of it
	return nil
}

// FormatItems writes items as the document that [Items] and [ReadRoutes] read, one line each,
// so that what changed in it is seen by diff and by version control. It stops at the first
// error, of items or of w.
func FormatItems(w io.Writer, items iter.Seq2[Item, error]) error {
	return FormatDocument(w, func(yield func([]byte, error) bool) {
		for item, err := range items {
			var b []byte
			if err == nil {
				b, err = item.MarshalJSON()
			}
			if !yield(b, err) {
				return
			}
		}
	})
}

// FormatDocument is FormatItems for items that were written as JSON before.
func FormatDocument(w io.Writer, items iter.Seq2[[]byte, error]) error {
	separator := "{\"routes\":[\n"
	for b, err := range items {
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, separator); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		separator = ",\n"
	}
	end := "\n]}\n"
	if separator != ",\n" {
		end = "{\"routes\":[]}\n"
	}
	_, err := io.WriteString(w, end)
	return err
}
