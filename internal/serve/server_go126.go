//go:build !go1.27

package serve

import "net/http"

// countFields does nothing: Go 1.26 has no bound on how many fields a server reads.
func countFields(*http.Server, int) {}
