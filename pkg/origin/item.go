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

// Item is a route as it is stored: its attributes by name, with their values as they were written. Tools that edit,
// compare or copy routes work on Items, so that they lose nothing, even of a route that cannot be used. [Item.Route]
// reads the route.
//
// The values are string, json.Number, bool, []any, [StringSet], map[string]any, and nil. An item of DynamoDB may have values
// of other types. JSON does not have those, and no route is valid with them. An Item keeps them, and [Item.MarshalJSON]
// refuses them. The zero Item has no attributes. It can be read, but not written to.
type Item map[string]any

// StringSet is DynamoDB's type SS. JSON has no sets. An Item that is read from JSON has a StringSet if the attribute is known to
// be a set.
type StringSet []string

// Names of audit attributes. Tools write them beside a route.
const (
	VersionAttribute   = "version"
	UpdatedAtAttribute = "updated_at"
	UpdatedByAttribute = "updated_by"
)

// Route reads the item. The error is an *[InvalidRouteError].
func (i Item) Route() (*Route, error) { return decode(i) }

// Host returns the key of the item, or "" if the item has no key or its key is not a string.
func (i Item) Host() string {
	s, _ := i["host"].(string)
	return s
}

// Names returns the names of the attributes in the order of [Attributes]. Unknown names come last, sorted.
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

// Equal reports whether both have the same attributes with the same values. Sets are compared without order, and numbers by
// value.
func (i Item) Equal(other Item) bool { return maps.EqualFunc(i, other, sameValue) }

// SameRoute is [Item.Equal] without audit attributes. A list of pins equals a set of them, since JSON turns one into the
// other.
func (i Item) SameRoute(other Item) bool {
	return i.withPinSet().Equal(other.withPinSet())
}

func (i Item) withPinSet() Item {
	only := i.WithoutAudit()
	if set, ok := asSet(only["spki_pins"]); ok {
		only["spki_pins"] = set
	}
	return only
}

// IsAudit reports whether name is that of an audit attribute: tools write it beside a route, to say who changed the route,
// when and how often.
func IsAudit(name string) bool {
	row, ok := attributeOf(name)
	return ok && row.Audit
}

