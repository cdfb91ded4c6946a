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

// Config says how to run a function.
type Config struct {
	Binary string // the file to run

	// Dir is the working directory. Empty means that of this process.
	Dir string

	// Env, "K=V", is the whole environment, except AWS_LAMBDA_RUNTIME_API. The last of equal names wins.
	Env []string

	// Output gets the output of the process and its init error, from several goroutines. Nil discards them.
	Output io.Writer

	// Timeout is that of the function. Zero means 29 seconds.
	Timeout time.Duration

	// Unbounded means that deadlines are sent and not enforced. Otherwise, the process is killed when a deadline passes, and
	// all its invocations fail.
	Unbounded bool
}

// Process is a running process. It is safe for concurrent use.
type Process struct {
	api    *api
	cmd    *exec.Cmd
	out    io.Writer
	exited chan struct{} // closed when the process has ended
	gone   chan struct{} // closed when nothing of the process is left
	lastID atomic.Int64
}

// Start starts the binary, and does not wait for its first event. The caller must call [Process.Close]. The process is also killed at
// the end of this process.
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
	ownProcessGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		listener.Close()
		return nil, fmt.Errorf("runtimeapi: start %q: %w", c.Binary, err)
	}
	// Most functions end by themselves without a Runtime API. Frozen functions do not.
	disarm, err := AfterExit("kill", "-9", fmt.Sprint(p.cmd.Process.Pid))
	server := &http.Server{Handler: p.api.handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(listener) }()
	go func() {
		defer close(p.gone)
		p.cmd.Wait()
		disarm()
		close(p.exited)
		// The part that it had sent before can still be read.
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

// Invoke sends an event, and waits for the reply, or for the head of a streamed reply. Events wait in order until the function asks for
// them. The error says why there is no reply: [ErrExited], that of ctx, or that the function cut the reply off. The function
// goes on after the end of ctx.
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

// expire does what Lambda does if a deadline passes, and writes the same line.
func (p *Process) expire(i *invocation) {
	if p.State() != nil {
		return // the process has ended, and its invocations too
	}
	fmt.Fprintf(p.out, "%s Task timed out after %.2f seconds\n", i.id, p.api.timeout.Seconds())
	p.cmd.Process.Kill()
}

// awaitExit waits a moment for the end of a process that cut its reply off. Most such processes end, and until then a pending request
// for an event looks as if the process went on.
func (p *Process) awaitExit() {
	select {
	case <-p.exited:
	case <-time.After(time.Second):
	}
}

// Asked returns a channel that is closed when the function has asked for its first event, and so has started.
func (p *Process) Asked() <-chan struct{} { return p.api.asked }

// Exited returns a channel that is closed when the process has ended and its output was read.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State returns how the process has ended. It is nil before [Process.Exited] is closed.
func (p *Process) State() *os.ProcessState {
	select {
	case <-p.exited:
		return p.cmd.ProcessState
	default:
		return nil
	}
}

// Process returns the process of the operating system, for signals.
func (p *Process) Process() *os.Process { return p.cmd.Process }

// AwaitIdle waits until no event is under way and the function asks for the next event. Its error is [ErrExited] or that of ctx.
func (p *Process) AwaitIdle(ctx context.Context) error { return p.api.awaitIdle(ctx, p.exited) }

// Close kills the process, and waits until nothing of it is left. Open bodies of replies fail.
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
