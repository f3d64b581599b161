# Every target sets up what it needs; `make demo` and `make test` are all a newcomer has to know.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=

.PHONY: help setup demo test lint types layers unit bench docs lock clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

setup: $(STAMP)  ## Make the virtual environment

$(STAMP): pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Trimtab needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Say which: make PYTHON=python3.12 demo"; exit 1; }
	@echo "== setup: a virtual environment in $(VENV) (about half a minute the first time)"
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --requirements requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(STAMP)  ## Deploy, invoke, scale, kill and recover a real function on this machine
	@$(BIN)/python -W ignore::DeprecationWarning examples/demo.py

test: lint types layers unit  ## Everything CI does
	@echo "== all passed: lint, types, layers, tests"

lint: $(STAMP)
	@echo "== lint"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@echo "== types (mypy --strict)"
	@$(BIN)/mypy

layers: $(STAMP)
	@echo "== layers (import contracts)"
	@$(BIN)/lint-imports --no-cache

unit: $(STAMP)
	@echo "== tests, with branch coverage"
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

bench: $(STAMP)  ## Measure beside the peers and write docs/benchmarks.md
	@echo "== bench: the peers in .venv-peers, then most of an hour of measuring"
	@test -x .venv-peers/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-peers
	@$(BIN)/uv pip install --quiet --python .venv-peers/bin/python --group bench
	@$(BIN)/python -m benchmarks --write

docs: $(STAMP)  ## Write the generated references
	@$(BIN)/python -m trimtab.spec.schema --markdown > docs/spec.md
	@$(BIN)/python -m trimtab.spec.schema --json > docs/function.schema.json
	@$(BIN)/python -m trimtab.cli.reference > docs/cli.md

lock:  ## Resolve the development dependencies again
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --universal --no-emit-index-url --generate-hashes \
		--extra build --extra kafka --extra knative --extra ml --extra mqtt --extra nats --extra rabbitmq --extra redis \
		--extra zstd --group dev pyproject.toml --output-file requirements-dev.txt

clean:  ## Remove the virtual environment and all caches
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
