//go:build unix

package runtimeapi

import (
	"os/exec"
	"syscall"
)

// apart keeps a terminal's Ctrl-C from the process: we decide when it ends.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
