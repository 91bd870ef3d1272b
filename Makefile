# Two commands are all a fresh machine needs: `make run` and `make test`. Everything is set up inside this folder.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input -q
GRAPHIQL := service/schema/graphiql

.PHONY: run test check bench soak contract lock docs setup setup-dev clean help
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11, say")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	@echo "installing the service's packages into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "installing the development packages into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

setup: $(VENV)/.runtime
setup-dev: $(VENV)/.dev

lock: | $(BIN)/python ## write the lock files anew from pyproject.toml
	@$(PIP) install uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra otel $(LOCK) pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra otel --group dev -c requirements.txt $(LOCK) pyproject.toml -o requirements-dev.txt

check: setup-dev ## lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean: ## remove what the commands made, but for the data folder
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov
