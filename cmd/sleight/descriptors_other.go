//go:build !unix

package main

import "math"

// mayHave returns how many file descriptors the process may have. Such systems set no bound.
func mayHave() uint64 { return math.MaxUint64 }
