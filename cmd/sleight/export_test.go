package main

// Run is for tests that need no process: those of signals, terminals and limits do.
var Run = run
