//go:build unix

package lambdatest

import (
	"context"
	"fmt"
	"syscall"
)

// Freeze stops the process as Lambda does, when no event is under way and the function asks for the next event. The process has stopped
// when Freeze returns, and continues at [Function.Thaw].
func (f *Function) Freeze() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.process.AwaitIdle(ctx); err != nil {
		return fmt.Errorf("lambdatest: freeze: waiting until the function asks for an event: %w", err)
	}
	if err := f.process.Process().Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("lambdatest: freeze: %w", err)
	}
	// The signal was only sent. Other threads may run for a while.
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(f.PID(), &status, syscall.WUNTRACED, nil); {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("lambdatest: freeze: %w", err)
		case !status.Stopped():
			return fmt.Errorf("lambdatest: freeze: %w", ErrExited)
		default:
			return nil
		}
	}
}

// Thaw continues the process.
func (f *Function) Thaw() error {
	if err := f.process.Process().Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("lambdatest: thaw: %w", err)
	}
	return nil
}
