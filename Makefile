# make demo | test | bench | soak | lint | docs | image | clean
# Nothing but git, make and a Debian is assumed; setup.sh gets the rest.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

PYTHON := .venv/bin/python
SERVER := .venv/.server-ready
DEV := .venv/.dev-ready
DEMO_DIR ?= .burst/demo
# Most tests wait for daemons, so two at a time take four fifths as long as one; a file's tests stay in one worker, in order.
TEST_WORKERS ?= -n 2 --dist loadfile --no-loadscope-reorder
# Slurm's packages and the node image are fetched once for all gateways of this checkout.
export BURST_CACHE ?= $(CURDIR)/.burst/cache

LOCK := .venv/bin/uv pip compile pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --quiet

define BUILD_IMAGE
from pathlib import Path
from gateway.provisioning.node_image import NodeImage
from gateway.settings import Settings
settings = Settings(directory=Path(".burst/demo"))
print(NodeImage(settings.cache_dir, settings.image_suite, settings.image_packages).build(print))
endef
export BUILD_IMAGE

.PHONY: help demo test test-long bench soak lint docs screenshots lock image clean

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

demo: $(SERVER) ## take one real job through the whole gateway
	@$(PYTHON) -m gateway.cli demo --dir $(DEMO_DIR)

test: $(DEV) ## run every test
	@$(PYTHON) -m pytest $(TEST_WORKERS) $(PYTEST_ARGS)

test-long: $(DEV) ## run the tests that make test leaves out: chaos, many nodes, virtual machines, OpenStack
	@$(PYTHON) -m pytest -m long $(PYTEST_ARGS)

bench: $(DEV) ## measure submissions, cold start, many nodes; write docs/benchmarks.md
	@$(PYTHON) -m bench

soak: $(DEV) ## simulate a million node-events with random faults; SEED=N repeats a run
	@$(PYTHON) -m bench.soak $(if $(SEED),--seed $(SEED)) $(SOAK_ARGS)

lint: $(DEV) ## ruff, mypy and the import contracts
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

docs: $(DEV) ## write docs/commands.md from the commands
	@$(PYTHON) docs/generate.py

screenshots: $(DEV) ## take docs/screenshots from a gateway that runs the examples
	@$(PYTHON) docs/screenshots.py

lock: ## resolve pyproject.toml anew into the lock files
	@$(LOCK) --extra server --extra notebook --extra postgres --extra dev -o requirements-dev.lock
	@$(LOCK) --extra server --extra postgres -c requirements-dev.lock -o requirements.lock

image: $(SERVER) ## build the node image into the cache
	@$(PYTHON) -c "$$BUILD_IMAGE"

clean: ## take the demo's gateway down, remove what was made
	@if [ -x $(PYTHON) ] && [ -d $(DEMO_DIR) ]; then $(PYTHON) -m gateway.cli down --dir $(DEMO_DIR); fi
	@rm -rf .burst .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis dist

$(SERVER): requirements.lock requirements-uv.lock pyproject.toml setup.sh
	@./setup.sh requirements.lock $@

$(DEV): requirements-dev.lock requirements-uv.lock pyproject.toml setup.sh
	@./setup.sh requirements-dev.lock $@
	@touch $(SERVER)
