# make demo   panics a real kernel and debugs it with gdb
# make test   runs all tests, including those with real kernels and real debuggers
.PHONY: build demo test clients kernels kernels-custom modules lint fuzz damage abuse bench hostile setup clean

build:
	go build -o bin/ ./cmd/physgdb

# The manual page, bin/physgdb.1.
.PHONY: man
man:
	@mkdir -p bin
	go run ./cmd/internal/gen man >bin/physgdb.1

# Installs the missing Debian packages for the tests and the demo with apt-get.
setup:
	@sh test/guest/setup.sh

# RELEASE is 6.1 or 6.12; LA57=1 gives 5-level paging, PTI=1 page-table isolation.
RELEASE ?= 6.1
demo: build
	@sh test/guest/setup.sh demo
	@go run ./test/demo -release $(RELEASE) $(if $(LA57),-la57) $(if $(PTI),-pti)

# The race detector slows computation several times. The packages of symbols compute much, so their
# own tests run without it, at the same time as the others; the other packages' tests use them with
# it. test/e2e takes longest and mostly waits for debuggers: it is started first.
.PHONY: test-symbols test-race
test: setup lint
	@$(MAKE) --no-print-directory -j2 test-race test-symbols
test-symbols:
	go test -p 1 -timeout 40m ./symbols/...
test-race:
	go test -race -timeout 40m ./test/e2e $$(go list ./... | grep -v -e '^physgdb/symbols' -e '/test/e2e$$')

# Runs every debugger on a dead machine: a table in docs/clients.md, transcripts in bin/clients.
clients: setup
	@rm -f docs/clients.md
	@for release in 6.1 6.12; do \
		go test -count=1 -timeout 30m -run TestClients ./test/clients -release $$release -table $(CURDIR)/docs/clients.md \
			-transcripts $(CURDIR)/bin/clients/$$release || exit 1; \
	done

# Tests kernels of every series and flavour: a table in docs/kernels.md. KERNELS="7.2 7.3" tests
# only some and keeps the other rows.
KERNELS ?=
kernels: setup
	go test -count=1 -timeout 120m -parallel 2 -run TestKernels -v ./test/kernels -table $(CURDIR)/docs/kernels.md -kernels "$(KERNELS)"

# Tests kernels that Debian does not ship, built from its linux-source packages with the
# configurations of test/guest/custom: a table in docs/kernels-custom.md. CUSTOM=NAME,... tests only
# some and prints the table.
kernels-custom:
	@sh test/guest/setup.sh custom
	@go run ./test/custom $(if $(CUSTOM),-only $(CUSTOM),-table docs/kernels-custom.md)

# Builds the kernel modules for every kernel with headers, and tests every kind of panic on one
# kernel of each series.
modules: setup
	go test -count=1 -timeout 90m -v -run TestModulesOfEveryHeaders ./test/guest -headers
	go test -count=1 -timeout 120m -v -run TestTroubleModule ./test/guest -releases 5.10,6.1,6.12,7.2,newest

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...
	go run ./test/prose
	go tool staticcheck ./...

# Runs the attacks of docs/security.md on the memory of real dead machines: booted ones, or IMAGE, a
# file with raw RAM.
IMAGE ?=
REAL = $(if $(IMAGE),-image $(abspath $(IMAGE)),-boot 6.1,6.12)
.PHONY: hostile-fuzz soak
hostile: setup
	go test -count=1 -timeout 120m -v ./test/hostile $(REAL) -table $(CURDIR)/docs/security.md

# Changes the kernel's tables in MUTATIONS ways, from the seed SEED on, and loads the results into
# gdb and lldb.
MUTATIONS ?= 1000
SEED ?= 1
hostile-fuzz: setup
	go test -count=1 -timeout 240m -v -run 'TestMutations$$' ./test/hostile $(REAL) -mutations $(MUTATIONS) -seed $(SEED)

# Runs gdb, lldb and random clients concurrently on a server with the race detector, for the time
# SOAK.
SOAK ?= 10m
soak: setup
	go test -count=1 -timeout 60m -v -run TestSoak ./test/hostile $(if $(IMAGE),$(REAL),-boot 6.12) -soak $(SOAK)

# Runs every fuzz target for FUZZTIME each.
FUZZTIME ?= 60s
fuzz:
	@sh test/fuzz.sh $(FUZZTIME)

# Runs every command on SEEDS dead machines of each kernel with memory damaged in random places.
SEEDS ?= 5000
damage: setup
	PHYSGDB_DAMAGE=$(SEEDS) go test -run TestDamage -v -timeout 60m ./cmd/internal/target

# Tests stacks with code that the kernel made at run time and with replaced return addresses, on
# each of INSTRUMENTED.
INSTRUMENTED ?= 5.10 6.1 6.12 newest
.PHONY: instrumented
instrumented: setup
	PHYSGDB_INSTRUMENTED="$(INSTRUMENTED)" go test -run TestInstrumentedStacks -v -count=1 -timeout 90m ./test/e2e

# Sends ten million random packets, valid and invalid, and runs a hundred clients for a minute while
# the machine of another one hangs.
abuse:
	PHYSGDB_ABUSE_PACKETS=10000000 PHYSGDB_ABUSE_SECONDS=60 go test -run 'TestStorm|TestACrowd' -v -timeout 60m ./gdbstub

# Runs the benchmarks, each with a limit that is measured in the same run (what=...), and compares
# them in columns. BENCHCOUNT=6 runs more rounds for less noise.
BENCHCOUNT ?= 1
bench: setup
	@mkdir -p bin && : > bin/bench.txt
	@for i in $$(seq $(BENCHCOUNT)); do \
		go test -run '^$$' -bench . -timeout 30m ./mmu ./bridge/nettlp ./test/e2e | tee -a bin/bench.txt || exit 1; \
	done
	@go tool benchstat -col /what bin/bench.txt

clean:
	rm -rf bin
