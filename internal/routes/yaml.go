package routes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/sleightproxy/sleight/pkg/origin"
)

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
	// Through JSON, so that both are read by the same rules.
	b, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	var item origin.Item
	return item, item.UnmarshalJSON(b)
}

// routesOfYAML returns the JSON of a YAML document of one route, or of {"routes":[...]}. It reads attributes as fromYAML does.
// The readers of JSON judge the rest.
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

// parseYAML reads a file of one YAML document.
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

// isText reports whether an attribute is a text or a list of texts.
func isText(attribute string) bool {
	for _, row := range origin.Attributes() {
		if row.Name == attribute {
			return slices.Contains([]origin.Kind{origin.String, origin.Duration, origin.List, origin.OneOrList}, row.Kind)
		}
	}
	return false
}

// yamlObject returns the members of an object. If attributes is set, they are attributes of a route.
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
		text := attributes && isText(name)
		v, err := yamlValue(n.Content[i+1], text)
		if err != nil {
			return nil, err
		}
		members[name] = v
	}
	return members, nil
}

// yamlValue returns a value for encoding/json. If text is set, no type is guessed.
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
			return nil, fmt.Errorf("line %d: %.40q is not a number in JSON", n.Line, n.Value)
		}
		return json.Number(strconv.FormatInt(i, 10)), nil // of another base
	}
	return nil, fmt.Errorf("line %d: %s is a type that routes do not have", n.Line, tag)
}
