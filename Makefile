# Every target prepares what it needs: a machine with python3 (3.11 or newer) and make is enough.
PYTHON ?= python3
EXTRAS ?= local
# Installed before everything else; on a machine without a GPU name a CPU build here, e.g. PRE="torch==2.13.0".
PRE ?=
ARGS ?=
# Of the property tests: how many rounds, each from a seed of its own.
SEEDS ?= 5
# Of the fault sweeps: every how many system calls, how many damaged files, second kills and power losses.
EVERY ?= 1
CORRUPT ?= 2000
NESTED ?= 40
POWER ?= 120
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz check bench faults docs wheel clean

help: ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.venv/.ready-$(EXTRAS): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "genkit_rag needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	if [ -n "$(PRE)" ]; then $(BIN)/pip install --quiet $(PRE); fi
	$(BIN)/pip install --quiet --editable '.[$(EXTRAS)]' --group dev
	touch $@

.venv/.weights: .venv/.ready-$(EXTRAS)
	$(BIN)/genkit-rag models pull all-minilm-l6-v2 smollm2-135m
	touch $@

demo: .venv/.weights ## Ingest this project's documentation and answer a question about it, with citations
	$(BIN)/genkit-rag ingest README.md "docs/**/*.md" --store demo
	$(BIN)/genkit-rag query "What happens when the process is killed during a write?" --store demo --k 3
	$(BIN)/genkit-rag ask "Which file holds the truth of the FAISS store?" --store demo --k 3

test: .venv/.weights ## Run all tests (ARGS="tests/blocks -k filter" for some)
	$(BIN)/python -m pytest $(or $(ARGS),--cov --cov-report=term:skip-covered)

fuzz: .venv/.weights ## The property tests from new seeds, again and again (SEEDS=5)
	for round in $$(seq $(SEEDS)); do $(BIN)/python -m pytest -q -m hypothesis --hypothesis-seed=random $(ARGS) || exit 1; done

check: .venv/.ready-$(EXTRAS) ## Lint, format, mypy strict, pyright strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: .venv/.weights ## The performance suite: ratios in one run
	$(BIN)/python -m benchmarks.run $(ARGS)

faults: .venv/.ready-$(EXTRAS) ## Kill, starve and damage the store at every storage system call (needs strace)
	$(BIN)/python benchmarks/faults.py --fault KILL --every $(EVERY)
	$(BIN)/python benchmarks/faults.py --fault EIO --every $(EVERY)
	$(BIN)/python benchmarks/faults.py --fault ENOSPC --every $(EVERY)
	$(BIN)/python benchmarks/faults.py --nested $(NESTED)
	$(BIN)/python benchmarks/faults.py --power $(POWER)
	$(BIN)/python benchmarks/faults.py --corrupt $(CORRUPT)

docs: .venv/.ready-$(EXTRAS) ## Build the documentation into site/
	$(BIN)/pip install --quiet --group docs
	$(BIN)/mkdocs build --strict --quiet

wheel: .venv/.weights ## Build the wheel and run the quickstart against it in a fresh virtual environment
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --quiet
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/pip install --quiet "$$(ls dist/*.whl)[local]"
	cd samples && ../.venv-wheel/bin/python -I hello_world/main.py
	rm -rf .venv-wheel

clean: ## Remove what the targets made
	rm -rf .venv .venv-wheel dist site .coverage .mypy_cache .ruff_cache .pytest_cache .genkit_rag
