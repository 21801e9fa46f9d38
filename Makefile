# fractal-ray: everything starts here. Needs python3 >= 3.11 with venv, and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Two processes, each taking whole files, because fixtures of a file are made once; in their own
# order, because the long ones come early in it.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all lint check clean

demo: $(VENV)/.installed  ## install, run the quickstart sweep, say where figure and dataset are
	$(BIN)/fractal-ray run sweeps/quickstart.yaml

test: $(VENV)/.installed-dev  ## the gate: minutes
	$(PYTEST)

test-all: $(VENV)/.installed-dev  ## the gate and the slow proofs
	$(PYTEST) -m 'slow or not slow'

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

check: lint test

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fractal-ray needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are remade when the dependencies change.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
