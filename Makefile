# What each target does: make help. On a fresh machine only Python 3.11 to 3.13 and make have to be there.

PYTHON ?=
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
ARGS ?=
# Test processes side by side; 0 is one that a debugger can be attached to.
JOBS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-faults fuzz lint format bench clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12    the interpreter that .venv is made with (3.11, 3.12 or 3.13)"
	@echo "  JOBS=2               test processes side by side; 0: one, for a debugger"
	@echo "  ARGS='...'           more arguments for the command behind the target: make test ARGS='-k bins'"

setup: $(READY) ## make .venv and install everything in it (the others do it when they need it)
	@echo 'Ready: $(BIN)/driftline --help'

# A change of the dependencies installs again; a change of the code does not, the installation is editable.
$(READY): pyproject.toml constraints.txt scripts/setup
	@PYTHON='$(PYTHON)' scripts/setup '$(VENV)' '$(CONSTRAINTS)'
	@touch $@

demo: $(READY) ## a real worker finds real drift in a year of flights, on an embedded broker (two minutes)
	@$(BIN)/driftline demo $(ARGS)

test: $(READY) ## all tests: unit, property, contract, embedded broker, Apache Kafka (needs Java 17 and Maven, or skips)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(READY) ## the tests that need no broker and no patience: unit, property, contract
	@$(BIN)/python -m pytest -m 'not integration and not kafka and not slow' $(ARGS)

test-faults: $(READY) ## break workers, broker and network while events flow, and count everything again
	@$(BIN)/python -m tests.faults $(ARGS)

fuzz: $(READY) ## look for events, rules and specs that break reading, for five minutes (installs atheris)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet 'atheris>=3.0'
	@$(BIN)/python -m tests.fuzz $(ARGS)

lint: $(READY) ## ruff, format, types, direction of the imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff format the code and fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## false alarms on stable streams, throughput and latency, memory (one after the other)
	$(BIN)/python -m bench.false_alarms --quick
	$(BIN)/python -m bench.throughput
	$(BIN)/python -m bench.memory

clean: ## remove builds and caches; .venv stays
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path './$(VENV)' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
