PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-minimums api lint format calibrate clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/rlhf-fair demo --out reports/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n 2 --dist loadfile

# The lowest versions that pyproject.toml allows, in an environment of their own; torch stays at the pinned version.
test-minimums: setup
	$(PYTHON) -m venv .venv/minimums
	.venv/minimums/bin/python -m pip install --quiet --disable-pip-version-check uv
	PATH="$(CURDIR)/.venv/minimums/bin:$$PATH" $(PYTHON) tests/minimums.py .venv/minimums/requirements.txt
	.venv/minimums/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement .venv/minimums/requirements.txt
	.venv/minimums/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	.venv/minimums/bin/pytest -m "not slow and not network and not gpu and not browser"

calibrate: setup
	$(BIN)/python tests/benchmarks/calibration.py

api: setup
	$(BIN)/python -m tests.api_reference

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist
