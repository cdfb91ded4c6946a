package origin

import "slices"

// An Attribute is a row of [Attributes]: one attribute of a route. The decoder, the flags of tools and the documents are
// made from the rows or compared with them, so that a new attribute is one row and one decoder.
type Attribute struct {
	Name    string
	Kind    Kind
	Default string   // what applies if a route lacks the attribute; empty if it is required, or has no default
	Example string   // a value, in JSON
	Values  []string // all texts that are allowed, with commas between the elements of a List; nil if others are too
	Help    string   // what it means, in one line; the name of its value is in back quotes, for flags

	// TLS is set if the attribute has no effect on an http:// origin. Such a route is invalid.
	TLS bool

	// Level is 0 if all versions of the proxy know the attribute. See [LevelOf].
	Level int

	// Audit is set if tools write the attribute beside the route, to say who changed it, when and how often.
	Audit bool

	decode func(*Route, any) error
}

// A Kind is the type of an attribute's value.
type Kind string

// The kinds, named as DynamoDB names its types. Seconds and Duration say what a number and a string hold.
const (
	String    Kind = "S"
	Duration  Kind = "S, a duration"
	Bool      Kind = "BOOL"
	Number    Kind = "N"
	Seconds   Kind = "N, seconds since 1970"
	Set       Kind = "SS"
	List      Kind = "L of S"
	OneOrList Kind = "S, or L of S"
)

// Attributes returns all attributes of a route. Tools write them in this order.
func Attributes() []Attribute { return slices.Clone(attributes) }

// AttributeNames returns the names of [Attributes].
func AttributeNames() []string { return slices.Clone(attributeOrder) }

// LevelOf returns the level that a table needs before its routes may have the attribute. It is 0 for an attribute that all versions
// of the proxy know, and for unknown names. A version that adds attributes gives them the next level. A proxy answers a host
// with an error if it does not know an attribute of its route, so that tools write the attribute only after the table's level
// says that all proxies know it. See docs/decisions/0017-levels.md.
func LevelOf(attribute string) int {
	if row, ok := attributeOf(attribute); ok {
		return row.Level
	}
	return 0
}

// Level returns the highest level of all attributes: that of this version.
func Level() int {
	level := 0
	for _, row := range attributes {
		level = max(level, row.Level)
	}
	return level
}

// attributes are grouped: the origin, limits and timeouts, when the route is in force, and what is for tools and people.
var attributes = []Attribute{
	{Name: "host", Kind: String, Example: `"one.spec-trust.com"`, decode: decodeHost,
		Help: "`name` that clients ask for, as A-labels in lower case; *.x.com covers one label"},
	{Name: "origin", Kind: OneOrList, Example: `["a.lb.aws.amazon.com", "b.lb.aws.amazon.com:8443"]`, decode: decodeOrigin,
		Help: "`address` to connect to: host, host:port or https://host:port; a list is tried in order"},
	{Name: "server_name", Kind: String, Default: "the client's host", Example: `"shop.example"`, TLS: true, decode: decodeServerName,
		Help: "`name` to send as SNI and to verify, if it is not the host"},
	{Name: "host_header", Kind: String, Default: "the client's Host", Example: `"shop.internal.example:8443"`, decode: decodeHostHeader,
		Help: "`name` to send as Host, if it is not the client's"},
	{Name: "ca_pem", Kind: String, Default: "the system's roots", Example: `"-----BEGIN CERTIFICATE-----\n..."`, TLS: true, decode: decodeCAPEM,
		Help: "certificates in PEM, the `text` itself: the roots to trust for this route, and only these"},
	{Name: "spki_pins", Kind: Set, Example: `["HXXQgxueCIU5TTLHob/bPbwcKOKw6DkfsTWYHbxbqTY="]`, TLS: true, decode: decodeSPKIPins,
		Help: "`HASH`, the base64 of the SHA-256 of a public key; the verified chain must have at least one of these keys"},
	{Name: "client_cert", Kind: String, Example: `"shop"`, TLS: true, decode: decodeClientCert,
		Help: "`name` of the client certificate for an origin that asks for one"},
	{Name: "tls_min", Kind: String, Default: "1.2", Example: `"1.3"`, Values: []string{"1.2", "1.3"}, TLS: true, decode: decodeTLSMin,
		Help: "lowest TLS `version`: 1.2 or 1.3"},
	{Name: "protocols", Kind: List, Default: `["http/1.1"]`, Example: `["h2", "http/1.1"]`, Values: []string{"http/1.1", "h2,http/1.1", "h2", "http/1.1,h2"}, TLS: true, decode: decodeProtocols,
		Help: "`list` of the protocols to offer the origin, from h2 and http/1.1, the preferred first"},
	{Name: "max_connections", Kind: Number, Default: "no bound of its own", Example: `50`, decode: decodeMaxConnections,
		Help: "at most `N` connections of one process to the origin; requests beyond them wait"},
	{Name: "rewrite", Kind: Bool, Default: "true if host_header differs from the host", Example: `true`, decode: decodeRewrite,
		Help: "whether the origin's names in its responses become the client's"},
	{Name: "connect_timeout", Kind: Duration, Default: "CONNECT_TIMEOUT", Example: `"2s"`, decode: decodeConnectTimeout,
		Help: "`duration` of connecting to one address, DNS included"},
	{Name: "handshake_timeout", Kind: Duration, Default: "HANDSHAKE_TIMEOUT", Example: `"2s"`, TLS: true, decode: decodeHandshakeTimeout,
		Help: "`duration` of a TLS handshake"},
	{Name: "response_timeout", Kind: Duration, Default: "RESPONSE_TIMEOUT", Example: `"20s"`, decode: decodeResponseTimeout,
		Help: "`duration` until a response begins"},
	{Name: "idle_timeout", Kind: Duration, Default: "IDLE_TIMEOUT", Example: `"1m30s"`, decode: decodeIdleTimeout,
		Help: "longest `duration` without data in a body or on a WebSocket"},
	{Name: "request_timeout", Kind: Duration, Default: "REQUEST_TIMEOUT", Example: `"10m"`, decode: decodeRequestTimeout,
		Help: "`duration` of a request as a whole"},
	{Name: "enabled", Kind: Bool, Default: "true", Example: `false`, decode: decodeEnabled,
		Help: "whether the route is in force; if false, the proxy answers as if there were no route, even if a wildcard covers the host"},
	{Name: "expires_at", Kind: Seconds, Default: "never", Example: `1893456000`, decode: decodeExpiresAt,
		Help: "`time` when the route expires"},
	{Name: "note", Kind: String, Example: `"ticket 4711"`, decode: decodeNote,
		Help: "`text` for people"},
	{Name: VersionAttribute, Kind: Number, Example: `3`, Audit: true, decode: decodeVersion,
		Help: "number that each edit by a tool raises by one"},
	{Name: UpdatedAtAttribute, Kind: String, Example: `"2026-01-31T12:00:00Z"`, Audit: true, decode: decodeUpdatedAt,
		Help: "when a tool wrote the route last"},
	{Name: UpdatedByAttribute, Kind: String, Example: `"ann@build-7"`, Audit: true, decode: decodeUpdatedBy,
		Help: "who wrote the route last"},
}

var attributeOrder = func() (names []string) {
	for _, row := range attributes {
		names = append(names, row.Name)
	}
	return names
}()

// attributeOf returns the row of an attribute, and false if no attribute has that name.
func attributeOf(name string) (*Attribute, bool) {
	for i := range attributes {
		if attributes[i].Name == name {
			return &attributes[i], true
		}
	}
	return nil, false
}
