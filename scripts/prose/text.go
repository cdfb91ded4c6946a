package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
)

// word is a word of a passage and the line of the file where it stands.
type word struct {
	text string
	line int
}

// passage is a run of sentences: a paragraph, an item of a list, or a cell of a table. Line breaks do not divide it.
type passage struct {
	words []word
	// title says that the passage is no sentence, such as a heading. "What it does" is a good one.
	title bool
}

func (p *passage) add(text string, line int) {
	for _, w := range strings.Fields(text) {
		p.words = append(p.words, word{w, line})
	}
}

// text is the words with one blank between them.
func (p *passage) text() string {
	var b strings.Builder
	for i, w := range p.words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return b.String()
}

// at returns the index of the word that holds the byte at offset of text.
func (p *passage) at(offset int) int {
	for i, w := range p.words {
		if offset -= len(w.text) + 1; offset < 0 {
			return i
		}
	}
	return len(p.words) - 1
}

// passages collects the passages of one text.
type passages struct {
	all  []passage
	open passage
}

// end ends the open passage, if it has words.
func (p *passages) end() {
	if len(p.open.words) > 0 {
		p.all = append(p.all, p.open)
	}
	p.open = passage{}
}

var (
	generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
	// directive is what go/doc leaves out of documentation: //go:build, //line, //export and the like.
	directive = regexp.MustCompile(`^//(line |extern |export |[a-z0-9]+:[a-z0-9])`)
	// output begins what an example prints.
	output = regexp.MustCompile(`(?i)^//\s*(unordered )?output:`)
	item   = regexp.MustCompile(`^(\s*)([-*+•]|\d+[.)])\s+`)
)

// comments returns the passages of a Go file's comments, without directives, code blocks and the output of examples. It
// returns nil for a generated file.
func comments(src []byte) ([]passage, error) {
	if generated.Match(src) {
		return nil, nil
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var p passages
	for _, group := range file.Comments {
		if output.MatchString(group.List[0].Text) {
			continue
		}
		inList := false
		for _, c := range group.List {
			if directive.MatchString(c.Text) {
				continue
			}
			first := set.Position(c.Pos()).Line
			for i, line := range commentLines(c) {
				inList = p.commentLine(line, first+i, inList)
			}
		}
		p.end()
	}
	return p.all, nil
}

// commentLines returns the lines of a comment without its markers.
func commentLines(c *ast.Comment) []string {
	if line, ok := strings.CutPrefix(c.Text, "//"); ok {
		return []string{strings.TrimPrefix(line, " ")}
	}
	lines := strings.Split(strings.TrimSuffix(strings.TrimPrefix(c.Text, "/*"), "*/"), "\n")
	lines[0] = strings.TrimPrefix(lines[0], " ")
	return lines
}

// commentLine adds a line of a comment, and reports whether an item of a list is open after it. As in go/doc/comment, an indented
// line is code unless it is of a list.
func (p *passages) commentLine(line string, number int, inList bool) bool {
	indented := strings.HasPrefix(line, "\t") || strings.HasPrefix(line, " ")
	switch {
	case strings.TrimSpace(line) == "":
		p.end()
		return inList
	case indented && item.MatchString(line):
		p.end()
		p.open.add(item.ReplaceAllString(line, ""), number)
		return true
	case indented && !inList:
		p.end()
		return false
	case !indented && inList:
		p.end()
	case strings.HasPrefix(line, "# "):
		p.end()
		p.open.title = true
		p.open.add(line[2:], number)
		p.end()
		return false
	}
	p.open.add(line, number)
	return indented
}

var (
	fence     = regexp.MustCompile("^\\s*(```+|~~~+)")
	heading   = regexp.MustCompile(`^#{1,6}\s+`)
	label     = regexp.MustCompile(`^\s*\*\*([^*]+:)\*\*(.*)`)
	rule      = regexp.MustCompile(`^\s*\|?[\s:|-]*-{3}[\s:|-]*$`)
	reference = regexp.MustCompile(`^\s*\[[^]]+\]:\s`)
	remark    = regexp.MustCompile(`(?s)<!--.*?-->`)
	span      = regexp.MustCompile("``[^`].*?``|`[^`]*`")
	link      = regexp.MustCompile(`!?\[([^]]*)\]\([^)]*\)`)
	tag       = regexp.MustCompile(`</?[A-Za-z][^>]*>`)
	emphasis  = regexp.MustCompile(`\*+|(^|\W)_+|_+(\W|$)`)
)

// codeWord stands for a code span, so that the sentence around it stays a sentence.
const codeWord = "CODE"

// markdown returns the passages of a Markdown text. Code blocks, comments and the targets of links are left out, and a code span is
// one word.
func markdown(src string) []passage {
	src = remark.ReplaceAllStringFunc(src, func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) })
	var p passages
	lines := strings.Split(src, "\n")
	fenced := ""
	inList, blank := false, true
	for i, line := range lines {
		number, wasBlank := i+1, blank
		blank = strings.TrimSpace(line) == ""
		indented := strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t")
		switch m := fence.FindStringSubmatch(line); {
		case fenced != "":
			if m != nil && strings.HasPrefix(m[1], fenced) {
				fenced = ""
			}
		case m != nil:
			p.end()
			fenced = m[1]
		case blank || rule.MatchString(line) || reference.MatchString(line):
			p.end()
		case wasBlank && indented && !inList:
			p.end()
			blank = true // for the next line of the block
		case heading.MatchString(line):
			p.end()
			inList = false
			p.open.title = true
			p.open.add(plain(heading.ReplaceAllString(line, "")), number)
			p.end()
		case strings.HasPrefix(strings.TrimSpace(line), "|"):
			p.end()
			title := i+1 < len(lines) && rule.MatchString(lines[i+1])
			for cell := range strings.SplitSeq(strings.ReplaceAll(plain(line), `\|`, "/"), "|") {
				p.open.title = title
				p.open.add(cell, number)
				p.end()
			}
		case item.MatchString(line):
			p.end()
			inList = true
			p.markdownLine(item.ReplaceAllString(line, ""), number)
		default:
			if wasBlank && !strings.HasPrefix(line, " ") {
				inList = false
			}
			p.markdownLine(line, number)
		}
	}
	p.end()
	return p.all
}

// markdownLine adds a line of sentences. Bold words that begin a passage and end in a colon are a title.
func (p *passages) markdownLine(line string, number int) {
	if m := label.FindStringSubmatch(line); m != nil && len(p.open.words) == 0 {
		p.open.title = true
		p.open.add(plain(m[1]), number)
		p.end()
		line = m[2]
	}
	p.open.add(plain(line), number)
}

// plain takes the marks of Markdown out of a line.
func plain(line string) string {
	line = span.ReplaceAllString(line, codeWord)
	line = link.ReplaceAllString(line, "$1")
	line = tag.ReplaceAllString(line, "")
	line = strings.TrimLeft(line, "> ")
	return emphasis.ReplaceAllString(line, "$1$2")
}
