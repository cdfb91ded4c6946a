// Package app turns settings into the one handler that the function and the command run.
package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/pkg/origin"
	"github.com/sleightproxy/sleight/pkg/proxy"
)

// Settings are what the environment of the function, or the flags of the command, say. [Table] has the variable and
// the default of each; a zero field that is not explained here means what the default there says.
type Settings struct {
	RoutesTable       string // one of RoutesTable and RoutesFile is needed
	RoutesFile        string
	RoutesTTL         time.Duration // zero means that every request is looked up
	RoutesMaxStale    time.Duration // zero means that no old route is served
	RoutesMaxHosts    int
	WarmHosts         []string // normalized
	AllowCIDRs        []netip.Prefix
	ForceHTTPS        bool
	TrustedHostHeader string
	TrustedProxies    []netip.Prefix
	LoopID            string
	ClientCertsDir    string         // empty means that no route can refer to a certificate
	Timeouts          proxy.Timeouts // negative means no bound
	MaxRequestBody    int64          // in bytes; zero means no limit
	MaxRequests       int            // zero means what the caller thinks right, if anything; negative no limit
	MaxOriginConns    int            // zero means no limit
	LogLevel          slog.Level

	// MaxIdleConns bounds the connections to origins that no request uses, and the hosts whose Target is remembered
	// if it is above the usual number. It has no variable. Zero means what suits a function, which has 1,024
	// file descriptors.
	MaxIdleConns int

	// Only the function uses these.
	Stream       bool          // responses are streamed
	FrontTimeout time.Duration // zero means what AWS documents for the front
	BasePath     string
	StripStage   bool
}

// FromEnvironment reads the settings of [Table]. getenv is os.Getenv or the like; an empty variable counts as one that
// is not set. The error is one line, and says of every wrong variable what to set.
func FromEnvironment(getenv func(string) string) (Settings, error) {
	s := Settings{RoutesTTL: origin.DefaultTTL, RoutesMaxStale: origin.DefaultMaxStale, ForceHTTPS: true}
	var wrong []string
	for _, row := range table {
		if v := getenv(row.Variable); v != "" && !row.read(&s, v) {
			wrong = append(wrong, fmt.Sprintf("%s is %q: set it to %s", row.Variable, v, row.wants))
		}
	}
	if len(wrong) > 0 {
		return Settings{}, errors.New(strings.Join(wrong, "; "))
	}
	return s, nil
}
