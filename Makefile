# `make say` and `make test` need nothing but Python >= 3.11: they install into .venv on their first run (some GB, for torch).

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
TEXT ?= The birch canoe slid on the smooth planks.
export OMP_NUM_THREADS ?= 2

# The text reaches the shell as an environment variable, as it was typed: quotes, dollars and backslashes in it mean nothing.
export SAY_TEXT := $(value TEXT)
unexport TEXT

.DEFAULT_GOAL := help
.PHONY: help say test lint eval train-builtin clean

help:
	@echo 'make say TEXT="Hello there."   speak: writes out.wav'
	@echo 'make test                      all tests'
	@echo 'make lint                      ruff and mypy'
	@echo 'make eval LIST=dev.jsonl       WER, speaker similarity, DNSMOS and real-time factor of the built-in voice'
	@echo 'make train-builtin             how to train the built-in voice'
	@echo 'make clean                     remove .venv and build products'

say: $(VENV)/.installed
	@$(VENV)/bin/tts-fm say -o out.wav -- "$$SAY_TEXT"

test: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest -q $(ARGS)

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

eval: $(VENV)/.installed-eval
	@test -n "$(LIST)" || { echo 'make eval LIST=path/to/dev.jsonl [ARGS="..."]' >&2; exit 2; }
	$(VENV)/bin/tts-fm eval $(LIST) $(ARGS)

train-builtin: $(VENV)/.installed-dev
	@echo 'The built-in voice is trained by the scripts of recipes/builtin, each of which resumes where it was stopped:'
	@ls recipes/builtin/*.py | sed 's|^|  $(VENV)/bin/python |; s|$$| --help|'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version 2>&1) is too old; Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp is written only after pip has succeeded, and is older than pyproject.toml whenever the requirements have changed.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[dev]"
	@touch $(VENV)/.installed $@

$(VENV)/.installed-eval: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[eval]"
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
