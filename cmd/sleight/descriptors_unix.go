//go:build unix

package main

import (
	"math"
	"syscall"
)

// mayHave returns how many file descriptors the process may have. The syscall package has raised that to
// the hard limit when the program began, as far as the system lets it.
func mayHave() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return uint64(limit.Cur)
}
