# `make say` and `make test` need nothing but Python >= 3.11: they install into .venv on their first run. Speaking takes
# 0.2 GB; testing everything takes some GB, for torch.

PYTHON ?= python3
VENV := .venv
LIGHT := .venv-light
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
TEXT ?= The birch canoe slid on the smooth planks.
export OMP_NUM_THREADS ?= 2

# Tests that import no torch; they are part of `make test` too.
LIGHT_TESTS := $(patsubst %,tests/test_%.py,light builtin audio_joints audio_prompt hub text_markup text_normalise \
  text_phonemes text_plain text_split text_subtitles rooms settings sdist) \
  $(shell grep -LE "import torch|data.batches" tests/known_issues/test_*.py)

# The text reaches the shell as an environment variable, as it was typed: quotes, dollars and backslashes mean nothing.
export SAY_TEXT := $(value TEXT)
unexport TEXT

.DEFAULT_GOAL := help
.PHONY: help say test test-browser test-light test-compile abuse lint eval train-builtin docs notebooks newcomer audit \
  container release clean

help:
	@echo 'make say TEXT="Hello there."   speak: writes out.wav'
	@echo 'make test                      all tests but those in a browser, of compiling and the slow ones'
	@echo 'make test-browser              the demo in chromium'
	@echo 'make test-light                those of speaking without torch, in an environment of their own'
	@echo 'make test-compile              torch.compile on the CPU (minutes)'
	@echo 'make abuse                     the slow tests of what attacks and faults do, with a table'
	@echo 'make lint                      ruff and mypy'
	@echo 'make eval LIST=dev.jsonl       WER, speaker similarity, DNSMOS and real-time factor of the built-in voice'
	@echo 'make train-builtin             how to train the built-in voice'
	@echo 'make docs                      the documentation as a site, in site/'
	@echo 'make notebooks                 run docs/*.ipynb from their first cell to their last'
	@echo 'make newcomer                  an empty clone, and in it every command of README and docs/start.md'
	@echo 'make audit                     known holes and licences of what `pip install .` brings'
	@echo 'make container                 the steps of the Dockerfile: build, speak, serve, measure'
	@echo 'make release                   check everything, then build wheel and sdist into dist/'
	@echo 'make clean                     remove .venv and build products'

say: $(VENV)/.installed
	@$(VENV)/bin/tts-fm say -o out.wav -- "$$SAY_TEXT"

# Three tests at a time, for some of them wait, each on one thread that does not spin while it waits; those of one file
# stay together.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python -m pytest -q -n 3 --dist loadfile \
	  --no-loadscope-reorder --ignore tests/browser $(ARGS)

# The demo in chromium, alone: beside other tests a browser takes four times as long. Where there is none, its modules
# are skipped whole, which pytest calls "nothing collected": status 5.
test-browser: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python -m pytest -q $(ARGS) tests/browser || [ $$? -eq 5 ]

# Without torch, and without what another environment may have on PYTHONPATH.
test-light: $(LIGHT)/.installed
	$(LIGHT)/bin/python -m pytest -q $(ARGS) $(LIGHT_TESTS)

# What torch.compile makes of the blocks, on a CPU: minutes.
test-compile: $(VENV)/.installed-dev
	TTS_FM_COMPILE=1 $(VENV)/bin/python -m pytest -q $(ARGS) tests/test_train_types.py

abuse: $(VENV)/.installed-dev
	TTS_FM_ABUSE=1 $(VENV)/bin/python -m pytest -q tests/abuse
	$(VENV)/bin/python tests/abuse/surroundings.py $(SURROUNDINGS)
	$(VENV)/bin/python tests/abuse/server.py $(ARGS)

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

eval: $(VENV)/.installed-eval
	@test -n "$(LIST)" || { echo 'make eval LIST=path/to/dev.jsonl [ARGS="..."]' >&2; exit 2; }
	$(VENV)/bin/tts-fm eval $(LIST) $(ARGS)

train-builtin: $(VENV)/.installed-dev
	@echo 'The built-in voice is trained by the scripts of recipes/builtin, each of which resumes where it was stopped:'
	@ls recipes/builtin/*.py | sed 's|^|  $(VENV)/bin/python |; s|$$| --help|'

docs: $(VENV)/.installed-docs
	$(VENV)/bin/mkdocs build --strict --quiet

notebooks: $(VENV)/.installed-notebook
	KEEP_PICTURES=$(abspath $(KEEP_PICTURES)) $(VENV)/bin/python -m pytest -q --nbmake --nbmake-timeout=120 \
	  --durations=5 docs/*.ipynb

newcomer: $(VENV)/.installed-dev
	tests/newcomer.sh --full $(VENV)

audit:
	PYTHON=$(PYTHON) .ci/audit $(ARGS)

container:
	$(PYTHON) tests/container.py $(ARGS)

release:
	.ci/release

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version 2>&1) is too old; Python 3.11 or newer is needed:" \
	    "make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp is written only after pip has succeeded, and is older than pyproject.toml whenever the requirements have
# changed.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[dev]"
	@touch $(VENV)/.installed $@

$(LIGHT)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python -m pip --disable-pip-version-check install -e ".[serve]" pytest hypothesis httpx
	@touch $@

$(VENV)/.installed-eval: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[eval]"
	@touch $(VENV)/.installed $@

$(VENV)/.installed-notebook: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[notebook,train]"
	@touch $(VENV)/.installed $@

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e ".[docs]"
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) $(LIGHT) .venv-release .venv-audit build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
