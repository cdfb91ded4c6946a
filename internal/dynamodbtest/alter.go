package dynamodbtest

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// An Alteration changes a response of the server to an action such as "PutItem". The server has carried the request out before.
// An Alteration may be called concurrently.
type Alteration func(action string, answer *httptest.ResponseRecorder)

// Altered returns the URL of a relay in front of the server. It forwards each request and alters each response.
func (s *Server) Altered(t testing.TB, alter Alteration) string {
	t.Helper()
	relay := NewRelay(t, s.Endpoint)
	relay.Set(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		answer := httptest.NewRecorder()
		if err := relay.pass(answer, r, body); err != nil {
			panic(http.ErrAbortHandler)
		}
		answer.Header().Del("Content-Length")
		answer.Header().Del("X-Amz-Crc32")
		alter(action, answer)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Connection", "close")
		w.WriteHeader(answer.Code)
		w.Write(answer.Body.Bytes())
		return true
	})
	return relay.Endpoint
}

// WithoutItem leaves the item out of conflicts, as some other engines do, for instance dynalite 4 and roto 0.10.
func WithoutItem(_ string, answer *httptest.ResponseRecorder) {
	var conflict map[string]json.RawMessage
	if json.Unmarshal(answer.Body.Bytes(), &conflict) == nil && bytes.Contains(conflict["__type"], []byte("ConditionalCheckFailed")) {
		delete(conflict, "Item")
		answer.Body.Reset()
		json.NewEncoder(answer.Body).Encode(conflict)
	}
}

// CutOff breaks off the first responses to an action in the middle, as many as times says.
func CutOff(action string, times int64) Alteration {
	var n atomic.Int64
	return func(asked string, answer *httptest.ResponseRecorder) {
		if asked == action && n.Add(1) <= times {
			answer.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
			answer.Body.Truncate(answer.Body.Len() / 2)
		}
	}
}
