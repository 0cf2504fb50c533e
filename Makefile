# A machine with python3 (3.11 or newer) and make is enough: every target installs what it needs into .venv.
PYTHON ?= python3
# Everything but torch, which is large. TORCH=1 adds it; any other value is installed first, to choose the build:
# TORCH=torch==2.13.0, or TORCH="torch --index-url https://download.pytorch.org/whl/cpu" on Linux without a GPU.
TORCH ?=
# Arguments of the program that the target runs, for example ARGS="tests/rag -k filter".
ARGS ?=
# Test processes. `auto` starts one per core.
WORKERS ?= auto
# Of `make fuzz`: the number of rounds, each with a new random seed.
SEEDS ?= 5
# Of `make faults`: test every n-th system call, and the numbers of corrupted files, second kills and power losses.
EVERY ?= 1
CORRUPT ?= 2000
NESTED ?= 40
POWER ?= 120
# Exact versions that were tested together. CONSTRAINTS= installs the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
# Of `make mutants`: the number of faults, the seed of the sample, and the tests that judge a fault (nearest or all).
MUTANTS ?= 20
SEED ?= 1
JUDGE ?= nearest
# The virtual environment that the targets make and use.
VENV ?= .venv
BIN := $(VENV)/bin

INSTALL := $(BIN)/pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n $(WORKERS) --dist loadfile
READY := $(VENV)/.ready$(if $(TORCH),-torch)
WEIGHTS := $(VENV)/.weights$(if $(TORCH),-torch)

.DEFAULT_GOAL := help
.PHONY: help demo test docs-test test-newest test-oldest fuzz mutants check bench faults constraints llms changelog docs wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/.local: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "genkit_rag needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) --editable '.[local]'
	touch $@

$(VENV)/.local-weights: $(VENV)/.local
	$(BIN)/genkit-rag models pull all-minilm-l6-v2 smollm2-135m
	touch $@

$(VENV)/.ready: $(VENV)/.local
	$(INSTALL) --editable '.[local,dev,testing,chroma,pgvector]' --group dev
	touch $@

$(VENV)/.ready-torch: $(VENV)/.ready
	$(if $(filter-out 1,$(TORCH)),$(BIN)/pip install --quiet $(TORCH))
	$(INSTALL) --editable '.[all]'
	touch $@

$(VENV)/.weights: $(VENV)/.ready $(VENV)/.local-weights
	touch $@

$(VENV)/.weights-torch: $(VENV)/.ready-torch $(VENV)/.local-weights
	$(BIN)/genkit-rag models pull all-minilm-l6-v2-torch
	touch $@

demo: $(VENV)/.local-weights ## Ingest the documentation of this project and answer a question about it, with citations
	$(BIN)/genkit-rag ingest README.md "docs/**/*.md" --store demo
	$(BIN)/genkit-rag query "What happens when the process is killed during a write?" --store demo --k 3
	$(BIN)/genkit-rag ask "Which file is the source of truth of the FAISS store?" --store demo --k 3

test: $(WEIGHTS) ## Run all tests with coverage (some: ARGS="tests/rag -k filter"; with torch: TORCH=1)
	$(PYTEST) $(or $(ARGS),$(PARALLEL) --cov --cov-report=term:skip-covered)

docs-test: $(WEIGHTS) ## Run the code of every documentation page against the built wheel and the extras that it names
	$(PYTEST) tests/docs $(or $(ARGS),$(PARALLEL))

test-newest: ## Run all tests with the newest versions that pyproject.toml allows, in .venv-newest
	$(MAKE) test CONSTRAINTS= VENV=.venv-newest

test-oldest: $(READY) ## Run all tests with the oldest versions that pyproject.toml allows, in .venv-oldest
	$(BIN)/python scripts/constraints.py --resolution lowest-direct --output oldest.txt
	$(MAKE) test CONSTRAINTS=oldest.txt VENV=.venv-oldest

fuzz: $(WEIGHTS) ## Run the property tests with new random seeds (SEEDS=5 rounds)
	for round in $$(seq $(SEEDS)); do $(BIN)/python -m pytest -q -m hypothesis --hypothesis-seed=random $(ARGS) || exit 1; done

mutants: $(WEIGHTS) ## Put MUTANTS=20 random faults into the product and count those that the nearest tests notice (SEED=1, JUDGE=all)
	$(BIN)/python scripts/mutants.py --number $(MUTANTS) --seed $(SEED) --judge $(JUDGE) $(ARGS)

check: $(READY) ## Lint, check the format and the types (mypy and pyright, both strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(WEIGHTS) ## Run the benchmarks
	$(BIN)/python -m benchmarks.run $(ARGS)

faults: $(READY) ## Inject faults into the FAISS store at every storage system call (needs strace)
	$(BIN)/python benchmarks/faults.py --fault KILL --every $(EVERY)
	$(BIN)/python benchmarks/faults.py --fault EIO --every $(EVERY)
	$(BIN)/python benchmarks/faults.py --fault ENOSPC --every $(EVERY)
	$(BIN)/python benchmarks/faults.py --nested $(NESTED)
	$(BIN)/python benchmarks/faults.py --power $(POWER)
	$(BIN)/python benchmarks/faults.py --corrupt $(CORRUPT)

constraints: $(READY) ## Renew constraints.txt: the newest versions that pyproject.toml allows
	$(BIN)/python scripts/constraints.py

llms: $(READY) ## Renew genkit_rag/llms.txt and llms-full.txt from the docstrings and the documentation
	$(BIN)/python scripts/llms.py

changelog: $(READY) ## Print the changelog of the next release from the fragments in changelog.d
	$(BIN)/towncrier build --draft --version next

docs: $(READY) ## Build the documentation into site/
	$(INSTALL) --group docs
	$(BIN)/mkdocs build --strict --quiet

wheel: $(WEIGHTS) ## Build the wheel and run the quickstart against it in a fresh virtual environment
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --quiet
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/pip install --quiet "$$(ls dist/*.whl)[local]"
	cd samples && ../.venv-wheel/bin/python -I hello_world/main.py
	rm -rf .venv-wheel

clean: ## Delete everything that the targets create
	rm -rf .venv .venv-* dist site .coverage .mypy_cache .ruff_cache .pytest_cache .genkit_rag
