package app

import "strconv"

// memoryPerCPU is the memory in MB for which Lambda gives a function one CPU.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
const memoryPerCPU = 1769

// Procs returns how many CPUs the function should use, for runtime.GOMAXPROCS, or 0 to
// leave it as it is. Lambda shows every function at least two CPUs and then gives it a share of
// them by its memory. With a share below one, a second thread gets no work done sooner: what
// it costs is that each step of a request wakes it, a quarter of the CPU that is billed.
// Whoever sets GOMAXPROCS, or has several requests in one sandbox, knows better.
func Procs(getenv func(string) string) int {
	if getenv("GOMAXPROCS") != "" || getenv("AWS_LAMBDA_MAX_CONCURRENCY") != "" {
		return 0
	}
	memory, err := strconv.Atoi(getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if err != nil || memory <= 0 {
		return 0
	}
	return (memory + memoryPerCPU - 1) / memoryPerCPU
}
