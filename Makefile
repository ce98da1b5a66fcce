# `make run` and `make test` do all set-up by themselves: see tools/bootstrap.sh. More words for the command: ARGS="...".

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
PYTHON := .venv/bin/python
ARGS ?=

# The interpreter is .venv's; what the caller's shell says about other Pythons is not for it.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONSAFEPATH
export BOOTSTRAP_PYTHON

.DEFAULT_GOAL := help
.PHONY: help run test lint format backtest bench chaos rehearse setup lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

run: ## the floor, on the recorded markets that ship with it; Ctrl-C stops it in order
	@tools/bootstrap.sh run && exec $(PYTHON) -m polybot run $(ARGS)

test: ## every test
	@tools/bootstrap.sh all && exec $(PYTHON) -m pytest $(ARGS)

lint: ## ruff and mypy --strict
	@tools/bootstrap.sh all
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

format: ## put the code into the house's form
	@tools/bootstrap.sh all
	@$(PYTHON) -m ruff check --fix-only --quiet .
	@$(PYTHON) -m ruff format .

backtest: ## the same desk over a tape, at full speed, with no server
	@tools/bootstrap.sh run && exec $(PYTHON) -m polybot backtest $(ARGS)

bench: ## the figures, with machine and versions
	@tools/bootstrap.sh run && exec $(PYTHON) -m polybot bench $(ARGS)

chaos: ## kill -9 the real service and its servers under load, then compare everything (ARGS="--kills 300")
	@tools/bootstrap.sh run && exec $(PYTHON) -m polybot chaos real $(ARGS)

rehearse: ## live trading against the loopback exchange under faults, three hours in twenty minutes, all books compared
	@tools/bootstrap.sh run && exec $(PYTHON) -m polybot rehearse $(ARGS)

setup: ## .venv with everything, and nothing else
	@tools/bootstrap.sh all

lock: ## the lock files, from pyproject.toml (ARGS=--upgrade for newer versions)
	@exec tools/lock.sh $(ARGS)

clean: ## what set-up, tests and checks made; a floor's own data stays
	@rm -rf .venv .venv.lock .setup.log build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find polybot tests -name __pycache__ -type d -prune -exec rm -rf {} +
