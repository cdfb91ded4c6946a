package app

import (
	"log"
	"log/slog"
	"regexp"
	"strings"
)

// LogLibraries sends what libraries write to std to logger, each line at level WARN and without the strings that
// it quotes. In a program, std is Go's standard logger. net/http's client for example quotes there what an
// origin sends behind its answer, which may be a customer's data. The prefix and the flags of std are
// cleared. It is safe for concurrent use.
func LogLibraries(std *log.Logger, logger *slog.Logger) {
	std.SetFlags(0)
	std.SetPrefix("")
	std.SetOutput(libraryLog{logger})
}

// LibraryLog returns a logger that does the same, for a library that takes one, such as the ErrorLog of an
// http.Server.
func LibraryLog(logger *slog.Logger) *log.Logger { return log.New(libraryLog{logger}, "", 0) }

// libraryLog is the output of a log.Logger, which calls Write once for each line.
type libraryLog struct{ logger *slog.Logger }

// quoted is a string as %q writes it. If its end is missing, it is the rest of the text.
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
