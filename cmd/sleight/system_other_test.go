//go:build !unix

package main_test

import (
	"os/exec"
	"testing"
)

// controlledByTerminal does nothing: the tests that need it run on Unix only.
func controlledByTerminal(*exec.Cmd) {}

// needOpenFiles does nothing, for the same reason.
func needOpenFiles(*testing.T, uint64) {}
