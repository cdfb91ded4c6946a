# What a person or CI runs here. GNU make 3.81, which macOS has, is enough.
# No target is a file: Go knows better than make what is out of date.

GO ?= go
FUZZTIME ?= 10s
LISTEN ?= 127.0.0.1:8080

# ROUTES, TESTFLAGS, BENCH, BENCHFLAGS, SKIP, ORIGINS and DIR are for the command line; see CONTRIBUTING.md.
BENCH ?= .

# Every go that make runs is of the release in go.mod, or of one that GOTOOLCHAIN names; see scripts/toolchain.
override GOTOOLCHAIN := $(shell GOTOOLCHAIN='$(GOTOOLCHAIN)' scripts/toolchain)
ifeq ($(GOTOOLCHAIN),)
$(error scripts/toolchain names no release of Go to build with)
endif
export GOTOOLCHAIN

# Most tests wait for something, so more of them run at a time than there are processors.
PROCESSORS := $(shell getconf _NPROCESSORS_ONLN)
PACKAGES := $(shell expr $(PROCESSORS) + 1)
PARALLEL := $(shell expr $(PROCESSORS) + $(PROCESSORS))
# The race detector lets each process sleep for a second at its end, for goroutines that are left. goleak finds these.
RACE := atexit_sleep_ms=10 $(GORACE)

RELEASE := -trimpath -ldflags "-s -w"
# lambda.norpc leaves out the old Go 1.x runtime's RPC server.
FUNCTION := -tags lambda.norpc $(RELEASE)

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[A-Za-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build-sleight ## Show the proxy at work on this machine; with ROUTES=file.json, serve that file's routes
ifdef ROUTES
	bin/sleight serve --listen "$(LISTEN)" --routes "$(ROUTES)"
else
	bin/sleight demo --listen "$(LISTEN)"
endif

.PHONY: build
build: build-sleight ## Build bin/bootstrap, the function, and bin/sleight, the operator's command; GOOS and GOARCH count
	CGO_ENABLED=0 $(GO) build $(FUNCTION) -o bin/bootstrap ./functions/proxy

.PHONY: build-sleight
build-sleight: ## Build bin/sleight alone
	CGO_ENABLED=0 $(GO) build $(RELEASE) -o bin/sleight ./cmd/sleight

# sam build runs this in a copy of the tree without .git. Lambda starts the file
# as another user than its owner, so the umask shall not decide its mode.
.PHONY: build-ProxyFunction
build-ProxyFunction: ## Build the function for Lambda into ARTIFACTS_DIR; sam build calls it
	@test -n "$(ARTIFACTS_DIR)" || { echo "ARTIFACTS_DIR is not set: run sam build" >&2; exit 1; }
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) build $(FUNCTION) -o "$(ARTIFACTS_DIR)/bootstrap" ./functions/proxy
	chmod 755 "$(ARTIFACTS_DIR)/bootstrap"

.PHONY: test
test: testdeps ## Run all tests under the race detector; TESTFLAGS adds flags
	GORACE="$(RACE)" $(GO) test -race -timeout 15m -p $(PACKAGES) -parallel $(PARALLEL) $(TESTFLAGS) ./...

.PHONY: testdeps
testdeps: ## Make ready what the tests need: a C compiler, nginx, OpenSSL, curl, wrk, Chromium, Java, DynamoDB Local
	@scripts/testdeps

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME, 10s unless given
	@FUZZTIME="$(FUZZTIME)" scripts/fuzz

.PHONY: bench
bench: testdeps ## Run the benchmarks; BENCH picks some by name, BENCHFLAGS adds flags such as -count=10
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(BENCHFLAGS) ./... | \
		awk '{ print } /^Benchmark/ { n = 1 } /^(FAIL|panic:)/ { bad = 1 } END { if (!n) print "no benchmark matches $(BENCH)"; exit bad || !n }'

.PHONY: origins
origins: build-sleight ## Put sleight before real servers and count POSTs; SKIP leaves some out, ORIGINS picks some
	@SKIP="$(SKIP)" scripts/origins $(ORIGINS)

.PHONY: check
check: check-go check-ports check-sam ## Run all checks that are not tests

.PHONY: check-go
check-go: ## Check formatting, vet, staticcheck, go.mod and go.sum, the prose, and what may import what
	@files=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .) && test -z "$$files" || { echo "gofmt -w these:" $$files >&2; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags lambda.norpc ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) -C tools mod tidy -diff
	$(GO) run ./scripts/prose -check
	$(GO) test ./internal/arch ./scripts/rooms

.PHONY: rooms
rooms: ## Draw the rooms from their imports, into docs/rooms.svg and docs/architecture.md
	$(GO) run ./scripts/rooms

.PHONY: prose
prose: ## Count riddling constructions in comments and docs, a line per folder; DIR=pkg/sni lists those of a folder
	@$(GO) run ./scripts/prose $(if $(DIR),-show $(DIR))

# The first run compiles the dependencies for each system, which takes a minute or two. Later ones take seconds.
.PHONY: check-ports
check-ports: ## Vet the code and the tests for Windows, macOS and FreeBSD
	GOOS=windows $(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	GOOS=freebsd $(GO) vet ./...

.PHONY: check-sam
check-sam: ## Check template.yaml, build it, and look at what would be deployed
	scripts/sam validate --lint
	scripts/sam --python scripts/test_template.py
	rm -rf .aws-sam/build
	scripts/sam build
	$(GO) run ./scripts/elfcheck -go $(GOTOOLCHAIN) .aws-sam/build/ProxyFunction/bootstrap

.PHONY: clean
clean: ## Remove what was built; downloads stay in the user's cache
	rm -rf bin .aws-sam
