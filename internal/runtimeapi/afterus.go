package runtimeapi

import (
	"fmt"
	"os"
	"os/exec"
)

// AfterUs runs a command when this process has ended, however it does: one that panics or
// is killed cleans nothing up. disarm calls that off; so that it is not called off or
// brought forward by accident, the caller holds on to it.
func AfterUs(command ...string) (disarm func(), err error) {
	cmd := exec.Command("sh", append([]string{"-c", `trap "" HUP INT QUIT TERM; read -r _; exec "$@"`, "sh"}, command...)...)
	r, w, err := os.Pipe()
	if err != nil {
		return func() {}, fmt.Errorf("runtimeapi: %w", err)
	}
	defer r.Close()
	cmd.Stdin = r // ends with the last process that has w open, and that is this one alone
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
