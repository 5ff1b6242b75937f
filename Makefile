# make demo   panics a real kernel and shows a gdb session on what is left of it
# make test   runs every test, those on real kernels and real debuggers among them
.PHONY: build demo test clients kernels kernels-custom modules lint fuzz damage abuse bench hostile setup clean

build:
	go build -o bin/ ./cmd/physgdb

# What the tests need beside Go: Debian packages, by apt-get, as far as they are missing. The demo
# needs a few of them.
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
	go test -timeout 40m ./symbols/...
test-race:
	go test -race -timeout 40m ./test/e2e $$(go list ./... | grep -v -e '^physgdb/symbols' -e '/test/e2e$$')

# Every debugger on a dead machine, as a table in docs/clients.md; what was typed, answered and sent
# goes to bin/clients.
clients: setup
	@rm -f docs/clients.md
	@for release in 6.1 6.12; do \
		go test -count=1 -timeout 30m -run TestClients ./test/clients -release $$release -table $(CURDIR)/docs/clients.md \
			-transcripts $(CURDIR)/bin/clients/$$release || exit 1; \
	done

# Kernels of every age and flavour, as a table in docs/kernels.md; KERNELS="7.2 7.3" tests only some
# and keeps the other rows.
KERNELS ?=
kernels: setup
	go test -count=1 -timeout 120m -parallel 2 -run TestKernels -v ./test/kernels -table $(CURDIR)/docs/kernels.md -kernels "$(KERNELS)"

# Kernels that Debian does not ship, built from its linux-source packages with the configurations of
# test/guest/custom, and what physgdb can do with each, as a table in docs/kernels-custom.md.
# CUSTOM=NAME,... does only some and prints the table.
kernels-custom:
	@sh test/guest/setup.sh custom
	@go run ./test/custom $(if $(CUSTOM),-only $(CUSTOM),-table docs/kernels-custom.md)

# The kernel modules, built for every kernel that has headers, and every way to die on one kernel of
# each series.
modules: setup
	go test -count=1 -timeout 90m -v -run TestModulesOfEveryHeaders ./test/guest -headers
	go test -count=1 -timeout 120m -v -run TestTroubleModule ./test/guest -releases 5.10,6.1,6.12,7.2,newest

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...
	go tool staticcheck ./...

# The attacks of docs/security.md on the memory of real dead machines: those that are booted, or
# IMAGE, a file with raw RAM.
IMAGE ?=
REAL = $(if $(IMAGE),-image $(abspath $(IMAGE)),-boot 6.1,6.12)
.PHONY: hostile-fuzz soak
hostile: setup
	go test -count=1 -timeout 120m -v ./test/hostile $(REAL) -table $(CURDIR)/docs/security.md

# The kernel's tables changed in MUTATIONS ways, from the seed SEED on; gdb and lldb load what comes
# out.
MUTATIONS ?= 1000
SEED ?= 1
hostile-fuzz: setup
	go test -count=1 -timeout 240m -v -run 'TestMutations$$' ./test/hostile $(REAL) -mutations $(MUTATIONS) -seed $(SEED)

# gdb, lldb and random clients at once on a server that is built with the race detector, for the
# time SOAK.
SOAK ?= 10m
soak: setup
	go test -count=1 -timeout 60m -v -run TestSoak ./test/hostile $(if $(IMAGE),$(REAL),-boot 6.12) -soak $(SOAK)

# Every fuzz target for FUZZTIME each.
FUZZTIME ?= 60s
fuzz:
	@sh test/fuzz.sh $(FUZZTIME)

# Every command on SEEDS dead machines of each kernel whose memory is broken in random places.
SEEDS ?= 5000
damage: setup
	PHYSGDB_DAMAGE=$(SEEDS) go test -run TestDamage -v -timeout 60m ./cmd/internal/target

# Stacks with code that the kernel made at run time and with replaced return addresses, on each of
# INSTRUMENTED.
INSTRUMENTED ?= 5.10 6.1 6.12 newest
.PHONY: instrumented
instrumented: setup
	PHYSGDB_INSTRUMENTED="$(INSTRUMENTED)" go test -run TestInstrumentedStacks -v -count=1 -timeout 90m ./test/e2e

# Ten million random packets, good and bad, and a hundred clients for a minute while the machine of
# one more hangs.
abuse:
	PHYSGDB_ABUSE_PACKETS=10000000 PHYSGDB_ABUSE_SECONDS=60 go test -run 'TestStorm|TestACrowd' -v -timeout 60m ./gdbstub

# What the product has to be fast at, each beside its limit measured in the same run (what=...), and
# then one in a column beside the other. More rounds make the columns tell more: BENCHCOUNT=6.
BENCHCOUNT ?= 1
bench: setup
	@mkdir -p bin && : > bin/bench.txt
	@for i in $$(seq $(BENCHCOUNT)); do \
		go test -run '^$$' -bench . -timeout 30m ./mmu ./bridge/nettlp ./test/e2e | tee -a bin/bench.txt || exit 1; \
	done
	@go tool benchstat -col /what bin/bench.txt

clean:
	rm -rf bin
