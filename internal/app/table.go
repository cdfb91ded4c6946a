package app

import (
	"net/netip"
	"slices"
	"time"
)

// A Setting is a row of [Table]: one setting of the proxy, as a variable of the function and as a flag of
// "sleight serve".
type Setting struct {
	Variable  string
	Flag      string // without dashes; may be empty
	Parameter string // of template.yaml; empty if the template decides by itself, or leaves the setting out
	Kind      Kind
	Values    []string // all that there are, for a Choice
	Default   string   // as people write it; may be empty
	Example   string   // a value that differs from the default
	Help      string   // what it means, in one line; the name of its value is in back quotes, as pflag wants it

	wants string                       // completes "set it to"
	read  func(*Settings, string) bool // reports whether it could read the value
}

// A Kind says what a value looks like.
type Kind int

// The kinds of values. A List is separated by commas in a variable; its flag may be repeated.
const (
	Text Kind = iota
	List
	Bool
	Choice
	File
	Directory
)

// Table returns all settings, in the order of the documents.
func Table() []Setting { return slices.Clone(table) }

// Texts of more than one row.
const (
	aDuration    = "a duration such as 10s, or 0 for no bound"
	someNetworks = "networks such as 10.0.0.0/8,192.168.1.0/24"
)

var table = []Setting{
	{Variable: "ROUTES_FILE", Flag: "routes", Kind: File, Example: "routes.json",
		Help: "JSON `file` with the routes", read: text(func(s *Settings) *string { return &s.RoutesFile })},
	{Variable: "ROUTES_TABLE", Flag: "table", Example: "routes",
		Help: "DynamoDB table with the routes, by its `name`", read: text(func(s *Settings) *string { return &s.RoutesTable })},
	{Variable: "ROUTES_TTL", Flag: "routes-ttl", Parameter: "RoutesTtl", Default: "30s", Example: "1m30s",
		Help: "`duration` that a route of the table is used before it is looked up again", wants: "a duration such as 30s",
		read: notNegative(func(s *Settings) *time.Duration { return &s.RoutesTTL })},
	{Variable: "ROUTES_MAX_STALE", Flag: "routes-max-stale", Parameter: "RoutesMaxStale", Default: "24h", Example: "0",
		Help: "longest `duration` that a known route is served while the table cannot be read; 0 means not at all", wants: "a duration such as 24h, or 0 for not at all",
		read: notNegative(func(s *Settings) *time.Duration { return &s.RoutesMaxStale })},
	{Variable: "ROUTES_MAX_HOSTS", Flag: "routes-max-hosts", Default: "10000", Example: "50000",
		Help: "the proxy caches the routes of at most `N` hosts", wants: "a number such as 10000", read: (*Settings).setRoutesMaxHosts},
	{Variable: "WARM_HOSTS", Flag: "warm-host", Parameter: "WarmHosts", Kind: List, Example: "one.spec-trust.com,two.spec-trust.com",
		Help: "`host` that is looked up and connected to at the start", wants: "hostnames such as one.example.com,two.example.com", read: (*Settings).setWarmHosts},
	{Variable: "ORIGIN_ALLOW_CIDRS", Flag: "allow-cidr", Parameter: "OriginAllowCidrs", Kind: List, Example: "10.20.0.0/16,fd12:3456:789a::/48",
		Help: "`network` that the proxy may dial although it is not public", wants: someNetworks,
		read: networks(func(s *Settings) *[]netip.Prefix { return &s.AllowCIDRs })},
	{Variable: "TRUSTED_PROXIES", Flag: "trusted-proxies", Parameter: "TrustedProxies", Kind: List, Example: "10.0.0.0/8",
		Help: "`network` of proxies in front whose X-Forwarded-* fields are believed", wants: someNetworks,
		read: networks(func(s *Settings) *[]netip.Prefix { return &s.TrustedProxies })},
	{Variable: "CDN_LOOP_ID", Flag: "loop-id", Default: "sleight", Example: "sleight-eu",
		Help: "`name` in CDN-Loop by which the proxy recognizes its own requests", wants: "a name of letters, digits, dots, hyphens and underscores", read: (*Settings).setLoopID},
	{Variable: "CLIENT_CERTS_DIR", Flag: "client-certs", Kind: Directory, Example: "/opt/client-certs",
		Help: "`directory` of the client certificates that routes refer to", read: text(func(s *Settings) *string { return &s.ClientCertsDir })},
	{Variable: "CONNECT_TIMEOUT", Flag: "connect-timeout", Default: "5s", Example: "2s",
		Help: "`duration` of connecting to one address of an origin", wants: aDuration, read: timeout(func(s *Settings) *time.Duration { return &s.Timeouts.Connect })},
	{Variable: "HANDSHAKE_TIMEOUT", Flag: "handshake-timeout", Default: "5s", Example: "2s",
		Help: "`duration` of a TLS handshake", wants: aDuration, read: timeout(func(s *Settings) *time.Duration { return &s.Timeouts.Handshake })},
	{Variable: "RESPONSE_TIMEOUT", Flag: "response-timeout", Default: "1m", Example: "20s",
		Help: "`duration` until a response begins", wants: aDuration, read: timeout(func(s *Settings) *time.Duration { return &s.Timeouts.Response })},
	{Variable: "IDLE_TIMEOUT", Flag: "idle-timeout", Default: "5m", Example: "30s",
		Help: "longest `duration` without data in a body or on a WebSocket", wants: aDuration, read: timeout(func(s *Settings) *time.Duration { return &s.Timeouts.Idle })},
	{Variable: "REQUEST_TIMEOUT", Flag: "request-timeout", Example: "10m",
		Help: "`duration` of a request as a whole", wants: aDuration, read: timeout(func(s *Settings) *time.Duration { return &s.Timeouts.Request })},
	{Variable: "MAX_REQUEST_BODY", Flag: "max-request-body", Example: "10MB",
		Help: "largest `size` of a request's body", wants: "a size such as 10MB, 512KiB or 1048576, or 0 for no limit", read: (*Settings).setMaxRequestBody},
	{Variable: "MAX_REQUESTS", Flag: "max-requests", Example: "1000",
		Help: "at most `N` requests at a time; more get a 503; 0 means no limit; the default of serve depends on its file descriptors", wants: "a number such as 1000, or 0 for no limit", read: (*Settings).setMaxRequests},
	{Variable: "MAX_CONNECTIONS_PER_ORIGIN", Flag: "max-connections-per-origin", Example: "100",
		Help: "at most `N` connections to one origin; more requests wait; 0 means no limit", wants: "a number such as 100, or 0 for no limit",
		read: number(func(s *Settings) *int { return &s.MaxOriginConns })},
	{Variable: "FORCE_HTTPS", Flag: "force-https", Parameter: "ForceHttps", Kind: Bool, Default: "true", Example: "false",
		Help: "refuse routes with http://", wants: "true or false", read: boolean(func(s *Settings) *bool { return &s.ForceHTTPS })},
	{Variable: "TRUSTED_HOST_HEADER", Flag: "trusted-host-header", Parameter: "TrustedHostHeader", Example: "X-Forwarded-Host",
		Help: "`header` in which a CDN passes the host that the client asked for", wants: "the name of a header, such as X-Forwarded-Host", read: (*Settings).setTrustedHostHeader},
	{Variable: "LOG_LEVEL", Flag: "log-level", Parameter: "LogLevel", Kind: Choice, Values: []string{"debug", "info", "warn", "error"}, Default: "info", Example: "warn",
		Help: "lowest `level` that is logged: debug, info, warn or error", wants: "debug, info, warn or error", read: func(s *Settings, v string) bool { return s.LogLevel.UnmarshalText([]byte(v)) == nil }},

	// Only the function has these.
	{Variable: "RESPONSE_MODE", Kind: Choice, Values: []string{"buffered", "stream"}, Default: "buffered", Example: "stream",
		Help: "whether responses are sent whole or as they come; it has to fit the front", wants: "buffered or stream", read: (*Settings).setResponseMode},
	{Variable: "FRONT_TIMEOUT", Example: "60s",
		Help: "timeout of the front, if AWS has raised its quota", wants: "a duration such as 60s", read: (*Settings).setFrontTimeout},
	{Variable: "BASE_PATH", Parameter: "StripBasePath", Example: "/api",
		Help: "prefix that is removed from the paths of requests, in whole segments", wants: "a path such as /api", read: (*Settings).setBasePath},
	{Variable: "STRIP_STAGE", Kind: Bool, Default: "false", Example: "true",
		Help: "remove the name of the API's stage from the beginning of paths", wants: "true or false", read: boolean(func(s *Settings) *bool { return &s.StripStage })},
}
