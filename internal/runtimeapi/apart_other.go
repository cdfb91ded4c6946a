//go:build !unix

package runtimeapi

import "os/exec"

// apart does nothing: Ctrl-C reaches the process too.
func apart(*exec.Cmd) {}
