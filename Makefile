# Copyright The pipedream-operator Authors.
# SPDX-License-Identifier: Apache-2.0

.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash -o pipefail

TOOL := go tool -modfile=hack/tools/go.mod
LINT := $(TOOL) golangci-lint-kube-api-linter

# The names and the version of a release, and the folder for its files.
IMAGE ?= ghcr.io/pipedream-operator/pipedream-operator
VERSION ?= dev
IMG ?= $(IMAGE):$(VERSION)
ARCH ?= $(shell go env GOARCH)
DIST ?= dist
CHARTS ?= oci://ghcr.io/pipedream-operator/charts

# The kubectl to use, and whether a target ignores that an object to delete does not exist.
KUBECTL ?= kubectl
ignore-not-found ?= false

# $(call config,KUBECTL,IMAGE) prints config/default with another image.
config = $(1) kustomize config/default | sed -E 's|^( *image: ).*|\1$(2)|'

# Builds record the commit and its time, so that they are reproducible.
REVISION ?= $(shell git rev-parse HEAD)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

##@ Try it

.PHONY: demo
demo: build control-plane ## Show what the operator does, on a real kube-apiserver. With ONCE=1 it ends after the last part.
	@KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" bin/demo $(if $(ONCE),--once)

.PHONY: run
run: build ## Run the manager on this machine, against the cluster of your kubeconfig. ARGS adds flags.
	bin/manager --metrics-bind-address=0 $(ARGS)

##@ Develop

.PHONY: test
test: control-plane bin/helm ## Run all tests, with the race detector, on a real etcd and kube-apiserver.
	KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" go test -race -shuffle=on -timeout=30m ./...
	go -C hack/crds test -race -shuffle=on ./...

.PHONY: test-argocd
test-argocd: ## Test recorded objects with Argo CD's own code. The first time it compiles for minutes.
	@# Run the tests each time: the cache of test results does not notice changed files outside of the module.
	go -C test/argocd test -count=1 ./...

.PHONY: consumers
consumers: ## Run the programs of docs/guides. Installs curl, python3 and node if they are missing.
	@hack/consumers

.PHONY: e2e
e2e: ## Prove on a whole cluster that pods always have a token that works. Uses KUBECONFIG, or kind, or as root a node.
	@IMAGE=$(IMAGE) VERSION=$(VERSION) hack/e2e

.PHONY: cluster
cluster: ## Run a Kubernetes cluster of one node on this machine, as root on Debian. Prints the path of a kubeconfig.
	@test/node/run up

.PHONY: cluster-down
cluster-down: ## End the cluster of make cluster, and remove its files.
	@test/node/run down

.PHONY: test-prometheus
test-prometheus: control-plane ## Test the alerts and the dashboard with the real Prometheus. Downloads Debian's Prometheus if it is missing.
	hack/prometheus
	KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" go test -count=1 -tags prometheus ./test/prometheus

.PHONY: test-upgrade
test-upgrade: control-plane ## Switch from the previous version of the operator to this tree and back, with live objects in every state.
	KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" go test -count=1 -timeout=20m -v -tags upgrade ./test/upgrade

.PHONY: chaos
chaos: build control-plane ## Disturb the operator and its environment at random, and check its promises. DURATION=10m, SEED=any.
	@KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" bin/chaos --duration=$(or $(DURATION),10m) --seed=$(or $(SEED),0) $(ARGS)

.PHONY: bench
bench: build control-plane ## Measure what the manager costs, on a real kube-apiserver. CASE picks cases, ARGS adds flags.
	go build -o bin/ ./test/bench
	@KUBEBUILDER_ASSETS="$$(hack/cluster/control-plane)" bin/bench --case="$(CASE)" $(ARGS)

.PHONY: build
build: ## Build the manager, the simulator, the plugin of kubectl, the demo and the chaos run into bin/.
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/ ./cmd/manager ./cmd/simulator ./cmd/kubectl-pipedream
	go build -o bin/ ./test/demo ./test/chaos

.PHONY: generate
generate: manifests ## Generate files from code: all of make manifests, deepcopy, apply configurations, the docs' tables of reasons.
	$(TOOL) controller-gen object:headerFile=hack/boilerplate.go.txt \
		applyconfiguration:headerFile=hack/boilerplate.go.txt paths=./...
	go run ./hack/reasons

