package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sleightproxy/sleight/internal/app"
	"github.com/sleightproxy/sleight/internal/localfront"
	"github.com/sleightproxy/sleight/internal/runtimeapi"
	"github.com/sleightproxy/sleight/internal/serve"
)

const (
	// functionTimeout and streamTimeout are the timeouts of the function in the template, the latter for streamed responses.
	functionTimeout = 29 * time.Second
	streamTimeout   = 5 * time.Minute

	// concurrency is how many requests the one process of the function serves at a time. On AWS, each would have its own
	// process.
	concurrency = "8"
)

// frontServer serves a local front, which runs the function.
type frontServer struct {
	kind      localfront.Kind
	bootstrap string              // the function's file; empty means the one beside this command
	setting   func(string) string // the values of variables, or of their flags
	settings  app.Settings        // the parsed values of setting
	stderr    io.Writer           // gets the output of the function
	logger    *slog.Logger
}

// serve runs the front on a server until ctx ends, or the function cannot start.
func (s *frontServer) serve(ctx context.Context, on serve.Server) error {
	binary, err := findBootstrap(s.bootstrap)
	if err != nil {
		return err
	}
	front := &localfront.Front{
		Kind:     s.kind,
		Buffered: s.setting("RESPONSE_MODE") == "buffered", // for function URLs alone
		Logger:   s.logger,
	}
	timeout := functionTimeout
	if streams(front) {
		timeout = streamTimeout
	} else if longer := s.settings.FrontTimeout; s.kind == localfront.REST && longer > 0 {
		front.Timeout, timeout = longer, max(timeout, longer) // for an API whose quota was raised
	}
	env, err := s.environment(front, os.Environ())
	if err != nil {
		return err
	}
	function := &runtimeapi.Function{Config: runtimeapi.Config{
		Binary: binary, Env: env, Output: s.stderr, Timeout: timeout,
	}}
	defer function.Close()
	if err := function.Start(ctx); err != nil {
		return fmt.Errorf("%s: %w", binary, err)
	}
	front.Invoke = function.Invoke
	on.Handler, on.Attrs = front, []slog.Attr{slog.String("front", string(s.kind))}
	on.Reload = func() { s.logger.Warn("nothing is read again: the function reads its settings when it starts") }
	return on.Run(ctx)
}

func findBootstrap(name string) (string, error) {
	if name == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the function: %w; name it with --bootstrap", err)
		}
		name = filepath.Join(filepath.Dir(self), "bootstrap")
	}
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s, the function, does not exist: run make build, or name another file with --bootstrap", name)
	} else if err != nil {
		return "", err
	}
	return name, nil
}

// environment returns the environment of the function: the settings, the variables that Lambda sets, and from ours, our own
// environment, the variables for AWS and for the system's roots.
func (s *frontServer) environment(front *localfront.Front, ours []string) ([]string, error) {
	var env []string
	for _, v := range ours {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "AWS_LAMBDA_") || slices.Contains([]string{"PATH", "HOME", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"}, name) {
			env = append(env, v)
		}
	}
	names := []string{"FRONT_TIMEOUT", "BASE_PATH", "STRIP_STAGE"} // these have no flags
	for _, m := range mirrors() {
		names = append(names, m.variable)
	}
	for _, name := range names {
		value := s.setting(name)
		if value == "" {
			continue
		}
		if name == "ROUTES_FILE" || name == "CLIENT_CERTS_DIR" {
			var err error
			if value, err = filepath.Abs(value); err != nil {
				return nil, err
			}
		}
		env = append(env, name+"="+value)
	}
	mode := "buffered"
	if streams(front) {
		mode = "stream"
	}
	return append(env, "RESPONSE_MODE="+mode,
		"AWS_LAMBDA_FUNCTION_NAME=sleight", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=1024",
		"AWS_LAMBDA_MAX_CONCURRENCY="+cmp.Or(s.setting("AWS_LAMBDA_MAX_CONCURRENCY"), concurrency)), nil
}

func streams(f *localfront.Front) bool {
	return f.Kind == localfront.RESTStream || f.Kind == localfront.FunctionURL && !f.Buffered
}
