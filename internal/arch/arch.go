// Package arch has no code. Its tests hold the rules of the module: which room imports which, what no source may have, and which
// files are long.
package arch