.PHONY: manifests
manifests: ## Generate the CRDs and the RBAC rules, and copy files into the chart.
	$(TOOL) controller-gen crd rbac:roleName=manager paths=./... output:crd:dir=config/crd/bases output:rbac:dir=config/rbac
	@# Helm reads no file outside of a chart, so the chart needs copies.
	cp config/crd/bases/*.yaml charts/pipedream-operator/files/crds/
	cp config/rbac/role.yaml config/rbac/aggregated_roles.yaml charts/pipedream-operator/files/
	cp config/policy/require_scopes.yaml config/policy/refuse-api-keys/refuse_api_keys.yaml charts/pipedream-operator/files/
	cp config/prometheus/rule.yaml config/prometheus/dashboard.json charts/pipedream-operator/files/

.PHONY: lint
lint: ## Run the linters: golangci-lint on all code, kube-api-linter on the API's types, actionlint and shellcheck on the rest.
	hack/workflows/check
	$(LINT) run
	$(LINT) run --config=.golangci-kal.yml ./api/...
	for module in hack/crds hack/release test/argocd; do \
		(cd $$module && go tool -modfile=../../hack/tools/go.mod golangci-lint-kube-api-linter run --config=../../.golangci.yml) || exit; \
	done

.PHONY: verify
verify: ## Check that generated files and go.mod are up to date, that no CRD breaks its users, and that the linters find nothing.
	hack/verify

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in the code that is used. Needs https://vuln.go.dev, or ARGS=-db=URL.
	$(TOOL) govulncheck $(ARGS) ./...
	$(TOOL) govulncheck $(ARGS) -C hack/release ./...

.PHONY: control-plane
control-plane: ## Put etcd, kube-apiserver, kube-controller-manager and kubectl into bin/k8s. The first time takes minutes.
	@hack/cluster/control-plane

bin/helm: hack/tools/go.mod
	go build -modfile=hack/tools/go.mod -trimpath -o bin/helm helm.sh/helm/v4/cmd/helm

.PHONY: clean
clean: ## Remove everything that was built, including the control plane.
	rm -rf bin

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Deploy, to the cluster of your kubeconfig: IMG is the image, KUBECTL the kubectl; ignore-not-found=true ignores missing objects

.PHONY: install
install: manifests ## Install the CRDs.
	$(KUBECTL) apply --kustomize config/crd

.PHONY: uninstall
uninstall: manifests ## Remove the CRDs, and with them all objects of the operator and their Secrets.
	$(KUBECTL) delete --kustomize config/crd --ignore-not-found=$(ignore-not-found)

.PHONY: deploy
deploy: manifests ## Install the CRDs and the operator, for the whole cluster.
	$(call config,$(KUBECTL),$(IMG)) | $(KUBECTL) apply --filename -

.PHONY: undeploy
undeploy: ## Remove the operator and the CRDs, and with them all objects of the operator and their Secrets.
	$(KUBECTL) delete --kustomize config/default --ignore-not-found=$(ignore-not-found)

##@ Deliver: IMAGE and VERSION name the images, ARCH is their architecture

.PHONY: installer
installer: control-plane ## Write dist/install.yaml: the operator for the whole cluster.
	@mkdir -p "$(DIST)"
	$(call config,"$$(hack/cluster/control-plane)/kubectl",$(IMAGE):$(VERSION)) >"$(DIST)/install.yaml"

.PHONY: image
image: ## Build the images of manager and simulator, with docker, podman or buildah.
	VERSION=$(VERSION) REVISION=$(REVISION) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) ARCH=$(ARCH) hack/image manager $(IMAGE):$(VERSION)
	VERSION=$(VERSION) REVISION=$(REVISION) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) ARCH=$(ARCH) hack/image simulator $(IMAGE)-simulator:$(VERSION)

.PHONY: docker-build
docker-build: ## Build the image of the manager as IMG, with docker, podman or buildah.
	VERSION=$(VERSION) REVISION=$(REVISION) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) ARCH=$(ARCH) hack/image manager $(IMG)

.PHONY: image-tar
image-tar: binaries ## Write the same images into dist/ as archives to load. Needs no engine and no base image.
	$(foreach program,manager simulator,go -C hack/release run ./image --binary="$$(realpath "$(DIST)")/bin/$(ARCH)/$(program)" --arch=$(ARCH) \
		--reference=$(IMAGE)$(if $(filter simulator,$(program)),-simulator):$(VERSION) --version=$(VERSION) --revision=$(REVISION) \
		--created=$(SOURCE_DATE_EPOCH) --out="$$(realpath "$(DIST)")/image-$(program)-$(ARCH).tar" &&) true

.PHONY: binaries
binaries: # The binaries of a release. The Dockerfile has the same flags.
	@mkdir -p "$(DIST)/bin/$(ARCH)"
	CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=$(VERSION) -X main.commit=$(REVISION)" \
		-o "$(DIST)/bin/$(ARCH)/" ./cmd/manager ./cmd/simulator

.PHONY: release
release: control-plane bin/helm ## Write the files of a release into dist/: installer, chart, images, bills of materials, checksums. VERSION=v1.2.3
	@VERSION=$(VERSION) IMAGE=$(IMAGE) DIST="$(DIST)" REVISION=$(REVISION) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) hack/release/release

.PHONY: publish
publish: ## Push the images of dist/ to IMAGE's registry, and the chart to CHARTS. VERSION=v1.2.3
	@VERSION=$(VERSION) IMAGE=$(IMAGE) DIST="$(DIST)" CHARTS=$(CHARTS) DIGESTS="$(DIGESTS)" HELM_PUSH_ARGS="$(HELM_PUSH_ARGS)" hack/release/publish

.PHONY: sign
sign: ## Sign checksums, images and chart with cosign, in GitHub Actions only. DIGESTS is the file that make publish wrote.
	@DIST="$(DIST)" DIGESTS="$(DIGESTS)" SIGN_ARGS="$(SIGN_ARGS)" hack/release/sign

.PHONY: test-release
test-release: control-plane bin/helm ## Make a release twice, compare the two, and push it to a registry on this machine.
	go -C hack/release test -race ./...
	hack/release/test

.PHONY: test-image
test-image: ## Build the Dockerfile with buildah, and check that it makes the same binaries. Installs buildah if it is missing.
	hack/release/test-image
