# Every target sets up what it needs by itself: a virtual environment in .venv with the versions of constraints.txt.
# It takes Python >= 3.11 and make, and the network only until everything is installed.

PYTHON ?= python3
# A new directory every time: nothing is ever written over.
DEMO ?= examples/dis_pythia.yaml
DEMO_NAME := demo-$(shell date +%Y%m%d-%H%M%S)
JOBS ?= 2
TEST ?=
BENCHMARKS ?= benchmarks/samplers/gradient.py benchmarks/samplers/speed.py benchmarks/grid_shift.py benchmarks/training_step.py benchmarks/fit_quality.py

VENV := .venv
BIN := $(VENV)/bin

# Installed once per content of the two files, whatever their dates.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
CORE := $(VENV)/.installed-core-$(KEY)
DEV := $(VENV)/.installed-dev-$(KEY)
DOCS := $(VENV)/.installed-docs-$(KEY)

# Both names: which of the two reaches the isolated build depends on the version of pip.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint format bench docs clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(CORE) ## run the main job: parton densities from 600,000 deep-inelastic events, with a report and a set for LHAPDF
	$(BIN)/unscatter solve $(DEMO) --run runs/$(DEMO_NAME)
	$(BIN)/unscatter export lhapdf runs/$(DEMO_NAME) --name unscatter_demo_lo -o runs/$(DEMO_NAME)

test: $(DEV) ## run the tests and the examples of the docstrings (TEST='-k sampler' for some, JOBS=0 for a single process)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses $(JOBS) $(TEST)

lint: $(DEV) ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(DEV) ## rewrite the source in the common format
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

bench: $(DEV) ## run the benchmarks and print their figures (BENCHMARKS=benchmarks/name.py for one)
	@test -n "$(BENCHMARKS)" || { echo "There is no benchmark to run in benchmarks/." >&2; exit 1; }
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script"; done

docs: $(DOCS) ## build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html."

clean: ## remove what was built, but not the virtual environment and not the runs
	rm -rf build dist docs/_build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environment as well
	rm -rf $(VENV)

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "There is no '$(PYTHON)' on the PATH. Install Python 3.11 or newer, or name yours: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "unscatter needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "'$(PYTHON) -m venv' failed. Debian and Ubuntu keep it in a package of its own: python3-venv." >&2; exit 1; }

$(CORE): | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(DEV): | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $(CORE) $@

$(DOCS): | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	@touch $(CORE) $@
