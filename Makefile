# make demo   panics a real kernel and shows a gdb session on what is left of it
# make test   runs every test, those on real kernels and real debuggers among them
.PHONY: build demo test lint fuzz bench setup clean

build:
	go build -o bin/ ./cmd/physgdb

# What the demo and the tests need beside Go: Debian packages, by apt-get, as far as they are missing.
setup:
	@sh test/guest/setup.sh

# RELEASE is 6.1 or 6.12; LA57=1 gives 5-level paging, PTI=1 page-table isolation.
RELEASE ?= 6.1
demo: setup build
	@go run ./test/demo -release $(RELEASE) $(if $(LA57),-la57) $(if $(PTI),-pti)

test: setup lint
	go test -race -timeout 20m ./...

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...
	go tool staticcheck ./...

# Every fuzz target for FUZZTIME each.
FUZZTIME ?= 60s
fuzz:
	@sh test/fuzz.sh $(FUZZTIME)

# What the product has to be fast at, each beside its limit measured in the same run. Pipe it to benchstat.
BENCHCOUNT ?= 1
bench: setup
	@go test -run '^$$' -bench . -benchtime 1s -count $(BENCHCOUNT) -timeout 30m ./mmu ./bridge/... ./gdbstub/... ./test/e2e

clean:
	rm -rf bin
