// Package arch has no code. Its tests hold the walls between the rooms of the module:
// what may import what, and what may occur nowhere.
package arch
