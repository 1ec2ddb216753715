# make install | demo | test | lint | bench.  A stamp in .venv remembers what is installed, so that nothing is installed twice.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TORCH := torch==2.13.0

.PHONY: install demo test lint bench
.DELETE_ON_ERROR:

install: .venv/stamp-install

$(BIN)/python:
	$(PYTHON) -m venv .venv

# torch comes first and pinned, unless one is there already: a plain `pip install -e .` may pick another build of it.
.venv/stamp-install: pyproject.toml | $(BIN)/python
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install '$(TORCH)'
	$(BIN)/python -m pip install -e .
	@touch $@

.venv/stamp-%: .venv/stamp-install
	$(BIN)/python -m pip install -e '.[$*]'
	@touch $@

demo: .venv/stamp-install
	$(BIN)/python -m plait demo

lint: .venv/stamp-test
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy

test: lint
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

bench: .venv/stamp-bench
	$(BIN)/python -m bench.rank

.PRECIOUS: .venv/stamp-%
