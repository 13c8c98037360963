# The usual lanes. test, test-fast and quickstart make their own environment on first use. The other lanes run in the
# active one: `make lint PYTHON=path/to/python`.
PYTHON ?= python

.PHONY: install lint format types docs docs-check test test-fast quickstart

install:
	$(PYTHON) -m pip install --editable '.[cpu,tests]'

lint:
	$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .

format:
	$(PYTHON) -m ruff check --fix . && $(PYTHON) -m ruff format .

types:
	$(PYTHON) -m mypy

docs-check:
	$(PYTHON) tools/docs/build_model_zoo.py --check && $(PYTHON) -m pytest tests/test_docs.py tests/test_model_zoo.py

test:
	bash tools/run_tests.sh

test-fast:
	bash tools/run_tests.sh --fast

quickstart:
	bash tools/quickstart.sh

docs:
	$(PYTHON) -m mkdocs build --strict
