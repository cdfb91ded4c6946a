//go:build go1.27

package serve

import "net/http"

// countFields sets how many fields of a request the server reads. Go's own bound is 500, beyond which it would answer
// for itself; the proxy's is lower, and its answer says which limit it was.
func countFields(s *http.Server, atMost int) { s.MaxHeaderValueCount = atMost }
