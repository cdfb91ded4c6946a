//go:build !unix

package serve

import "math"

// Descriptors returns how many file descriptors the process may have. Such systems set no bound.
func Descriptors() uint64 { return math.MaxUint64 }
