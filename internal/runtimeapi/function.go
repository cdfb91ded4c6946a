package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// maxStarts is how often an event that no process got is offered to another.
const maxStarts = 3

// errClosed is what invocations after Close return.
var errClosed = errors.New("runtimeapi: the function is closed")

// Function keeps a process of a function running: when one has ended, the invocations
// under way in it fail, and the next is for a new process, as on AWS. It is safe for
// concurrent use; Config may not be changed then.
type Function struct {
	Config Config

	mu      sync.Mutex
	current *Process // nil before the first start
	closed  bool
	ending  sync.WaitGroup // of all processes there were
}

// Start starts a process where none runs, and waits until it asks for an event. Invoke
// does that by itself: Start is for hearing early of a function that cannot start. The
// error is [ErrExited], that of ctx, or that it cannot be run.
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

// Invoke is [Process.Invoke] of a process that is started if need be.
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
		case <-p.Asked(): // it did start, and another event was the end of it
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

// Close kills the process and waits for its end. No other is started.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	if f.current != nil {
		f.current.cmd.Process.Kill()
	}
	f.mu.Unlock()
	f.ending.Wait()
}
