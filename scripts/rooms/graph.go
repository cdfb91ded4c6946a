package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// graph has the rooms, and for each the rooms that it imports and reaches by no longer way.
type graph struct {
	rooms   []string // sorted
	imports map[string][]string
}

// newGraph makes a graph of the roots and of all that they import. It returns an error if it is empty, or if rooms import in a
// circle.
func newGraph(imports map[string][]string, roots []string) (*graph, error) {
	reached := map[string]bool{}
	var path []string
	var visit func(room string) error
	visit = func(room string) error {
		if i := slices.Index(path, room); i >= 0 {
			return fmt.Errorf("rooms: these import in a circle: %s", strings.Join(append(path[i:], room), ", "))
		}
		if reached[room] {
			return nil
		}
		path = append(path, room)
		for _, i := range imports[room] {
			if err := visit(i); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		reached[room] = true
		return nil
	}
	for _, r := range roots {
		if err := visit(r); err != nil {
			return nil, err
		}
	}
	if len(reached) == 0 {
		return nil, fmt.Errorf("rooms: the module has no rooms: run this at its top")
	}
	g := &graph{rooms: slices.Sorted(maps.Keys(reached)), imports: map[string][]string{}}
	for _, room := range g.rooms {
		for _, to := range imports[room] {
			// An import is left out if another import of the room leads there too.
			if !slices.ContainsFunc(imports[room], func(other string) bool { return other != to && leads(imports, other, to) }) {
				g.imports[room] = append(g.imports[room], to)
			}
		}
		slices.Sort(g.imports[room])
	}
	return g, nil
}

// leads reports whether from imports to, itself or through others.
func leads(imports map[string][]string, from, to string) bool {
	return slices.ContainsFunc(imports[from], func(i string) bool { return i == to || leads(imports, i, to) })
}

// layers returns the layer of each room: 0 if no room imports it, else one more than the lowest room that imports it.
func (g *graph) layers() map[string]int {
	layer := map[string]int{}
	var sink func(room string, least int)
	sink = func(room string, least int) {
		if l, ok := layer[room]; ok && l >= least {
			return
		}
		layer[room] = least
		for _, i := range g.imports[room] {
			sink(i, least+1)
		}
	}
	for _, room := range g.rooms {
		sink(room, 0)
	}
	return layer
}

// group is the kind of a room, which gives it its colour.
func group(room string) string {
	switch first, _, _ := strings.Cut(room, "/"); first {
	case "pkg", "internal":
		return first
	}
	return "program"
}

// mermaid returns the graph as a fenced block for Mermaid.
func (g *graph) mermaid() string {
	var b strings.Builder
	b.WriteString("```mermaid\nflowchart TD\n")
	id := strings.NewReplacer("/", "_", "-", "_")
	for _, room := range g.rooms {
		fmt.Fprintf(&b, "    %s[%q]:::%s\n", id.Replace(room), room, group(room))
	}
	for _, room := range g.rooms {
		for _, i := range g.imports[room] {
			fmt.Fprintf(&b, "    %s --> %s\n", id.Replace(room), id.Replace(i))
		}
	}
	for _, c := range colours {
		fmt.Fprintf(&b, "    classDef %s fill:%s,stroke:%s,color:%s\n", c.group, c.fill, c.stroke, c.text)
	}
	b.WriteString("```\n")
	return b.String()
}