// WithoutAudit returns a copy without audit attributes. The copy is never nil.
func (i Item) WithoutAudit() Item {
	only := make(Item, len(i))
	for name, v := range i {
		if !IsAudit(name) {
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

// canonical writes a number in one form, with digits and an exponent. DynamoDB returns 1.5 for 1.50, which
// would otherwise look like a change each time.
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

// MarshalJSON writes an object with the attributes in the order of [Item.Names]. Sets are sorted.
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
			return nil, fmt.Errorf("origin: route %q: attribute %q is of a type that JSON does not have", i.Host(), name)
		}
		if set, ok := v.(StringSet); ok {
			v = slices.Sorted(slices.Values(set))
		}
		if err := write(name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := write(v); err != nil { // a number that an engine has stored as it was written
			return nil, fmt.Errorf("origin: route %q: attribute %q: %w", i.Host(), name, err)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// inJSON reports whether v survives JSON unchanged.
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

// UnmarshalJSON reads an object. It refuses an object that has a member twice: encoding/json would take the last, and its
// author may have meant the first.
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

// asSet makes a set of a list of strings. It returns false if v is no such list, or is empty.
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

// Items reads the routes of a document one by one, in its order. It does not check whether they can be used, or whether a
// host has two. An error ends it, and says where in the document.
func Items(r io.Reader) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if err := readItems(r, func(item Item) bool { return yield(item, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// readItems is [Items] with its error as a result. The error is nil if yield returns false.
func readItems(r io.Reader, yield func(Item) bool) error {
	kept := &keeper{r: r}
	d := json.NewDecoder(kept)
	form := func(offset int64, err error) error {
		return fmt.Errorf("has to be JSON of the form {\"routes\":[...]}: %s: %w", kept.position(offset), err)
	}
	malformed := func(err error, route string) error {
		offset, err := kept.fault(err)
		return form(offset, fmt.Errorf("%s%w", route, err))
	}
	// delim reads one delimiter.
	delim := func(want json.Delim, otherwise string) error {
		before := d.InputOffset()
		switch token, err := d.Token(); {
		case err != nil:
			return malformed(err, "")
		case token != want:
			return form(kept.next(before), fmt.Errorf(otherwise, token))
		}
		return nil
	}
	if err := delim('{', "%v in place of {"); err != nil {
		return err
	}
	found := false
	for d.More() {
		switch name, err := d.Token(); {
		case err != nil:
			return malformed(err, "")
		case name != "routes":
			return fmt.Errorf("has %q beside \"routes\"", name)
		case found:
			return errors.New("has \"routes\" twice in one object")
		}
		found = true
		before := d.InputOffset()
		switch token, err := d.Token(); {
		case err != nil:
			return malformed(err, "")
		case token == nil:
			return errNoRoutes
		case token != json.Delim('['):
			return form(kept.next(before), errors.New("\"routes\" is not a list"))
		}
		for n := 1; d.More(); n++ {
			kept.forget(d.InputOffset(), n > 1)
			var item Item
			var raw json.RawMessage
			if err := d.Decode(&raw); err != nil {
				return malformed(err, fmt.Sprintf("route %d of the list: ", n))
			}
			if err := item.UnmarshalJSON(raw); err != nil {
				return fmt.Errorf("route %d of the list (%s): %w", n, kept.position(d.InputOffset()-int64(len(raw))), err)
			}
			if !yield(item) {
				return nil
			}
		}
		if err := delim(']', "%v in place of ]"); err != nil {
			return err
		}
	}
	if err := delim('}', "%v in place of }"); err != nil {
		return err
	}
	before := d.InputOffset()
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return form(kept.next(before), errors.New("there is more after its end"))
	}
	if !found {
		return errNoRoutes
	}
	return nil
}

// keeper keeps the bytes that were read from r, except those before the offset that [keeper.forget] was last called with.
type keeper struct {
	r     io.Reader
	kept  []byte
	from  int64  // the offset of kept
	shape string // valid JSON in place of the forgotten bytes
	line  int    // the number of forgotten lines
	start int64  // the offset of the line after those
}

func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.r.Read(p)
	k.kept = append(k.kept, p[:n]...)
	return n, err
}

// forget drops the bytes before an offset in the list, so that a long document needs no memory. others says whether there
// are routes before the offset.
func (k *keeper) forget(offset int64, others bool) {
	n := offset - k.from
	if i := bytes.LastIndexByte(k.kept[:n], '\n'); i >= 0 {
		k.line += bytes.Count(k.kept[:n], []byte("\n"))
		k.start = k.from + int64(i) + 1
	}
	k.kept, k.from = k.kept[n:], offset
	k.shape = `{"routes":[`
	if others {
		k.shape += "{}"
	}
}

// position returns the line and the column of an offset, for people. Columns are bytes.
func (k *keeper) position(offset int64) string {
	before := k.kept[:offset-k.from]
	line, start := k.line, k.start
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		line += bytes.Count(before, []byte("\n"))
		start = k.from + int64(i) + 1
	}
	return fmt.Sprintf("line %d, column %d", line+1, offset-start+1)
}

// next returns the offset of the token after the one that ends at offset.
func (k *keeper) next(offset int64) int64 {
	rest := k.kept[offset-k.from:]
	return offset + int64(len(rest)-len(bytes.TrimLeft(rest, " \t\r\n:")))
}

// fault returns the offset of the first byte that is not JSON, if err is a decoder's syntax error, and otherwise that of the
// end of what was read.
func (k *keeper) fault(err error) (int64, error) {
	var syntax *json.SyntaxError
	end := k.from + int64(len(k.kept))
	if !errors.As(err, &syntax) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return end, err // the reader's
	}
	at := SyntaxFault(slices.Concat([]byte(k.shape), k.kept))
	offset := k.from + int64(at-len(k.shape))
	if at < 0 || offset == end {
		return end, io.ErrUnexpectedEOF
	}
	return offset, err
}

var errNoRoutes = errors.New("has no \"routes\"; an empty list is written {\"routes\":[]}")

// checkMembers reads one value, and refuses objects that have a member twice. It ignores faults of syntax: another decoder
// reports them.
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
			return nil // an error: the decoder stays at it
		}
	}
	d.Token() // its closing delimiter
	return nil
}
