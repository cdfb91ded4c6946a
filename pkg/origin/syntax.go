package origin

import "bytes"

// SyntaxFault checks whether a document is one value of JSON (RFC 8259). It returns the offset of the first byte that JSON does
// not allow there, the length of the document if it is cut off, or -1 if it is valid. The offset of
// encoding/json's SyntaxError differs between releases of Go, for instance beside a character of several bytes.
func SyntaxFault(document []byte) int {
	s := syntax{b: document}
	if !s.value() {
		return s.at
	}
	if s.space(); s.at < len(s.b) {
		return s.at
	}
	return -1
}

// syntax reads JSON. Its methods return false if there is a fault, at the offset at.
type syntax struct {
	b         []byte
	at, depth int
}

// maxDepth is encoding/json's.
const maxDepth = 10_000

func (s *syntax) space() {
	for s.in(" \t\r\n") {
		s.at++
	}
}

// in reports whether the next byte is in some.
func (s *syntax) in(some string) bool {
	return s.at < len(s.b) && bytes.IndexByte([]byte(some), s.b[s.at]) >= 0
}

// one reads a byte if it is in some, and reports whether it did.
func (s *syntax) one(some string) bool {
	if !s.in(some) {
		return false
	}
	s.at++
	return true
}

func (s *syntax) value() bool {
	s.space()
	switch {
	case s.in("{"):
		return s.list('}', s.member)
	case s.in("["):
		return s.list(']', s.value)
	case s.in(`"`):
		return s.string()
	case s.in("t"):
		return s.word("true")
	case s.in("f"):
		return s.word("false")
	case s.in("n"):
		return s.word("null")
	}
	return s.number()
}

// list reads an object or an array.
func (s *syntax) list(end byte, element func() bool) bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	s.at++
	if s.space(); s.one(string(end)) {
		s.depth--
		return true
	}
	for {
		if !element() {
			return false
		}
		if s.space(); s.one(string(end)) {
			s.depth--
			return true
		}
		if !s.one(",") {
			return false
		}
	}
}

func (s *syntax) member() bool {
	s.space()
	if !s.string() {
		return false
	}
	s.space()
	return s.one(":") && s.value()
}

func (s *syntax) word(word string) bool {
	for i := range len(word) {
		if !s.one(word[i : i+1]) {
			return false
		}
	}
	return true
}

func (s *syntax) string() bool {
	if !s.one(`"`) {
		return false
	}
	for s.at < len(s.b) && s.b[s.at] >= ' ' {
		s.at++
		switch s.b[s.at-1] {
		case '"':
			return true
		case '\\':
			if s.one("u") {
				for range 4 {
					if !s.one("0123456789abcdefABCDEF") {
						return false
					}
				}
			} else if !s.one(`"\/bfnrt`) {
				return false
			}
		}
	}
	return false
}

func (s *syntax) number() bool {
	s.one("-")
	if !s.one("0") && !s.digits() {
		return false
	}
	if s.one(".") && !s.digits() {
		return false
	}
	if s.one("eE") {
		s.one("+-")
		return s.digits()
	}
	return true
}

// digits reads one or more digits.
func (s *syntax) digits() bool {
	begin := s.at
	for s.one("0123456789") {
	}
	return s.at > begin
}
