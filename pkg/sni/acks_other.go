//go:build !(darwin || linux)

package sni

import "time"

// setAckTimeout does nothing: this system has no such option.
func setAckTimeout(uintptr, time.Duration) {}
