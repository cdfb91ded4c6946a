package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// parseItem reads one route as a person writes it: an object of JSON or YAML. Whether it can be used is not
// looked at.
//
// YAML guesses types, and routes are strict about theirs. Where an attribute is text, it is
// therefore taken as it is written: tls_min: 1.3 is "1.3". A time in expires_at is taken as --expires-at
// takes it.
func parseItem(document []byte, now time.Time) (origin.Item, error) {
	var item origin.Item
	var err error
	if trimmed := bytes.TrimSpace(document); bytes.HasPrefix(trimmed, []byte("{")) && json.Valid(trimmed) {
		err = item.UnmarshalJSON(trimmed)
	} else if item, err = fromYAML(document); err != nil && bytes.HasPrefix(trimmed, []byte("{")) {
		var any map[string]any
		if jsonErr := json.Unmarshal(trimmed, &any); jsonErr != nil { // its author meant JSON
			err = jsonErr
		}
	}
	if err != nil {
		return nil, err
	}
	if s, ok := item["expires_at"].(string); ok {
		at, err := parseExpiry(s, now)
		if err != nil {
			return nil, fmt.Errorf("attribute \"expires_at\" %w", err)
		}
		item["expires_at"] = epoch(at)
	}
	return item, nil
}

// typed are the attributes that are not text.
var typed = []string{"spki_pins", "rewrite", "enabled", "expires_at", origin.VersionAttribute}

func fromYAML(document []byte) (origin.Item, error) {
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
		return nil, errors.New("has more than one document; it has to be one route")
	}
	top := &node
	if top.Kind == yaml.DocumentNode {
		top = top.Content[0]
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
