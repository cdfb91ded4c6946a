// Command elfcheck tells whether a file is what Lambda's provided.al2023 runtime
// starts on arm64: a statically linked arm64 ELF executable named bootstrap.
//
//	go run ./scripts/elfcheck .aws-sam/build/ProxyFunction/bootstrap
package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: elfcheck FILE")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "elfcheck: %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	fmt.Printf("elfcheck: %s: static arm64 executable\n", os.Args[1])
}

// check reports the first reason why Lambda could not start the file.
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
