package app

import (
	"log"
	"log/slog"
	"regexp"
	"strings"
)

// LogLibraries has what libraries write to std, Go's standard logger in a program, come to logger: a line at
// level WARN each, without what they quote. net/http's client for one writes there what an origin sends
// behind its answer, which may be anybody's data. It is safe for concurrent use; std keeps no prefix and
// no flags.
func LogLibraries(std *log.Logger, logger *slog.Logger) {
	std.SetFlags(0)
	std.SetPrefix("")
	std.SetOutput(libraryLog{logger})
}

// LibraryLog returns a logger for what a library lets be set apart, such as the ErrorLog of an http.Server.
// Its lines come to logger as those of [LogLibraries] do.
func LibraryLog(logger *slog.Logger) *log.Logger { return log.New(libraryLog{logger}, "", 0) }

// libraryLog is the output of a log.Logger, which calls Write once for each line.
type libraryLog struct{ logger *slog.Logger }

// quoted is a string as %q writes it, or the rest of a text where that does not end.
var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*(?:\"|\\\\?$)|`[^`]*(?:`|$)")

func (l libraryLog) Write(p []byte) (int, error) {
	const most = 8 << 10 // which a panic with its stack may take
	text := quoted.ReplaceAllString(strings.TrimSpace(string(p)), "(left out)")
	if len(text) > most {
		text = text[:most] + "..."
	}
	l.logger.Warn("said by a library", slog.String("said", text))
	return len(p), nil
}
