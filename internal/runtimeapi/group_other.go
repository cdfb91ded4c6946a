//go:build !unix

package runtimeapi

import "os/exec"

// ownProcessGroup does nothing: Ctrl-C reaches the process too.
func ownProcessGroup(*exec.Cmd) {}
