//go:build unix

package runtimeapi

import (
	"os/exec"
	"syscall"
)

// ownProcessGroup keeps the Ctrl-C of a terminal from the process, because this package decides when the process ends.
func ownProcessGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
