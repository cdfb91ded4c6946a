package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// maxStarts is the number of processes that are started for an event that no process got.
const maxStarts = 3

// errClosed is the error of invocations after Close.
var errClosed = errors.New("runtimeapi: the function is closed")

// Function keeps a process of a function running. If the process ends, its invocations fail, and the next invocation starts another
// process, as on AWS. A Function is safe for concurrent use. Config must not change after the first use.
type Function struct {
	Config Config

	mu      sync.Mutex
	current *Process // nil before the first start
	closed  bool
	ending  sync.WaitGroup // of all processes so far
}

// Start starts a process if no process runs, and waits until it asks for an event. Invoke does that too. Start tells early if a function
// cannot start. Its error is [ErrExited], that of ctx, or that of running the binary.
func (f *Function) Start(ctx context.Context) error {
	p, err := f.process()
	if err != nil {
		return err
	}
	select {
	case <-p.Asked():
		return nil
	case <-p.Exited():
		return fmt.Errorf("%w before it asked for its first event: %v", ErrExited, p.State())
	case <-ctx.Done():
		return fmt.Errorf("runtimeapi: before the function asked for its first event: %w", ctx.Err())
	}
}

// Invoke is [Process.Invoke]. It starts a process if no process runs.
func (f *Function) Invoke(ctx context.Context, payload []byte) (*Reply, error) {
	for n := 1; ; n++ {
		p, err := f.process()
		if err != nil {
			return nil, err
		}
		reply, err := p.Invoke(ctx, Event{Payload: payload})
		if !errors.Is(err, errNotTaken) || n == maxStarts {
			return reply, err
		}
		select {
		case <-p.Asked(): // it had started, and ended at another event
		default:
			return nil, err
		}
	}
}

func (f *Function) process() (*Process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errClosed
	}
	if f.current != nil {
		select {
		case <-f.current.Exited():
			f.current = nil
		default:
			return f.current, nil
		}
	}
	p, err := Start(f.Config)
	if err != nil {
		return nil, err
	}
	f.current = p
	f.ending.Go(func() { <-p.gone })
	return p, nil
}

// Close kills the process, and waits for its end. No other process is started.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	if f.current != nil {
		f.current.cmd.Process.Kill()
	}
	f.mu.Unlock()
	f.ending.Wait()
}
