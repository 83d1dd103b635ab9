# `make` alone lists the targets. Arguments are passed on: make demo ARGS="--exit --json"
# A target needs only python3: it makes its virtual environment from the locks in requirements/ when it must.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ARGS ?=
VENV ?= .venv
WORKERS ?= 3
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

RUN := "$(VENV)/bin/python" -m

.PHONY: help demo test check bench fuzz soak test-containers lock interleavings states providers clean python bench-environment demo-environment dev-environment

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-24s%s\n", $$1, $$2 }'

demo: demo-environment ## watch 200 signed callbacks arrive and be handled, on servers of its own
	@exec $(RUN) receiver demo $(ARGS)

# Tests start some 200 programs: without bytecode that is kept, each takes twice as long to begin.
test: dev-environment ## run the tests, on servers of their own
	@PYTHONDONTWRITEBYTECODE= exec $(RUN) pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: dev-environment ## format, lint, types, layers
	@$(RUN) ruff format --check
	@$(RUN) ruff check
	@$(RUN) mypy
	@"$(VENV)/bin/lint-imports"

bench: bench-environment ## measure, beside pgbench, other queues and the usual tutorial; writes benchmarks/latest.json
	@exec $(RUN) benchmarks $(ARGS)

fuzz: dev-environment ## every verifier and parser on what nobody thought of; ARGS="--minutes 5 --seed 7 --only stripe"
	@exec $(RUN) tests.fuzz $(ARGS)

soak: dev-environment ## every fault at random for ten minutes; ARGS="--minutes 3 --seed 7" is shorter and drawn again
	@exec $(RUN) tests.soak $(ARGS)

test-containers: dev-environment ## storage, end-to-end and compose tests in containers; needs a Docker engine
	@RECEIVER_TEST_CONTAINERS=1 exec $(RUN) pytest tests/containers tests/storage tests/ingress tests/dispatch $(ARGS)

lock: python ## write requirements/ from pyproject.toml; ARGS=--upgrade moves every pin
	@$(PYTHON) -m scripts.lock $(ARGS)

interleavings: dev-environment ## drive the dispatcher through random interleavings; SECONDS=600, SEED= to repeat
	@RECEIVER_INTERLEAVINGS=$(or $(SECONDS),600) RECEIVER_INTERLEAVINGS_SEED=$(SEED) \
		exec $(RUN) pytest -s tests/dispatch/test_interleavings.py $(ARGS)

states: dev-environment ## write the diagram of docs/states.md from the table of transitions
	@$(RUN) scripts.states

providers: dev-environment ## write docs/providers out of the classes and the notes
	@$(RUN) scripts.provider_pages

clean: ## remove the virtual environment and all caches
	rm -rf "$(VENV)" .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

bench-environment: python
	@$(PYTHON) -m scripts.environment "$(VENV)" bench

demo-environment: python
	@$(PYTHON) -m scripts.environment "$(VENV)" demo

dev-environment: python
	@$(PYTHON) -m scripts.environment "$(VENV)" dev

python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; as root: apt-get install python3" >&2; exit 1; }
