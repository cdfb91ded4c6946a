package main

// Run is for tests that need no process. Tests of signals, terminals and limits need one.
var Run = run
