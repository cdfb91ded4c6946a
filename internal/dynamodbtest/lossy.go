package dynamodbtest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Lossy returns the URL of a relay before the server, which hands on every request. Where drop
// says so, it does not hand back the answer, but closes the connection: what was asked for has
// happened then, and who asked cannot know. Drop is told the action, such as "PutItem", once
// the server has answered, and may be called concurrently.
func (s *Server) Lossy(t testing.TB, drop func(action string) bool) string {
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
		out.Header = r.Header.Clone()
		out.Host = r.Host
		answer, err := client.Do(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer answer.Body.Close()
		body, err = io.ReadAll(answer.Body)
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if err != nil || drop(action) {
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
