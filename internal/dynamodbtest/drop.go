package dynamodbtest

import (
	"bytes"
	"io"
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
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		out, err := http.NewRequestWithContext(r.Context(), r.Method, s.Endpoint+r.URL.Path, bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if before != nil {
			before(action)
		}
		out.Header = r.Header.Clone()
		out.Host = r.Host
		answer, err := client.Do(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer answer.Body.Close()
		body, err = io.ReadAll(answer.Body)
		if err != nil || drop != nil && drop(action) {
			panic(http.ErrAbortHandler)
		}
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.Header().Set("Connection", "close")
		w.WriteHeader(answer.StatusCode)
		w.Write(body)
	}))
	t.Cleanup(relay.Close)
	return relay.URL
}
