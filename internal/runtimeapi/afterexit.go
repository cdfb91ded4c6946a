package runtimeapi

import (
	"fmt"
	"os"
	"os/exec"
)

// AfterExit runs a command after the end of this process, because a process that panics or is killed cannot clean up by itself. disarm
// cancels that. The caller must keep disarm: if it were collected as garbage, the command would run too early.
func AfterExit(command ...string) (disarm func(), err error) {
	cmd := exec.Command("sh", append([]string{"-c", `trap "" HUP INT QUIT TERM; read -r _; exec "$@"`, "sh"}, command...)...)
	r, w, err := os.Pipe()
	if err != nil {
		return func() {}, fmt.Errorf("runtimeapi: %w", err)
	}
	defer r.Close()
	cmd.Stdin = r // it ends when no process has w open any more, and only this process has it open
	if err := cmd.Start(); err != nil {
		w.Close()
		return func() {}, fmt.Errorf("runtimeapi: start a shell: %w", err)
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait()
		w.Close()
	}, nil
}
