//go:build !(darwin || linux)

package sni

import "time"

// setAckTimeout has nothing to set here.
func setAckTimeout(uintptr, time.Duration) {}
