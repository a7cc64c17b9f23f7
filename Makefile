# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv by themselves.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# Tests and training processes share the cores: one thread each is faster than threads that wait for each other.
TEST_ENV := OMP_NUM_THREADS=1
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest -q -n $(WORKERS)

.PHONY: help venv demo test test-all fingerprint lint format site clean

help:
	@echo "make demo         train on the bundled dictionary for a few minutes and look at the result"
	@echo "make test         the quick tests, about two minutes"
	@echo "make test-all     all tests, about ten minutes"
	@echo "make lint         ruff and mypy"
	@echo "make site         the pages of docs/, a reference and all errors, as HTML in build/site"
	@echo "make fingerprint  the first 50 losses of every recipe whose data is here, against the recorded ones"
	@echo "make venv         the environment alone: $(VENV)"

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt hatch_build.py $(wildcard src/regard/ops/*.c src/regard/ops/*.h) src/regard/ops/build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Regard needs Python 3.11 or newer; choose one with: make PYTHON=python3.11 ..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Regard and its libraries into $(VENV) (minutes the first time)"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: venv
	@$(BIN)/regard demo

test: venv
	$(PYTEST) -m "not slow"

test-all: venv
	$(PYTEST)

fingerprint: venv
	$(BIN)/python -m benchmarks.fingerprint

lint: venv
	$(BIN)/ruff check .
	$(BIN)/mypy

site: venv
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html docs build/site
	@echo "build/site/README.html"

format: venv
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
