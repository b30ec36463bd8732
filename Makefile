# The few commands of the project. Each sets up what it needs in .venv, from nothing but Python 3.10+ and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.stamp-core
DEV := $(VENV)/.stamp-dev
PIP := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench soak release-check release clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

demo: $(if $(wildcard $(DEV)),$(DEV),$(CORE)) ## a real model on a simulated sensor, monitored end to end (under a minute)
	@$(BIN)/edge-mlops-monitor demo

test: $(DEV) ## the tests and the examples in the docstrings
	@$(BIN)/python -m pytest -m "not soak"
	@git describe --always --abbrev=40 --dirty --exclude '*' > $(VENV)/.tested 2>/dev/null || true

lint: $(DEV) ## ruff and mypy --strict
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

docs: $(DEV) ## the documentation site, built strictly into site/ (open site/index.html)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(DEV) ## what it costs: time, memory, bytes, each beside its floor
	@$(BIN)/python benchmarks/run.py

soak: $(DEV) ## the tests that take longer than a minute each
	@$(BIN)/python -m pytest -m soak

release-check: $(DEV) ## a release rehearsed on local indexes, in a clone
	@$(BIN)/python -m release rehearse

release: $(DEV) ## release VERSION=x.y.z, or go on where it stopped (docs/publishing.md)
	@$(BIN)/python -m release run '$(VERSION)' --publish '$(or $(PUBLISH),here)'

clean: ## remove what the commands made
	rm -rf $(VENV) $(VENV)-3.* $(VENV)-peer* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or later is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "this Python cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }

$(CORE): pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV)"
	@$(PIP) -e .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) with all that the tests need (a few minutes the first time)"
	@$(PIP) -e '.[dev]'
	@touch $(CORE) $@
