package app

import "strconv"

// memoryPerCPU is the memory in MB that gives a function one CPU.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
const memoryPerCPU = 1769

// Procs returns how many CPUs the function should use, for runtime.GOMAXPROCS, or 0 to leave it as it is. Lambda shows
// every function at least two CPUs, and gives it a share of them by its memory. If the share is below one, a second
// thread finishes nothing sooner, and each step of a request wakes it, which costs a quarter of the CPU time that is
// billed. Procs returns 0 if GOMAXPROCS is set, or if one sandbox has several requests at a time.
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
