# `make serve` speaks, `make test` proves; both set themselves up.
.DEFAULT_GOAL := help
.PHONY: help setup serve test coverage test-slow check format chart-docs image clean

VENV := .venv
BIN := $(VENV)/bin
# The first Python from 3.11 to 3.13 on this machine; PYTHON=... overrides.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $(p))))
WORKERS ?= 2

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(VENV)/.ready  ## make .venv with everything; seconds when nothing changed

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "kubevoice needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "no venv module: install it (Debian: apt install python3-venv) or set PYTHON to another Python" >&2; exit 1; }
	@echo "installing into $(VENV) (about 5 GB; minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check "pip>=25.1"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[espeak]' --group dev
	@touch $@

serve: setup  ## start Ray Serve on loopback and print a curl that speaks; ARGS="--port 9000"
	@exec $(BIN)/kubevoice serve $(ARGS)

test: check  ## lint, types and the whole suite
	@$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadgroup $(COVERAGE) $(ARGS)

coverage: COVERAGE := --cov --cov-report=term:skip-covered
coverage: test  ## the suite, with the lines that no test runs; a fifth slower

test-slow: setup  ## full-size models and other minutes-long proofs
	@$(BIN)/python -m pytest -m slow $(ARGS)

check: setup  ## ruff and mypy
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: setup  ## rewrite in the house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chart-docs: setup  ## write what is made from the chart: its README's table and the rendered goldens
	@$(BIN)/python -m charts.values_table
	@$(BIN)/python -m tests.charts.goldens

IMAGE ?= kubevoice:dev
BUILDER ?= $(if $(shell docker info >/dev/null 2>&1 && echo yes),docker build,podman build --format docker)
image:  ## build the container image; IMAGE=registry/name:tag BUILD_ARGS="--build-arg TORCH_INDEX_URL=..."
	@$(BUILDER) --tag $(IMAGE) --build-arg VERSION=$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
		--build-arg REVISION=$(shell git rev-parse HEAD) --build-arg CREATED=$(shell date -u +%Y-%m-%dT%H:%M:%SZ) $(BUILD_ARGS) .

clean:  ## remove everything that make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
