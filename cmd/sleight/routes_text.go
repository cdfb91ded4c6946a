package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sleightproxy/sleight/internal/routetable"
	"github.com/sleightproxy/sleight/pkg/origin"
)

// parseItem reads one route as a person writes it: an object of JSON or YAML. Whether it can be used is not
// looked at.
//
// YAML guesses types, and routes are strict about theirs. Where an attribute is text, it is
// therefore taken as it is written: tls_min: 1.3 is "1.3". A time in expires_at is taken as --expires-at
// takes it.
func parseItem(document []byte, now time.Time) (origin.Item, error) {
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
	return item, parseExpiresAt(item, now)
}

// parseExpiresAt makes seconds of an "expires_at" that a person has written.
func parseExpiresAt(item origin.Item, now time.Time) error {
	s, ok := item["expires_at"].(string)
	if !ok {
		return nil
	}
	at, err := parseExpiry(s, now)
	if err != nil {
		return fmt.Errorf("attribute \"expires_at\" %w", err)
	}
	item["expires_at"] = epoch(at)
	return nil
}

// typed are the attributes that are not text.
var typed = []string{"spki_pins", "rewrite", "enabled", "expires_at", "max_connections", origin.VersionAttribute}

// position is the one behind some text.
func position(before []byte) string {
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n'))
}

// jsonFault says where a document stops being JSON, nil if it does not.
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

func fromYAML(document []byte) (origin.Item, error) {
	top, err := parseYAML(document)
	if err != nil {
		return nil, err
	}
	if top.Kind != yaml.MappingNode {
		return nil, errors.New("has to be an object with the attributes of one route, such as \"origin: b.example\"")
	}
	members, err := yamlObject(top, true)
	if err != nil {
		return nil, err
	}
	// By the way of JSON, so that both are read by the same rules.
	b, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	var item origin.Item
	return item, item.UnmarshalJSON(b)
}

// routesOfYAML returns the JSON of a YAML document of one route, or of {"routes":[...]}. Attributes are taken as
// [fromYAML] takes them; what else the document is, is left to the readers of JSON.
func routesOfYAML(document []byte) ([]byte, error) {
	top, err := parseYAML(document)
	if err != nil {
		return nil, err
	}
	if top.Kind != yaml.MappingNode {
		v, err := yamlValue(top, false)
		if err != nil {
			return nil, err
		}
		return json.Marshal(v)
	}
	members, err := yamlObject(top, true)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(top.Content); i += 2 {
		if list := top.Content[i+1]; top.Content[i].Value == "routes" && list.Kind == yaml.SequenceNode {
			routes := make([]any, 0, len(list.Content))
			for _, n := range list.Content {
				var route any
				if n.Kind == yaml.MappingNode {
					route, err = yamlObject(n, true)
				} else {
					route, err = yamlValue(n, false)
				}
				if err != nil {
					return nil, err
				}
				routes = append(routes, route)
			}
			members["routes"] = routes
		}
	}
	return json.Marshal(members)
}

// parseYAML reads a YAML document that is the only one.
func parseYAML(document []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(document))
	var node, more yaml.Node
	switch err := d.Decode(&node); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("is empty")
	case err != nil:
		return nil, err
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, err
		}
		return nil, errors.New("has more than one document; it has to be one")
	}
	if node.Kind == yaml.DocumentNode {
		return node.Content[0], nil
	}
	return &node, nil
}

func yamlObject(n *yaml.Node, attributes bool) (map[string]any, error) {
	members := make(map[string]any, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			return nil, fmt.Errorf("line %d: a name has to be plain text", key.Line)
		}
		name := key.Value
		if _, ok := members[name]; ok {
			return nil, fmt.Errorf("line %d: has %q twice in one object", key.Line, name)
		}
		text := attributes && slices.Contains(origin.AttributeNames(), name) && !slices.Contains(typed, name)
		v, err := yamlValue(n.Content[i+1], text)
		if err != nil {
			return nil, err
		}
		members[name] = v
	}
	return members, nil
}

// yamlValue is a value as encoding/json writes it. Of text, nothing is guessed.
func yamlValue(n *yaml.Node, text bool) (any, error) {
	switch n.Kind {
	case yaml.MappingNode:
		return yamlObject(n, false)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, e := range n.Content {
			v, err := yamlValue(e, text)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.ScalarNode:
		return yamlScalar(n, text)
	}
	return nil, fmt.Errorf("line %d: an alias (*%s) is not taken; write it out", n.Line, n.Value)
}

func yamlScalar(n *yaml.Node, text bool) (any, error) {
	tag := n.ShortTag()
	switch {
	case tag == "!!null":
		return nil, nil
	case tag == "!!str", tag == "!!timestamp", text && (tag == "!!int" || tag == "!!float" || tag == "!!bool"):
		return n.Value, nil
	case tag == "!!bool":
		var b bool
		err := n.Decode(&b)
		return b, err
	case tag == "!!int" || tag == "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value), nil
		}
		var i int64
		if err := n.Decode(&i); err != nil || tag == "!!float" {
			return nil, fmt.Errorf("line %d: %.40q is no number that JSON has", n.Line, n.Value)
		}
		return json.Number(strconv.FormatInt(i, 10)), nil // of another base
	}
	return nil, fmt.Errorf("line %d: %s is a type that routes have not", n.Line, tag)
}
