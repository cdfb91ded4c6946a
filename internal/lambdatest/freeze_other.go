//go:build !unix

package lambdatest

import "errors"

// Freeze returns an error, because only Unix can stop a process.
func (f *Function) Freeze() error { return errors.ErrUnsupported }

// Thaw returns an error, as Freeze does.
func (f *Function) Thaw() error { return errors.ErrUnsupported }
