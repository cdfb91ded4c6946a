package main

import (
	"regexp"
	"slices"
	"strings"
)

// pattern is a construction that makes a text hard to read. The word or words of its match are in group 1, if it has one.
type pattern struct {
	name string
	// in finds the construction in a sentence. Go's regexp cannot look around, so the fields below narrow it.
	in *regexp.Regexp
	// first says that the construction begins the sentence. Then it is not looked for in a title or a question.
	first bool
	// unless are words that make it plain English if they stand before it.
	unless []string
	// unlike matches the text from the construction on if it is plain English.
	unlike *regexp.Regexp
	// after are the words that may stand before the match, besides a sentence's start. If after is nil, any word may.
	after []string
}

var (
	// knowing are verbs whose object may begin with "where", and nouns and verbs of place.
	knowing = strings.Fields(`is are was were be see say says said show shows know knows known find finds found decide decides from to of
		place places point points file line spot room column position tell tells remember remembers ask asks and or about
		race races case cases situation situations example examples`)
	// qualified are words that make "one" stand for a noun.
	qualified = strings.Fields(`which that what if as than how when whom so for whose because why then unless until whether`)
)

// patterns are the constructions that the rule of CONTRIBUTING.md forbids, as far as a program can see them.
var patterns = []pattern{
	{name: "of which: say whose, or make a second sentence", in: words(
		`(?:of|by|for|in|to|with|on|from|under|beside|without|against|at|after|before|behind|through|than|into|over|between|among) (?:which|whom)`),
		unlike: regexp.MustCompile(`(?i)^in which case`)},
	{name: "begins with Of, By, Nor, Without or As of: begin with the subject", first: true, in: regexp.MustCompile(`^(Of|By|Nor|Without|As of) `),
		unlike: regexp.MustCompile(`^(?:Of course|By default)\b`)},
	{name: "begins with What or Who: begin with the subject", first: true, in: regexp.MustCompile(`^(What|Who|Whom|Whoever|Whatever|Whichever) `)},
	{name: "what or who after a colon: begin with the subject", in: regexp.MustCompile(
		`[:;] (what|who|whom|whoever|whatever|whichever|nor) `)},
	{name: "be it, but for, but that: say whether, except, although", in: words(`be (?:it|they)|but (?:for|that)|save for|all but`),
		unlike: regexp.MustCompile(`(?i)^but (?:that['’]|that (?:is|was|does|did|would|can|may|will|must|has)\b|for now\b)`)},
	{name: "of before, of ours: say earlier, our", in: words(`of (?:before|ours|theirs|hers|late|old)`)},
	{name: "is none: say is no, has no", in: words(`(?:is|are|was|were|has|have|had) none`)},
	{name: "has not: name what it lacks", in: regexp.MustCompile(`(?i)\b((?:has|have|had) not)(?:[.,;:)]|$| (?:and|or|but|is|are|was)\b)`)},
	{name: "comes about: say happens, is made, reaches", in: words(`(?:come|comes|came|coming) (?:about|of)`)},
	{name: "comes to: say reaches, becomes", in: regexp.MustCompile(`(?i)\b((?:comes|came|come) to (?:[^t\s]\S*|t[^h]\S*))`)},
	{name: "where for a condition: say if", in: words(`where (?:it|they|there|that|those|the|this|these|a|an|one|no|nobody|somebody|nothing|any|all|both|neither)`),
		unless: knowing},
	{name: "one for a person: name the subject", in: words(`one (?:can|cannot|could|may|might|must|should|would|will|has to|had to|knows|sees|wants|needs|reads|asks|gets|does not)`),
		after: qualified},
	{name: "inverted: put the subject before the verb", first: true, in: regexp.MustCompile(
		`^((?:So|Neither|Never|Nothing|Only then|Such|Rarely|Not only|Nowhere) (?:is|are|was|were|does|do|did|has|have|had|can|may|must|will) (?:it|they|the|a|an|this|that|these|those|its|one|there|each)) `)},
	{name: "inverted condition: say if", first: true, in: regexp.MustCompile(`^((?:Were|Had|Should) (?:it|they|the|a|an|one|this|that|there|these|those)) `)},
	{name: "such as do: say those that", in: words(`such as (?:is|are|was|were|do|does|did|has|have|had|can|may|must|will|come|comes|go|goes)`)},
	{name: "old word: use a plain one", in: words(
		`thereof|therein|thereby|thereupon|therewith|thereto|wherein|whereby|whereof|whereupon|wherewith|hereby|herein|whence|whither|thence|hence|lest|albeit|withal|nigh|naught|nought|amongst|whilst|in vain|in its stead|in their stead|for want of`)},
	{name: "metaphor: use the term of Go or HTTP", in: words(`lands?|landed|landing|takes? off|taken off|took off|taking off`)},
}

// words makes a pattern of alternatives that are whole words, whatever their case.
func words(alternatives string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(` + alternatives + `)\b`)
}

// sentence is a part of a passage's text.
type sentence struct {
	text     string
	offset   int
	question bool
}

// boundary ends a sentence. The next one begins with a capital, a digit or a mark of code.
var boundary = regexp.MustCompile(`[.!?]["')\]]* `)

// abbreviations end with a full stop that ends no sentence.
var abbreviations = regexp.MustCompile(`(?:^|[\s(])(?:e\.g|i\.e|etc|cf|vs|approx|No)\. $`)

func sentences(text string) []sentence {
	var all []sentence
	start := 0
	for _, m := range boundary.FindAllStringIndex(text, -1) {
		if abbreviations.MatchString(text[start:m[1]]) {
			continue
		}
		all = append(all, sentence{text[start : m[1]-1], start, strings.Contains(text[m[0]:m[1]], "?")})
		start = m[1]
	}
	if start < len(text) {
		all = append(all, sentence{text[start:], start, strings.HasSuffix(text, "?")})
	}
	return all
}

// find returns the constructions in a passage, without the name of the file.
func (p passage) find() []hit {
	var hits []hit
	text := p.text()
	for _, s := range sentences(text) {
		for _, c := range patterns {
			if c.first && (p.title || s.question) {
				continue
			}
			for _, m := range c.in.FindAllStringSubmatchIndex(s.text, -1) {
				if !c.stands(s.text[:m[2]], s.text[m[2]:]) {
					continue
				}
				i := p.at(s.offset + m[2])
				hits = append(hits, hit{line: p.words[i].line, pattern: c.name, excerpt: p.excerpt(i)})
			}
		}
	}
	return hits
}

// stands reports whether a match counts with what its sentence has before it and from it on.
func (c pattern) stands(before, from string) bool {
	if c.unlike != nil && c.unlike.MatchString(from) {
		return false
	}
	fields := strings.Fields(strings.ToLower(before))
	previous := ""
	if len(fields) > 0 {
		previous = fields[len(fields)-1]
	}
	if slices.Contains(c.unless, previous) {
		return false
	}
	return c.after == nil || previous == "" && from[0] < 'a' || slices.Contains(c.after, strings.TrimRight(previous, ",;:"))
}

// excerpt returns the words around word i.
func (p passage) excerpt(i int) string {
	from, to := max(0, i-6), min(len(p.words), i+12)
	around := passage{words: p.words[from:to]}
	text := around.text()
	if from > 0 {
		text = "... " + text
	}
	if to < len(p.words) {
		text += " ..."
	}
	return text
}
