//go:build unix

package runtimeapi

import (
	"os/exec"
	"syscall"
)

// apart keeps the Ctrl-C of a terminal from the process, because this package decides when the process ends.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
