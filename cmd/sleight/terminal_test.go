package main_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	main "github.com/sleightproxy/sleight/cmd/sleight"
	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/internal/lambdatest"
)

// built returns the built command, with its own name.
func built(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sleight") // a link, as in runKeeping
	if err := os.Link(lambdatest.BuildPackage(t, "./cmd/sleight"), name); err != nil {
		t.Fatal(err)
	}
	return name
}

// environment returns the environment for the command.
func environment(t *testing.T, env []string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "USER=tester", "TERM=xterm",
		"AWS_EC2_METADATA_DISABLED=true"}, env...)
}

// outcome is the output of a process, and its exit status.
type outcome struct {
	out, err string
	status   int
}

// needsProcess reports whether a command has to be run as a process: libraries read variables of their own, such as the AWS
// SDK's, from the environment of the process, and cobra writes completion scripts to its standard output.
func needsProcess(env, args []string) bool {
	if len(args) > 0 && args[0] == "completion" {
		return true
	}
	own := func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "USER" || slices.ContainsFunc(app.Table(), func(s app.Setting) bool { return s.Variable == name })
	}
	return slices.ContainsFunc(env, func(v string) bool { return !own(v) }) ||
		slices.ContainsFunc(args, func(a string) bool {
			return slices.Contains([]string{"--table", "--endpoint-url", "--profile", "--region"}, strings.Split(a, "=")[0])
		})
}

// inProcess runs the command in the process of the test.
func inProcess(t *testing.T, env []string, stdin string, args ...string) outcome {
	t.Helper()
	values := map[string]string{}
	for _, v := range environment(t, env) {
		name, value, _ := strings.Cut(v, "=")
		values[name] = value
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	status := main.Run(ctx, func(name string) string { return values[name] }, args, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{stdout.String(), stderr.String(), status}
}

// execute runs the command without a terminal.
func execute(t *testing.T, env []string, stdin string, args ...string) outcome {
	t.Helper()
	if !needsProcess(env, args) {
		return inProcess(t, env, stdin, args...)
	}
	name := built(t) // the first build takes a while
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdin = environment(t, env), strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// screen is a terminal that runs the command.
type screen struct {
	keys *os.File
	cmd  *exec.Cmd
	done chan error

	mu    sync.Mutex
	shown bytes.Buffer
	more  chan struct{} // closed and replaced at each output
}

// onTerminal runs the command on a terminal of 120 columns.
func onTerminal(t *testing.T, env []string, args ...string) *screen {
	t.Helper()
	s := &screen{cmd: exec.Command(built(t), args...), done: make(chan error, 1), more: make(chan struct{})}
	s.cmd.Env = environment(t, env)
	var err error
	if s.keys, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: 40, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := s.keys.Read(b)
			s.mu.Lock()
			s.shown.Write(b[:n])
			close(s.more)
			s.more = make(chan struct{})
			s.mu.Unlock()
			if err != nil { // the command has closed it
				s.done <- s.cmd.Wait()
				return
			}
		}
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-read
		s.keys.Close()
	})
	return s
}

func (s *screen) text() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.shown.String(), "\r\n", "\n"), s.more
}

// waitFor waits until the output matches the pattern.
func (s *screen) waitFor(t *testing.T, pattern string) {
	t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		text, more := s.text()
		if re.MatchString(text) {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("no %q on the terminal:\n%s", pattern, text)
		}
	}
}

func (s *screen) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := s.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end, and returns the output and the exit status.
func (s *screen) exit(t *testing.T) (string, int) {
	t.Helper()
	select {
	case err := <-s.done:
		s.done <- err
	case <-time.After(patience):
		text, _ := s.text()
		t.Fatalf("it does not end:\n%s", text)
	}
	text, _ := s.text()
	return text, s.cmd.ProcessState.ExitCode()
}
