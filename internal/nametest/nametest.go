// Package nametest has names that all parts of the proxy must read in the same way: package hostname, the key of a route, the Host
// of a request, and the host of a URL.
package nametest

import "strings"

// Name is a name as somebody writes it, with the result of reading it.
type Name struct {
	In     string
	Want   string // what hostname.Normalize returns; empty if it returns an error
	Reason string // a part of the error; empty if there is no error
	IP     bool   // In is an IP address, with or without port: it is well-formed, and is not a name
}

// Port reports whether In has a port, or a colon without one.
func (n Name) Port() bool { return strings.Contains(n.In, ":") }

// Names returns all names.
func Names() []Name {
	const (
		empty    = "has an empty label"
		ip       = "an IP address"
		notALike = "looks like an A-label and does not decode"
		invalid  = "is not an internationalized name"
		bidi     = "the bidi rule"
		hyphen   = "no hyphen at its ends"
		long     = "longer than 253 bytes"
	)
	var (
		label63 = strings.Repeat("a", 63)
		name253 = strings.Repeat("a.", 126) + "a"
		// The A-label of the first name has 63 bytes.
		ue63 = strings.Repeat("a", 55) + "ü"
		ue64 = strings.Repeat("a", 56) + "ü"
	)
	return []Name{
		// ASCII.
		{In: "one.spec-trust.com", Want: "one.spec-trust.com"},
		{In: "ONE.Spec-Trust.COM", Want: "one.spec-trust.com"},
		{In: "one.spec-trust.com.", Want: "one.spec-trust.com"},
		{In: "one.spec-trust.com:443", Want: "one.spec-trust.com"},
		{In: "one.spec-trust.com.:443", Want: "one.spec-trust.com"},
		{In: "one.spec-trust.com:", Want: "one.spec-trust.com"},
		{In: "_dmarc.spec_trust.com", Want: "_dmarc.spec_trust.com"},
		{In: "localhost", Want: "localhost"},
		{In: "1.example", Want: "1.example"},
		{In: "r3---sn-x.googlevideo.com", Want: "r3---sn-x.googlevideo.com"},
		{In: "ab--cd.example", Want: "ab--cd.example"},
		{In: "xn-.example", Reason: "starts or ends with a hyphen"},
		{In: "axn--.example", Reason: "starts or ends with a hyphen"},
		{In: "axn--b.example", Want: "axn--b.example"},
		{In: label63 + ".com", Want: label63 + ".com"},
		{In: name253, Want: name253},
		{In: name253 + ".", Want: name253},
		{In: name253 + ".:65535", Want: name253},

		{In: "", Reason: "empty"},
		{In: ".", Reason: "empty"},
		{In: ":443", Reason: "empty"},
		{In: "a..b", Reason: empty},
		{In: ".a.b", Reason: empty},
		{In: "a.b..", Reason: empty},
		{In: "-a.b", Reason: "hyphen"},
		{In: "a-.b", Reason: "hyphen"},
		{In: "a b.com", Reason: "character ' '"},
		{In: " a.com", Reason: "character ' '"},
		{In: "a.com\r\nX: y", Reason: "the port is not a number"},
		{In: "a.com\x00", Reason: `character '\x00'`},
		{In: "a.com\x7f", Reason: `character '\x7f'`},
		{In: "a.com/path", Reason: "character '/'"},
		{In: "user@a.com", Reason: "character '@'"},
		{In: "a.com:8x", Reason: "port"},
		{In: "a.com:123456", Reason: "port"},
		{In: "a.com:0", Reason: "port"},
		{In: "a.com:00000", Reason: "port"},
		{In: "a.com:65536", Reason: "port"},
		{In: "a.com:-1", Reason: "port"},
		{In: "a%2ecom", Reason: "character '%'"},
		{In: "*.a.com", Reason: "character '*'"},
		{In: label63 + "a.com", Reason: "longer than 63 bytes"},
		{In: "a." + name253, Reason: long},
		{In: strings.Repeat("a", 300), Reason: long},
		{In: strings.Repeat("a", 1<<20), Reason: long},

		// IP addresses, and names that resolvers take for one.
		{In: "127.0.0.1", Reason: ip, IP: true},
		{In: "127.0.0.1:443", Reason: ip, IP: true},
		{In: "[::1]:443", Reason: ip, IP: true},
		{In: "[::1]", Reason: ip, IP: true},
		{In: "::1", Reason: ip},
		{In: "127.0.0.1.", Reason: ip},
		{In: "127.1", Reason: ip},
		{In: "2130706433", Reason: ip},
		{In: "0177.0.0.1", Reason: ip},
		{In: "0x7f000001", Reason: ip},
		{In: "0X7F.1", Reason: ip},
		{In: "a.0x7f", Reason: ip},
		{In: "a.0x", Reason: ip},
		{In: "127。0。0。1", Reason: ip},
		{In: "１２７.０.０.１", Reason: ip},
		{In: "①②⑦.①", Reason: ip},
		{In: "０ｘ７ｆ０００００１", Reason: ip},
		{In: "127.0.0.\u00ad1", Reason: ip},

		// Unicode that is mapped.
		{In: "bücher.example", Want: "xn--bcher-kva.example"},
		{In: "BÜCHER.Example.:443", Want: "xn--bcher-kva.example"},
		{In: "bu\u0308cher.example", Want: "xn--bcher-kva.example"},      // u and a diaeresis
		{In: "bücher。example．test｡", Want: "xn--bcher-kva.example.test"}, // U+3002, U+FF0E, U+FF61
		{In: "ｂÜｃｈｅｒ.example", Want: "xn--bcher-kva.example"},
		{In: "ｅｘａｍｐｌｅ.test", Want: "example.test"},
		{In: "exa\u00admple.test", Want: "example.test"}, // soft hyphen
		{In: "exa\u200bmple.test", Want: "example.test"}, // zero-width space
		{In: "exa\ufe0fmple.test", Want: "example.test"}, // variation selector
		{In: "\u212aelvin.test", Want: "kelvin.test"},    // KELVIN SIGN, in lower case an ASCII k
		{In: "me\u017f\u017fe.test", Want: "messe.test"}, // long s
		{In: "oﬃce.test", Want: "office.test"},           // a ligature
		{In: "ﬀ.test", Want: "ff.test"},
		{In: "a.\u0130test", Want: "a.xn--itest-7fd"},
		{In: "straße.example", Want: "xn--strae-oqa.example"},
		{In: "βόλος.example", Want: "xn--nxasmm1c.example"}, // with a final sigma
		{In: "ΒΌΛΟΣ.example", Want: "xn--nxasmq6b.example"},
		{In: "i❤.ws", Want: "xn--i-7iq.ws"},
		{In: "i❤\ufe0f.ws", Want: "xn--i-7iq.ws"},
		{In: "\u0915\u094d\u200d\u0937.example", Want: "xn--11b2ezcw70k.example"}, // a joiner that is needed
		{In: "аррӏе.example", Want: "xn--80ak6aa92e.example"},                     // looks like apple
		{In: "例え.テスト", Want: "xn--r8jz45g.xn--zckzah"},
		{In: "a--ü.example", Want: "xn--a---joa.example"},
		{In: "_ü.example", Want: "xn--_-eha.example"},
		{In: "שלום.example", Want: "xn--9dbne9b.example"},
		{In: "ｘｎ--bcher-kva.example", Want: "xn--bcher-kva.example"},
		{In: ue63 + ".example", Want: "xn--" + strings.Repeat("a", 55) + "-8yf.example"},
		{In: strings.Repeat(strings.Repeat("あ", 50)+".", 4) + "test", Want: strings.Repeat("xn--l8j"+strings.Repeat("a", 49)+".", 4) + "test"},
		{In: "bücher.example:", Want: "xn--bcher-kva.example"},

		// Unicode that is refused.
		{In: "STRAẞE.example", Reason: "the letter ẞ"},
		{In: "a\xff.test", Reason: "UTF-8"},
		{In: "\xe2\x82.test", Reason: "UTF-8"},
		{In: "\ufffd.test", Reason: invalid},
		{In: "\u0378.test", Reason: invalid}, // not assigned
		{In: "a\u2024b.test", Reason: invalid},
		{In: "a\u202eb.test", Reason: invalid}, // right-to-left override
		{In: "\u0300a.test", Reason: invalid},  // begins with a combining mark
		{In: "a\u200db.test", Reason: "zero-width joiner"},
		{In: "a\u200cb.test", Reason: "zero-width joiner"},
		{In: "℀.test", Reason: "character '/'"},
		{In: "a：443", Reason: "character ':'"},
		{In: "a.test:４４３", Reason: "port"},
		{In: "a\u00a0b.test", Reason: "character ' '"},
		{In: "a＠b.test", Reason: "character '@'"},
		{In: "a％2eb.test", Reason: "character '%'"},
		{In: "a／ü.test", Reason: "character '/'"},
		{In: "［::1］", Reason: ip},
		{In: "＊.a.test", Reason: "character '*'"},
		{In: "\u00ad", Reason: "empty"},
		{In: "\u00ad.test", Reason: empty},
		{In: "ü..test", Reason: empty},
		{In: "ü.test。.", Reason: empty},
		{In: "。ü.test", Reason: empty},
		{In: "-ü.test", Reason: hyphen},
		{In: "ü-.test", Reason: hyphen},
		{In: "xn--ü.test", Reason: invalid},
		{In: "1.שלום", Reason: bidi},
		{In: "0שלום.test", Reason: bidi},
		{In: "aשלום.test", Reason: bidi},
		{In: ue64 + ".example", Reason: "longer than 63 bytes"},
		{In: strings.Repeat("ü.", 40) + "test", Reason: long}, // 84 letters
		{In: strings.Repeat("\u00ad", 2000) + "a.test", Reason: long},

		// A-labels.
		{In: "xn--bcher-kva.example", Want: "xn--bcher-kva.example"},
		{In: "XN--BCHER-KVA.example", Want: "xn--bcher-kva.example"},
		{In: "xn--strae-oqa.example", Want: "xn--strae-oqa.example"},
		{In: "xn--11b2ezcw70k.example", Want: "xn--11b2ezcw70k.example"},
		{In: "*.xn--bcher-kva.example", Reason: "character '*'"},
		{In: "xn--.example", Reason: "hyphen"},
		{In: "xn--a.example", Reason: invalid},
		{In: "xn--abc-.example", Reason: "hyphen"},
		{In: "xn--99999999.example", Reason: notALike},
		{In: "xn--0.example", Reason: notALike},
		{In: "xn--b_cher-!.example", Reason: "character '!'"},
		{In: "xn--bcher-kvb.example", Reason: `is written as "bcljher"`},
		{In: "xn--bcher-2pa.example", Reason: `is written as "xn--bcher-kva"`}, // Ü
		{In: "xn--ab-6da03a.example", Reason: `is written as "xn--ab-yka"`},    // soft hyphen, ü
		{In: "xn--kkg.example", Reason: "and that is written as"},              // ẞ
		{In: "xn----eha.test", Reason: hyphen},
		{In: "xn----dha.test", Reason: hyphen},
		{In: "xn--xn---epa.test", Reason: "does not begin with xn--"},
		{In: "xn--a-ubb.test", Reason: invalid},
		{In: "xn--ab-m1t.test", Reason: "zero-width joiner"},
		{In: "1.xn--9dbne9b", Reason: bidi},
		{In: "xn--0-bicuf1d.test", Reason: bidi},
	}
}
