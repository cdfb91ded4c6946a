package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how a function is run.
type Config struct {
	Binary string // the file to run

	// Dir is where it runs; empty means where we do.
	Dir string

	// Env, "K=V", is the whole environment, but for AWS_LAMBDA_RUNTIME_API. The last of
	// equal names wins.
	Env []string

	// Output gets what the process prints and posts as its init error, from several
	// goroutines. Nil drops it.
	Output io.Writer

	// Timeout is the function's. Zero means 29 seconds.
	Timeout time.Duration

	// Unbounded tells deadlines without enforcing them. Otherwise a process is killed, and
	// all that is under way in it fails, when a deadline passes.
	Unbounded bool
}

// Process is a running process. It is safe for concurrent use.
type Process struct {
	api    *api
	cmd    *exec.Cmd
	out    io.Writer
	exited chan struct{} // closed when the process has ended
	gone   chan struct{} // closed when nothing of it is left
	lastID atomic.Int64
}

// Start runs the binary and does not wait for it. [Process.Close] has to be called. The
// process is killed with ours, however that ends.
func Start(c Config) (*Process, error) {
	out := io.Writer(io.Discard)
	if c.Output != nil {
		out = &syncWriter{w: c.Output}
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	p := &Process{out: out, exited: make(chan struct{}), gone: make(chan struct{})}
	p.api = newAPI("test", timeout, out)
	p.api.cut = p.awaitExit
	if !c.Unbounded {
		p.api.expired = p.expire
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("runtimeapi: %w", err)
	}
	p.cmd = exec.Command(c.Binary)
	p.cmd.Dir = c.Dir
	p.cmd.Env = append(append([]string{}, c.Env...), "AWS_LAMBDA_RUNTIME_API="+listener.Addr().String())
	p.cmd.Stdout, p.cmd.Stderr = out, out
	apart(p.cmd)
	if err := p.cmd.Start(); err != nil {
		listener.Close()
		return nil, fmt.Errorf("runtimeapi: start %q: %w", c.Binary, err)
	}
	// Without a Runtime API most functions end by themselves, but not frozen ones.
	disarm, err := AfterUs("kill", "-9", fmt.Sprint(p.cmd.Process.Pid))
	server := &http.Server{Handler: p.api.handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(listener) }()
	go func() {
		defer close(p.gone)
		p.cmd.Wait()
		disarm()
		close(p.exited)
		// What it had sent by then may still be read.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		server.Shutdown(ctx)
		server.Close()
		<-served
	}()
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Invoke sends an event and waits for the reply, or for its head where it is streamed.
// Events that the function does not ask for yet wait their turn. The error says why there
// is no reply: [ErrExited], that of ctx, or that the function cut it off. When ctx ends,
// the function still goes on.
func (p *Process) Invoke(ctx context.Context, e Event) (*Reply, error) {
	reply, err := p.api.invoke(ctx, &invocation{
		id: fmt.Sprintf("request-%d", p.lastID.Add(1)), event: e,
		outcome: make(chan outcome), abandoned: make(chan struct{}),
	}, p.exited)
	if errors.Is(err, ErrExited) {
		err = fmt.Errorf("%w: %v", err, p.cmd.ProcessState)
	}
	return reply, err
}

// expire is what Lambda does, and says, when a deadline passes.
func (p *Process) expire(i *invocation) {
	if p.State() != nil {
		return // it has ended by itself, and its invocations with it
	}
	fmt.Fprintf(p.out, "%s Task timed out after %.2f seconds\n", i.id, p.api.timeout.Seconds())
	p.cmd.Process.Kill()
}

// awaitExit gives a process that cut its reply off the time to end: it mostly does, and
// until then its other requests for events look as if it lived.
func (p *Process) awaitExit() {
	select {
	case <-p.exited:
	case <-time.After(time.Second):
	}
}

// Asked is closed when the function has asked for its first event: it has started.
func (p *Process) Asked() <-chan struct{} { return p.api.asked }

// Exited is closed when the process has ended and its output is read.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State is how the process has ended; nil before [Process.Exited] is closed.
func (p *Process) State() *os.ProcessState {
	select {
	case <-p.exited:
		return p.cmd.ProcessState
	default:
		return nil
	}
}

// Process is the operating system's, to signal to.
func (p *Process) Process() *os.Process { return p.cmd.Process }

// AwaitIdle waits until no event is under way and the function asks for the next. The
// error is [ErrExited] or that of ctx.
func (p *Process) AwaitIdle(ctx context.Context) error { return p.api.awaitIdle(ctx, p.exited) }

// Close kills the process and waits until nothing of it is left. Bodies of replies that
// are still open fail.
func (p *Process) Close() {
	p.cmd.Process.Kill()
	<-p.gone
}

// syncWriter is a writer for several goroutines.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
