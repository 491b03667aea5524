# Copyright The pipedream-operator Authors.
# SPDX-License-Identifier: Apache-2.0

.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash -o pipefail

TOOL := go tool -modfile=hack/tools/go.mod
LINT := $(TOOL) golangci-lint-kube-api-linter

##@ Try it

.PHONY: demo
demo: build control-plane ## Show all that the operator does, on a real kube-apiserver. With ONCE=1 it ends after the story.
	@KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" bin/demo $(if $(ONCE),--once)

.PHONY: run
run: build ## Run the manager on this machine, against the cluster of your kubeconfig. ARGS adds flags.
	bin/manager --metrics-bind-address=0 $(ARGS)

##@ Develop

.PHONY: test
test: control-plane ## Run all tests, with the race detector, on a real etcd and kube-apiserver.
	KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" go test -race -shuffle=on ./...

.PHONY: test-argocd
test-argocd: ## Judge recorded PipedreamTokens with Argo CD's own code. The first time it compiles for minutes.
	go -C test/argocd test ./...

.PHONY: chaos
chaos: build control-plane ## Break all around the operator at random, and check its promises. DURATION=10m, SEED=any.
	@KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" bin/chaos --duration=$(or $(DURATION),10m) --seed=$(or $(SEED),0) $(ARGS)

.PHONY: bench
bench: build control-plane ## Measure what the manager costs, on a real kube-apiserver. CASE picks cases, ARGS adds flags.
	go build -o bin/ ./test/bench
	@KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" bin/bench --case="$(CASE)" $(ARGS)

.PHONY: build
build: ## Build the manager, the simulator, the demo and the chaos run into bin/.
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/ ./cmd/manager ./cmd/simulator
	go build -o bin/ ./hack/demo ./test/chaos

.PHONY: generate
generate: ## Make what is made from the API's types: deepcopy, apply configurations, CRD, RBAC rules.
	$(TOOL) controller-gen object:headerFile=hack/boilerplate.go.txt \
		applyconfiguration:headerFile=hack/boilerplate.go.txt crd rbac:roleName=manager paths=./... \
		output:crd:dir=config/crd/bases output:rbac:dir=config/rbac

.PHONY: lint
lint: ## Run the linters: golangci-lint on all code, kube-api-linter on the API's types.
	$(LINT) run
	$(LINT) run --config=.golangci-kal.yml ./api/...

.PHONY: verify
verify: ## Check that all that is generated is up to date, that go.mod is tidy, and that the linters are content.
	hack/verify

.PHONY: control-plane
control-plane: ## Put etcd, kube-apiserver, kube-controller-manager and kubectl into bin/k8s. The first time takes minutes.
	@hack/cluster/control-plane

.PHONY: clean
clean: ## Remove all that was built, the control plane too.
	rm -rf bin

.PHONY: help
help: ## Show this.
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
