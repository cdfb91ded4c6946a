package dynamodbtest

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Relay returns the URL of a relay in front of the server. It forwards each request. before, if not nil, is called with the
// action, such as "PutItem", before the request is forwarded. drop, if not nil, is called after the server has
// responded. If it returns true, the relay closes the connection and does not return the response: the request was carried
// out, and the client cannot know. Both may be called concurrently.
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
