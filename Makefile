# The targets of this repository. `make` alone prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8080
HOST ?=
DATA ?= $(or $(OSTIARY_DATA),ostiary-data)
ORGANIZATION ?= My organization
EMAIL ?= admin@example.com
export DATA PORT HOST ORGANIZATION EMAIL
# Tests are spread over the processors, each file on one of them, in the order of the folders: the files with few
# tests, which take longest, would come last otherwise, and one processor would wait for the other.
SPREAD := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# One promise alone: make prove P=P3
P ?=

BIN := $(VENV)/bin
SERVER := $(VENV)/.server-ready
DEV := $(VENV)/.dev-ready
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Counts on a terminal what pip has fetched of the requirements in $<.
COUNT = awk -v total="$$(grep -cE '^[A-Za-z0-9].*==' $<)" -v shown="$$(test ! -t 2 || echo 1)" \
  '/^(Collecting|Processing|Ignoring|Requirement already)/ { if (shown && n < total) printf "\r  %d of %d packages", ++n, total > "/dev/stderr" } \
  END { if (n) print "" > "/dev/stderr" }'

.PHONY: help run setup check format test prove bench lock docs clean

help: ## print this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: $(SERVER) ## start Ostiary on http://localhost:8080 (PORT=, DATA=, HOST=, ORGANIZATION=, EMAIL=)
	@if [ -z "$$(ls -A "$$DATA" 2>/dev/null)" ] && [ -z "$${OSTIARY_DATABASE_URL:-}" ]; then \
	  $(BIN)/ostiary init --data "$$DATA" --organization "$$ORGANIZATION" --email "$$EMAIL" --port "$$PORT"; fi
	@echo "Starting the service now: $(BIN)/ostiary serve (Ctrl-C stops it)"
	@exec $(BIN)/ostiary serve --data "$$DATA" --port "$$PORT" $${HOST:+--host "$$HOST"}

setup: $(DEV) ## install everything that the tests need; downloads stay in pip's and apt's own caches
	@tests/setup-debian nginx:nginx-light caddy:caddy haproxy:haproxy 'cc:gcc libc6-dev' chromium:chromium curl:curl

check: $(DEV) ## format, lint, types, and the tests that need only Python and SQLite (about 3 min)
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	@$(BIN)/python -m pytest -q $(SPREAD) -m 'not full'

format: $(DEV) ## format the code and mend what ruff can mend
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

test: setup ## every test once, real servers included, promises in small (about 9 min on two processors)
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	@$(BIN)/python -m pytest -q $(SPREAD)

prove: setup ## the promises in full, up to an hour; P=P3 runs one; results go to docs/proof/
	@tests/setup-debian 'go:golang-go golang-golang-x-oauth2-dev'
	@OSTIARY_PROVE=1 $(BIN)/python -m pytest -q -m promise $(if $(P),--promise '$(P)')

bench: setup ## measure against the bars; writes benchmarks/results/
	@tests/setup-debian wrk:wrk
	@$(BIN)/python -m benchmarks

lock: $(DEV) ## resolve the pinned requirements again
	@for part in server dev; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-package ostiary --custom-compile-command 'make lock' $(LOCK) requirements/$$part.in -o requirements/$$part.txt; done

docs: $(DEV) ## write the generated pages of docs/ and the OpenAPI document again
	@$(BIN)/python -m tests.house.generated_pages

clean: ## remove what the targets made (not your data)
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ostiary needs Python 3.11 or later; '$(PYTHON)' is older (PYTHON=… names another)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No venv module: on Debian and Ubuntu run 'apt-get install python3-venv'"; exit 1; }

$(SERVER): requirements/server.txt pyproject.toml | $(BIN)/python
	@echo "Installing the server (once) …"
	@$(PIP) install --progress-bar off --require-hashes -r requirements/server.txt | $(COUNT)
	@$(PIP) -qq install --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

$(DEV): requirements/dev.txt $(SERVER)
	@echo "Installing the tests' tools (once) …"
	@$(PIP) install --progress-bar off --require-hashes -r requirements/dev.txt | $(COUNT)
	@touch $@
