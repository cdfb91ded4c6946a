package dynamodbtest

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Relay returns the URL of a relay before the server, which hands on every request. Before, if not
// nil, is told each action, such as "PutItem", ahead of the server, and holds it up until it returns. Where
// drop, if not nil, says so, the server's answer is not handed back, but the connection closed: what was asked for has
// happened then, and who asked cannot know. Both may be called concurrently.
func (s *Server) Relay(t testing.TB, before func(action string), drop func(action string) bool) string {
	t.Helper()
	relay := NewRelay(t, s.Endpoint)
	relay.Set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if before != nil {
			before(action)
		}
		answer := httptest.NewRecorder()
		if err := relay.pass(answer, r, body); err != nil || drop != nil && drop(action) {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Connection", "close")
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
		return true
	})
	return relay.Endpoint
}
