// Command elfcheck checks that Lambda's provided.al2023 runtime can start a file on arm64: it must be a statically linked arm64 ELF
// executable named bootstrap. It also checks that a certain release of Go built the file.
//
//	go run ./scripts/elfcheck -go "$(scripts/toolchain)" .aws-sam/build/ProxyFunction/bootstrap
package main

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	release := flag.String("go", "", "the `release` of Go that has to have built FILE, such as go1.26.11")
	flag.Parse()
	if flag.NArg() != 1 || *release == "" {
		fmt.Fprintln(os.Stderr, "usage: elfcheck -go RELEASE FILE")
		os.Exit(2)
	}
	file := flag.Arg(0)
	if err := errors.Join(check(file), checkRelease(file, *release)); err != nil {
		fmt.Fprintf(os.Stderr, "elfcheck: %s: %v\n", file, err)
		os.Exit(1)
	}
	fmt.Printf("elfcheck: %s: static arm64 executable, built with %s\n", file, *release)
}

// checkRelease returns an error if another release of Go built the file. A build without GOTOOLCHAIN silently uses the installed
// release, which may lack a fix.
func checkRelease(file, release string) error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return fmt.Errorf("does not say which Go built it: %w", err)
	}
	if info.GoVersion != release {
		return fmt.Errorf("was built with %s, not %s: GOTOOLCHAIN did not reach its go build", info.GoVersion, release)
	}
	return nil
}

// check returns the first reason why Lambda could not start the file, or nil.
func check(file string) error {
	if base := filepath.Base(file); base != "bootstrap" {
		return fmt.Errorf("is named %q, not bootstrap", base)
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o111 != 0o111 {
		return fmt.Errorf("mode %v lets not everyone execute it", info.Mode())
	}
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_AARCH64 {
		return fmt.Errorf("is %v for %v, not ELFCLASS64 for EM_AARCH64", f.Class, f.Machine)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("is %v, not an executable", f.Type)
	}
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			return errors.New("is dynamically linked: it asks for an interpreter")
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	if len(libraries) > 0 {
		return fmt.Errorf("is dynamically linked: it needs %q", libraries)
	}
	return nil
}
