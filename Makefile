# Scalar. `make help` shows what there is.

# Everything is set up by uv in .venv, from uv.lock; uv itself comes into .tools/ if it isn't on the PATH.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := .venv/bin
ONCE ?=
DEMO ?=
AGAIN ?=
DATA ?= .scalar
TESTS ?= tests

export UV_PYTHON_PREFERENCE = only-system
export UV_PROJECT_ENVIRONMENT = .venv
export DO_NOT_TRACK = 1
# Where it is set, each of a platform's many processes would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test check format bench pictures clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  make run DEMO=week plays a week of it in some twenty-five minutes (ONCE=1: exits after it; AGAIN=1: replaces an earlier one)"
	@echo "  The first time, each sets up its own environment: python3 (3.11 to 3.13) and make are all it needs."

run: .venv/.run ## Start the whole platform here and run a sample job; Ctrl-C stops it (ONCE=1: exit after the sample)
ifeq ($(DEMO),)
	@$(RUN)/scalar up --data $(DATA) $(if $(filter-out 0,$(ONCE)),--once)
else
	@$(RUN)/scalar demo $(DEMO) --data $(DATA)/demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(filter-out 0,$(AGAIN)),--again)
endif

test: .venv/.dev ## Run every test (SCALAR_REQUIRE_DOCKER=1: a skipped Docker test fails; TESTS=tests/jobs: only those)
	@RUN=$(RUN) TESTS="$(TESTS)" bash scripts/test.sh

check: .venv/.dev ## Format, lint, types, import rules, Dagster's definitions, the docs' examples
	@RUN=$(RUN) UV=$(UV) bash scripts/check.sh

format: .venv/.dev ## Put every file into its form
	@$(RUN)/ruff format . && $(RUN)/ruff check --fix .

bench: .venv/.dev ## Measure: figures for docs/performance.md (takes some minutes)
	@$(RUN)/python -m benchmarks

pictures: .venv/.dev ## Take the README's pictures anew (needs Docker and chromium)
	@SCALAR_PICTURES=1 $(RUN)/python -m pytest -m browser

clean: ## Remove the environment and all data of the local platform
	rm -rf .venv .tools $(DATA)

# What running needs, and on top of it what developing needs. uv does nothing where nothing changed.
.venv/.run: pyproject.toml uv.lock | tool
	@echo "setting up .venv (the first time takes a minute)"
	@$(UV) sync --quiet --frozen --extra local --no-default-groups --inexact
	@touch $@

.venv/.dev: pyproject.toml uv.lock | tool
	@echo "setting up .venv with the developers' tools (the first time takes a minute)"
	@$(UV) sync --quiet --frozen --extra local
	@touch $@ .venv/.run

.PHONY: tool
tool:
	@test -x "$(UV)" || python3 scripts/get_uv.py .tools
