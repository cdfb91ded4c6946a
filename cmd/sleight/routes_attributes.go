package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sleightproxy/sleight/internal/routes"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// attributeFlags are the attributes of a route as flags: one for each row of [origin.Attributes] that people write.
type attributeFlags struct {
	c       *cobra.Command
	texts   map[string]*string // by attribute, as are the others
	lists   map[string]*[]string
	numbers map[string]*int64
	bools   map[string]*bool

	caFile   string // in place of ca_pem
	disabled bool   // the opposite of enabled
}

func (a *attributeFlags) add(c *cobra.Command) {
	*a = attributeFlags{c: c, texts: map[string]*string{}, lists: map[string]*[]string{}, numbers: map[string]*int64{}, bools: map[string]*bool{}}
	f := c.Flags()
	for _, row := range written() {
		name, usage := flagName(row.Name), row.Help
		if row.Level > 0 {
			usage += fmt.Sprintf(" (needs level %d, see \"sleight routes level\")", row.Level)
		}
		switch row.Kind {
		case origin.Bool:
			a.bools[row.Name] = f.Bool(name, false, usage)
		case origin.Number:
			a.numbers[row.Name] = f.Int64(name, 0, usage)
		case origin.List:
			a.lists[row.Name] = f.StringSlice(name, nil, usage+", separated by commas")
		case origin.OneOrList:
			a.lists[row.Name] = f.StringSlice(name, nil, usage+"; may be repeated")
		case origin.Set:
			a.lists[row.Name] = f.StringSlice(name, nil, usage+"; may be repeated, and replaces all ("+row.Name+")")
		case origin.Seconds:
			a.texts[row.Name] = f.String(name, "", usage+": RFC 3339, seconds since 1970, or from now on such as +48h or +30d")
		case origin.Duration:
			a.texts[row.Name] = f.String(name, "", usage+", such as "+strings.Trim(row.Example, `"`))
		default:
			a.texts[row.Name] = f.String(name, "", usage)
		}
		completeValues(c, map[string][]string{name: row.Values}, nil)
	}
	f.StringVar(&a.caFile, "ca-file", "", "`file` with what --ca-pem says; - is standard input")
	f.BoolVar(&a.disabled, "disabled", false, "the opposite of --enabled")
	completeValues(c, nil, map[string][]string{"ca-file": {"pem", "crt", "cer"}})
}

// written returns the attributes that people write as flags.
func written() []origin.Attribute {
	return slices.DeleteFunc(origin.Attributes(), func(row origin.Attribute) bool { return row.Audit || row.Name == "host" })
}

// flagName returns the name of the flag for an attribute.
func flagName(attribute string) string {
	if attribute == "spki_pins" {
		return "pin" // one of them each time
	}
	return strings.ReplaceAll(attribute, "_", "-")
}

// changed returns the first flag of an attribute that is given, and "" if none is.
func (a *attributeFlags) changed() string {
	names := []string{"ca-file", "disabled"}
	for _, row := range written() {
		names = append(names, flagName(row.Name))
	}
	for _, name := range names {
		if a.c.Flags().Changed(name) {
			return "--" + name
		}
	}
	return ""
}

// given returns the attributes that the flags have. It checks neither the values nor what they are together.
func (a *attributeFlags) given(now time.Time) (origin.Item, error) {
	changed := a.c.Flags().Changed
	for _, pair := range [][2]string{{"ca-file", "ca-pem"}, {"enabled", "disabled"}} {
		if changed(pair[0]) && changed(pair[1]) {
			return nil, usageError{fmt.Errorf("--%s and --%s are both given: give one of them", pair[0], pair[1])}
		}
	}
	item := origin.Item{}
	for _, row := range written() {
		name := flagName(row.Name)
		if !changed(name) {
			continue
		}
		switch row.Kind {
		case origin.Bool:
			item[row.Name] = *a.bools[row.Name]
		case origin.Number:
			item[row.Name] = json.Number(strconv.FormatInt(*a.numbers[row.Name], 10))
		case origin.List:
			item[row.Name] = list(*a.lists[row.Name])
		case origin.OneOrList:
			item[row.Name] = listOrOne(*a.lists[row.Name])
		case origin.Set:
			item[row.Name] = origin.StringSet(slices.Compact(slices.Sorted(slices.Values(*a.lists[row.Name]))))
		case origin.Seconds:
			at, err := future(name, *a.texts[row.Name], now)
			if err != nil {
				return nil, err
			}
			item[row.Name] = routes.Seconds(at)
		default:
			v := *a.texts[row.Name]
			if !utf8.ValidString(v) {
				return nil, usageError{fmt.Errorf("--%s is %q, which is not UTF-8", name, v)}
			}
			item[row.Name] = v
		}
	}
	if changed("ca-file") {
		b, err := readInput(a.c, a.caFile, maxDocument)
		if err != nil {
			return nil, usageError{fmt.Errorf("--ca-file: %w", err)}
		}
		item["ca_pem"] = string(b)
	}
	if changed("disabled") {
		item["enabled"] = !a.disabled
	}
	return item, nil
}

// future reads the time of a flag, which has to be after now.
func future(flag, v string, now time.Time) (time.Time, error) {
	at, err := routes.ParseExpiry(v, now)
	switch {
	case err != nil:
		return at, usageError{fmt.Errorf("--%s %w", flag, err)}
	case !at.After(now):
		return at, usageError{fmt.Errorf("--%s %q is in the past (%s): to end a route now, use \"routes disable\" or \"routes rm\"", flag, v, at.UTC().Format(time.RFC3339))}
	}
	return at, nil
}

func listOrOne(all []string) any {
	if len(all) == 1 {
		return all[0]
	}
	return list(all)
}

// list returns the value of an attribute for several texts.
func list(all []string) []any {
	values := make([]any, 0, len(all))
	for _, s := range all {
		values = append(values, s)
	}
	return values
}
