# `make help` lists the targets. On a fresh machine with Go, gcc, git, make and root, each installs what it misses.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS := -s -w -X main.version=$(VERSION)
GO      ?= go
# Fuzzing time for each target, in minutes.
MINUTES ?= 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/kritis, static, for this machine; bin/kubectl-kritis is the same as a plugin of kubectl
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/kritis ./cmd/kritis
	ln -sf kritis bin/kubectl-kritis

# What the commands below need, built once. A node takes minutes less than a whole cluster.
.PHONY: node-tools cluster-tools test-tools
node-tools:
	@test/tools/install containerd-2.4 containerd-2.3 cosign
cluster-tools: node-tools
	@test/tools/install kubernetes controller-gen helm
test-tools: cluster-tools
	@test/tools/install containerd-2.2 containerd-2.1 govulncheck

.PHONY: test
test: test-tools ## all tests, with the race detector; real containerd, registries, cosign
	$(GO) vet ./...
	test/supply/vulncheck --tolerate-outage
	@# What runs whole nodes runs after the rest, which would take their processor, and in pairs: nodes wait more than they compute.
	CGO_ENABLED=1 $(GO) test -race -timeout 30m $$($(GO) list ./... | grep -vE '/test/|/live$$')
	CGO_ENABLED=1 $(GO) test -race -timeout 60m -p 2 $$($(GO) list ./... | grep -E '/test/|/live$$')

.PHONY: generate
generate: ## make the CRDs and DeepCopy functions from policyagent/api
	"$$(test/tools/install --print-dir controller-gen)/controller-gen" object crd:maxDescLen=1000 paths=./policyagent/api/v1beta1 \
		output:crd:dir=daemonset/chart/crds output:object:dir=policyagent/api/v1beta1

.PHONY: lint
lint: ## golangci-lint and gofmt
	@test -z "$$(gofmt -l .)" || { echo "run gofmt -w on:"; gofmt -l .; exit 1; }
	@lint="$$(test/tools/install --print-dir golangci-lint)" && "$$lint/golangci-lint" run ./...
	$(GO) mod tidy -diff
	@# kubectl-kritis is for workstations of other systems too.
	GOOS=darwin CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/kritis

.PHONY: vulncheck
vulncheck: ## look what the programs are made of up in Go's vulnerability database; exit code 2: could not tell
	@test/supply/vulncheck

.PHONY: fuzz
fuzz: ## run every fuzz target for MINUTES minutes each (0.1 is fine); exit code 1 if one fails
	@$(GO) mod download
	@$(GO) run ./test/fuzz -minutes '$(MINUTES)'

# SEED replays a plan; without it each run has another.
SEED ?= 0
.PHONY: soak
soak: MINUTES := 10
soak: cluster-tools ## a whole cluster under load and faults for MINUTES (10) minutes; SEED replays; exit code 1 if anything unattested ran, or attested did not
	@$(GO) mod download
	@$(GO) run ./test/faults/soak -minutes '$(MINUTES)' -seed '$(SEED)'

.PHONY: bench
bench: cluster-tools ## measure against a baseline in the same run
	@$(GO) mod download
	$(GO) run ./test/bench

.PHONY: demo
demo: cluster-tools ## see it work in a real Kubernetes, beside what kritis-validation-hook does; two minutes once all is built
	@$(GO) mod download
	@$(GO) run ./test/demo

.PHONY: demo-node
demo-node: node-tools ## see it work on one node, on a real containerd, in about two minutes
	@$(GO) run ./test/demo/node

# PUSH names a reference to push to, with the credentials of the Docker config.
OUTPUT ?= bin/image.tar
.PHONY: image
image: ## make the container image, amd64 and arm64, as OUTPUT (bin/image.tar), with a bill of materials beside it; PUSH=reference pushes both
	@$(GO) run ./daemonset/image/makeimage -version '$(VERSION)' -output '$(OUTPUT)' $(if $(PUSH),-push '$(PUSH)')

# DIGEST is that of a published image. VERSION as it was published.
.PHONY: reproducible
reproducible: ## build the image twice with nothing in common and compare; DIGEST=sha256:… compares with that one too
	@VERSION='$(VERSION)' test/supply/reproducible $(DIGEST)

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin coverage.out
