# make demo   the main job from nothing: sandbox, fault, diagnosis, rollback, evidence
# make test   lint, then all tests
# make lint   formatting, types, import layers, notebooks
# make bench  what a run costs, against papermill and kubectl
# make clean  remove caches and builds (never evidence); `make distclean` also removes .venv
#
# Everything is set up on the way, in .venv. PYTHON=python3.12 make test chooses the interpreter.

PYTHON ?= python3
WORKERS ?= 2
UV := uv==0.13.9

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
EXTRAS := .[lab,sandbox,dev]

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench clean distclean

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

setup: $(STAMP)

# An environment that lost its interpreter (a new Python, a moved folder) is laid anew, not repaired.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "setup: $(PYTHON) is $$($(PYTHON) -V 2>&1), opslib needs Python 3.11 or newer. Next: PYTHON=python3.12 make $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "setup: $(PYTHON) has no venv module. Next: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)' \
	  && $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '$(EXTRAS)'; \
	then :; else \
	  echo "setup: uv cannot do it here; pip does, more slowly" >&2; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '$(EXTRAS)'; fi
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/opslib demo

test: lint
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -q

lint: $(STAMP)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/opslib lint

bench: $(STAMP)
	@$(BIN)/python -m benchmarks.run

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis benchmarks/results
	find opslib tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
