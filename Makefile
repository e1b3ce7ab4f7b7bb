# Everything runs from `.venv`, made from requirements.lock; nothing is installed by hand.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
export TZ := UTC

.PHONY: help install demo spark test test-all lint format bench docs clean check-system

help: ## Show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: .venv/.installed ## Set up .venv from requirements.lock

demo: install ## Run the whole job on Complete Journey and print what it found
	@$(BIN)/propensity demo

spark: install ## Add Spark to .venv, for scoring on a cluster
	@command -v java >/dev/null || { echo "error: Spark needs Java 17. On Debian: apt-get install openjdk-17-jre-headless"; exit 1; }
	@echo "Installing requirements-spark.lock into .venv (about 0.5 GB)"
	@# Spark comes as a source archive, which setuptools of the lock packs.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes -r requirements-spark.lock
	@echo "Archiving Spark's classes in .venv/share/propensity, for JVMs to start from (a minute, about 0.3 GB)"
	@$(BIN)/python -m propensity.spark_archiving

test: install ## Run the tests
	$(BIN)/pytest -n 2 --dist loadfile -q

test-all: install ## Run the tests and the slow ones: full training, more kills
	$(BIN)/pytest -n 2 --dist loadfile -q -m "slow or not slow"

lint: install ## Check style, types and the lock
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: install ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: install .venv-peers/.installed ## Print ratios against peers, measured side by side
	@for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

docs: install ## Run what README and docs/ show
	$(BIN)/pytest -q tests/test_docs.py

clean: ## Remove .venv, caches and the demo's home
	rm -rf .venv .venv-peers .propensity .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info platform/*.egg-info

check-system:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed. On Debian: apt-get install python3.11 python3.11-venv; or name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "error: $(PYTHON) is $$($(PYTHON) -V), but MXNet 1.9.1 needs Python 3.11. Name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks venv. On Debian: apt-get install python3.11-venv"; exit 1; }
	@# MXNet's shared library takes these two from the system; slim images lack them.
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1"); ctypes.CDLL("libquadmath.so.0")' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing libgomp1 and libquadmath0, which MXNet needs"; apt-get update -qq && apt-get install -y -qq libgomp1 libquadmath0; \
	  else echo "error: libgomp.so.1 or libquadmath.so.0 is missing, and MXNet needs both. On Debian: sudo apt-get install libgomp1 libquadmath0"; exit 1; fi; }

.venv/.installed: requirements.lock pyproject.toml | check-system
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing requirements.lock into .venv (about 1.5 GB)"
	@# --no-deps: the lock is complete, and mxnet's metadata refuses the numpy 2 that the rest needs.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What the benchmarks compare with and the platform doesn't use. One that can't be installed is tried again next time.
.venv-peers/.installed: tests/benchmarks/requirements-peers-torch.txt tests/benchmarks/requirements-peers-pecos.txt | check-system
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@echo "Installing the benchmarks' peers into .venv-peers (about 1.2 GB)"
	@whole=yes; for peer in torch pecos; do \
	  .venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	    -r tests/benchmarks/requirements-peers-$$peer.txt > .venv-peers/$$peer.log 2>&1 \
	  || { whole=; echo "warning: $$peer can't be installed (see .venv-peers/$$peer.log) and is left out"; }; \
	done; if [ "$$whole" ]; then touch $@; fi
