package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// elfFile makes a file that has only headers. check reads nothing else.
func elfFile(t *testing.T, typ elf.Type, machine elf.Machine, progs ...elf.ProgType) []byte {
	t.Helper()
	header := elf.Header64{
		Type:      uint16(typ),
		Machine:   uint16(machine),
		Version:   uint32(elf.EV_CURRENT),
		Phoff:     64,
		Ehsize:    64,
		Phentsize: 56,
		Phnum:     uint16(len(progs)),
		Shentsize: 64,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	var file bytes.Buffer
	if err := binary.Write(&file, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	for _, prog := range progs {
		if err := binary.Write(&file, binary.LittleEndian, elf.Prog64{Type: uint32(prog)}); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

func TestCheckAcceptsOnlyWhatLambdaCanStart(t *testing.T) {
	static := elfFile(t, elf.ET_EXEC, elf.EM_AARCH64, elf.PT_LOAD)
	tests := []struct {
		name     string
		base     string
		mode     os.FileMode
		contents []byte
		want     string // in the error; "" for none
	}{
		{"static arm64", "bootstrap", 0o755, static, ""},
		{"static position-independent arm64", "bootstrap", 0o755, elfFile(t, elf.ET_DYN, elf.EM_AARCH64, elf.PT_LOAD), ""},
		{"other name", "proxy", 0o755, static, "not bootstrap"},
		{"not executable", "bootstrap", 0o644, static, "execute"},
		{"amd64", "bootstrap", 0o755, elfFile(t, elf.ET_EXEC, elf.EM_X86_64, elf.PT_LOAD), "EM_X86_64"},
		{"interpreter", "bootstrap", 0o755, elfFile(t, elf.ET_EXEC, elf.EM_AARCH64, elf.PT_LOAD, elf.PT_INTERP), "interpreter"},
		{"object file", "bootstrap", 0o755, elfFile(t, elf.ET_REL, elf.EM_AARCH64), "ET_REL"},
		{"no ELF", "bootstrap", 0o755, []byte("#!/bin/sh\nexec true\n"), "magic"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), test.base)
			if err := os.WriteFile(file, test.contents, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, test.mode); err != nil { // past the umask
				t.Fatal(err)
			}
			err := check(file)
			switch {
			case test.want == "" && err != nil:
				t.Fatalf("check: %v, want it accepted", err)
			case test.want != "" && err == nil:
				t.Fatalf("check accepted it, want an error with %q", test.want)
			case test.want != "" && !strings.Contains(err.Error(), test.want):
				t.Fatalf("check: %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestFileOfAnotherReleaseIsRefused(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkRelease(binary, runtime.Version()); err != nil {
		t.Errorf("checkRelease: %v, want it accepted", err)
	}
	if err := checkRelease(binary, "go1.26.0"); err == nil || !strings.Contains(err.Error(), runtime.Version()+", not go1.26.0") {
		t.Errorf("checkRelease: %v, want an error with both releases", err)
	}
	if err := checkRelease(binary, runtime.Version()[:len(runtime.Version())-1]); err == nil { // go1.26.1 for go1.26.11
		t.Error("checkRelease took the beginning of a release's name for the whole")
	}
	script := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkRelease(script, runtime.Version()); err == nil || !strings.Contains(err.Error(), "does not say which Go") {
		t.Errorf("checkRelease: %v, want an error", err)
	}
}
