# Every step is a target; `make help` lists them.

export CGO_ENABLED ?= 0
# containers/image without gpgme and without a Docker daemon: pure Go.
export GOFLAGS := -tags=containers_image_openpgp,containers_image_docker_daemon_stub

PLUGINS := $(notdir $(patsubst %/main.go,%,$(wildcard plugins/*/main.go)))
LDFLAGS := -s -w

.PHONY: help build run demo test fuzz long bench torture soak check generate clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/iib and bin/plugins/<name>.
	@mkdir -p bin/plugins
	go build -ldflags '$(LDFLAGS)' -o bin/iib ./core/cmd/iib
	go build -ldflags '$(LDFLAGS)' -o bin/plugins/ $(addprefix ./plugins/,$(PLUGINS))

run: build ## Start the engine with the shipped configuration, and leave it running.
	bin/iib server --config iib.hcl

demo: build ## Send a request the whole way and show what comes of it.
	@go run ./docs/examples/demo --bin bin

test: ## Run every test, with the real services where they can be had.
	.ci/test

FUZZTIME ?= 5m
fuzz: build ## Fuzz the YAML editor, with the CSVs of IIB_REAL_BUNDLES as seeds too, and what the API, the intake of manifests and the composer read: each for FUZZTIME.
	go test -run '^$$' -fuzz FuzzEdit -fuzztime $(FUZZTIME) ./sdk/bundle/internal/yamledit
	go test -run '^$$' -fuzz FuzzBody -fuzztime $(FUZZTIME) ./core/api
	go test -run '^$$' -fuzz FuzzQuery -fuzztime $(FUZZTIME) ./core/api
	go test -run '^$$' -fuzz FuzzForwarded -fuzztime $(FUZZTIME) ./core/api
	go test -run '^$$' -fuzz FuzzAuthorization -fuzztime $(FUZZTIME) ./core/identity
	go test -run '^$$' -fuzz FuzzNegotiate -fuzztime $(FUZZTIME) ./core/identity
	IIB_BIN=$(CURDIR)/bin go test -run '^$$' -fuzz FuzzSubmission -fuzztime $(FUZZTIME) ./core/cmd/iib
	go test -run '^$$' -fuzz FuzzRead -fuzztime $(FUZZTIME) ./plugins/omps/internal/intake
	go test -run '^$$' -fuzz FuzzManifests -fuzztime $(FUZZTIME) ./plugins/omps/internal/manifest
	go test -run '^$$' -fuzz FuzzBlueprint -fuzztime $(FUZZTIME) ./plugins/composer/internal/blueprint
	go test -run '^$$' -fuzz FuzzSource -fuzztime $(FUZZTIME) ./plugins/composer/internal/sources
	go test -run '^$$' -fuzz FuzzPath -fuzztime $(FUZZTIME) ./plugins/composer
	go test -run '^$$' -fuzz FuzzStart -fuzztime $(FUZZTIME) ./plugins/composer

long: ## Run the long variants of tests: HISTORIES random histories (50000), all published versions, the large catalog.
	go test -timeout 3h ./sdk/catalog -run "Histories|Real" -histories $(or $(HISTORIES),50000) -real-versions 0
	go test -timeout 1h ./sdk/catalog/servecache -run VerifyAgrees -large

bench: build ## Run the benchmarks: ours, the floor and the peer side by side.
	.ci/bench

torture: build ## Kill everything at random, and set clocks, every EVERY (3s) while REQUESTS (2000) run, for TIME (2h) at most, from SEED, and print the ledger; then spoil a registry's answers.
	.ci/services
	IIB_BIN=$(CURDIR)/bin IIB_REQUIRE_REAL=1 go test -timeout 4h -run 'TestTorture$$' -v ./core/cmd/iib \
		-torture-clocks -torture-every $(or $(EVERY),3s) -torture-requests $(or $(REQUESTS),2000) -torture-time $(or $(TIME),2h) -torture-seed $(or $(SEED),0)
	IIB_BIN=$(CURDIR)/bin go test -timeout 2h -run 'TestABadRegistry$$' -v ./core/cmd/iib -registry-requests 1000 -torture-seed $(or $(SEED),0)

soak: build ## Do the same work for TIME (20m) and demand that memory stays flat; then kill the registry and shuffle its work for much longer than the tests do.
	.ci/services
	IIB_BIN=$(CURDIR)/bin IIB_REQUIRE_REAL=1 go test -timeout 0 -run 'TestSoak$$' -v ./core/cmd/iib -soak $(or $(TIME),20m)
	CGO_ENABLED=1 go test -race -timeout 2h -run 'Killed|CollectionNever' ./plugins/registry/internal/store -schedules 40 -kills 60

check: ## Generate, format, vet and tidy, and demand that nothing changed.
	.ci/check

generate: ## Generate the code of the plugin protocol.
	go generate ./sdk/...

clean: ## Remove what was built.
	rm -rf bin
