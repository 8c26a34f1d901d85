# Two commands for a newcomer: `make demo` runs the main job on the simulated bench, `make test` passes the tests.
# Both start from a bare checkout: they make a virtual environment in .venv and install what they need into it.

PYTHON ?= python3
VENV   := .venv
LABGRID := .venv-labgrid
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
OUT    ?= out/demo

# Numeric libraries must not start a thread per core inside every worker.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test parts check soak bench clean

help:
	@echo "make demo    drive the standard course on the simulated bench; verdict on the terminal, report in $(OUT)"
	@echo "make test    install what the tests need, then run the quality checks and all tests but the long series"
	@echo "make soak    the long series"
	@echo "make check   the quality checks alone: formatting, lint, types, import contracts"
	@echo "make bench   measure everything in benchmarks/ side by side with its peers"
	@echo "make clean   remove .venv and what was generated"

demo: $(VENV)/.installed
	$(BIN)/labctl demo --out $(OUT)

test: parts check
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not soak and not alone"
	$(BIN)/python -m pytest -m "alone and not soak"

soak: parts $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m soak --timeout 3600

parts:
	@sh tools/install-test-parts.sh

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/run.py

$(VENV)/bin/python:
	@sh tools/make-venv.sh $(PYTHON) $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing labctl into $(VENV) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing labctl and what its tests need into $(VENV) ..."
	@$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml constraints.txt | $(VENV)/.installed-dev
	@echo "installing the peers to measure against into $(VENV) ..."
	@$(PIP) --editable ".[dev,bench]"
	@# labgrid brings a fork of pyserial that overwrites ours, so it gets an environment of its own
	@test -x $(LABGRID)/bin/python || sh tools/make-venv.sh $(PYTHON) $(LABGRID)
	@$(LABGRID)/bin/python -m pip --disable-pip-version-check install --quiet "labgrid>=24.0"
	@touch $@

clean:
	rm -rf $(VENV) $(LABGRID) .appium out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
