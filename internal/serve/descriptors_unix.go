//go:build unix

package serve

import (
	"math"
	"syscall"
)

// Descriptors returns how many file descriptors the process may have. The syscall package has raised that to the hard limit
// when the program began, if the system allowed it.
func Descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return uint64(limit.Cur)
}
