package app

import (
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"regexp"
	"strings"
)

// LogLibraries redirects what libraries write to std to logger, each line at level WARN and without the strings that it
// quotes. In a program, std is Go's standard logger. net/http's client, for example, quotes there what an origin sends
// after its response, which may be a customer's data. It clears the prefix and the flags of std. It is safe for
// concurrent use.
func LogLibraries(std *log.Logger, logger *slog.Logger) {
	std.SetFlags(0)
	std.SetPrefix("")
	std.SetOutput(libraryLog{logger})
}

// LibraryLog returns a logger that does the same, for a library that takes one, such as the ErrorLog of http.Server.
func LibraryLog(logger *slog.Logger) *log.Logger { return log.New(libraryLog{logger}, "", 0) }

// libraryLog is the output of a log.Logger, which calls Write once for each line.
type libraryLog struct{ logger *slog.Logger }

// quoted is a string as %q writes it. If its end is missing, it is the rest of the text.
var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*(?:\"|\\\\?$)|`[^`]*(?:`|$)")

func (l libraryLog) Write(p []byte) (int, error) {
	const most = 8 << 10 // room for a panic with its stack
	if message, said := failedInvocation(p); message != "" {
		l.logger.Error(message, slog.String("error", quoted.ReplaceAllString(said, "(left out)")))
		return len(p), nil
	}
	text := quoted.ReplaceAllString(strings.TrimSpace(string(p)), "(left out)")
	if len(text) > most {
		text = text[:most] + "..."
	}
	l.logger.Warn("said by a library", slog.String("said", text))
	return len(p), nil
}

// failedInvocation reads the line that aws-lambda-go writes if it cannot call its handler, or if the handler panics. It
// is a JSON object, and all its strings would be left out. message is empty for any other line.
func failedInvocation(line []byte) (message, said string) {
	var failure struct {
		ErrorMessage, ErrorType string
		StackTrace              []struct {
			Path, Label string
			Line        int
		}
	}
	if json.Unmarshal(line, &failure) != nil || failure.ErrorMessage == "" || failure.ErrorType == "" {
		return "", ""
	}
	if failure.StackTrace != nil { // a panic; its message may have anything
		said = failure.ErrorType
		for _, at := range failure.StackTrace {
			said += fmt.Sprintf("; %s at %s:%d", at.Label, at.Path, at.Line)
		}
		return "an invocation panicked, and its process ends: report it with this line", said
	}
	const because = "an invocation failed before the proxy had its event: "
	switch said = failure.ErrorMessage; {
	case strings.HasPrefix(said, "failed to parse deadline"):
		return because + "what plays the Runtime API of Lambda has to send the header Lambda-Runtime-Deadline-Ms, in milliseconds since 1970", said
	case strings.HasPrefix(said, "failed to unmarshal"):
		return because + "what plays the Runtime API of Lambda has to send JSON in the headers Lambda-Runtime-Client-Context and Lambda-Runtime-Cognito-Identity, or leave them out", said
	case said == "EOF":
		said = "the event is empty"
	case said == "unexpected EOF":
		said = "the event is cut off"
	}
	return because + "what invokes the function has to send it the event of an HTTP front, in JSON; look at its triggers and its resource-based policy", said
}
