#!/usr/bin/env bash
# `make check`: everything that can be said about the code without running it. Goes through all of it, then fails.
set -u
cd "$(dirname "$0")/.."
failed=()

step() {
  local name=$1
  shift
  local out
  printf '%-22s' "$name"
  if out=$("$@" 2>&1); then echo ok; else echo FAILED; echo "$out" | sed 's/^/    /'; failed+=("$name"); fi
}

# Dagster looks for an instance: an empty one will do, and no database is asked.
DAGSTER_HOME=$(mktemp -d)
trap 'rm -rf "$DAGSTER_HOME"' EXIT
touch "$DAGSTER_HOME/dagster.yaml"
export DAGSTER_HOME SCALAR_DATABASE_URL=postgresql://nobody@127.0.0.1:1/none PYTHONWARNINGS=ignore

step "format" "$RUN/ruff" format --check .
step "lint" "$RUN/ruff" check .
step "types" "$RUN/mypy"
step "imports" "$RUN/lint-imports"
step "lock file" "$UV" lock --check --quiet
step "dg check defs" "$RUN/dg" check defs
step "dagster definitions" "$RUN/dagster" definitions validate -w workspace.yaml
step "docs' examples" "$RUN/python" scripts/check_docs.py

if ((${#failed[@]})); then
  printf '\nFailed: %s\n' "${failed[*]}"
  exit 1
fi
