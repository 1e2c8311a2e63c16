#!/usr/bin/env bash
# `make check`: everything that can be said about the code without running it. All at one time; what failed is shown whole.
set -u
cd "$(dirname "$0")/.."
names=() pids=()
outputs=$(mktemp -d)

step() {
  names+=("$1")
  "${@:2}" >"$outputs/$1" 2>&1 &
  pids+=($!)
}

# Dagster looks for an instance: an empty one will do, and no database is asked.
DAGSTER_HOME=$(mktemp -d)
trap 'rm -rf "$DAGSTER_HOME" "$outputs"' EXIT
touch "$DAGSTER_HOME/dagster.yaml"
export DAGSTER_HOME SCALAR_DATABASE_URL=postgresql://nobody@127.0.0.1:1/none PYTHONWARNINGS=ignore

step "types" "$RUN/mypy"
step "format" "$RUN/ruff" format --check .
step "lint" "$RUN/ruff" check .
step "imports" "$RUN/lint-imports"
step "lock file" "$UV" lock --check --quiet
step "dg check defs" "$RUN/dg" check defs
step "dagster definitions" "$RUN/dagster" definitions validate -w workspace.yaml
step "docs' examples" "$RUN/python" scripts/check_docs.py

failed=()
for each in "${!names[@]}"; do
  name=${names[$each]}
  printf '%-22s' "$name"
  if wait "${pids[$each]}"; then
    echo ok
  else
    echo FAILED
    sed 's/^/    /' "$outputs/$name"
    failed+=("$name")
  fi
done

if ((${#failed[@]})); then
  printf '\nFailed: %s\n' "${failed[*]}"
  exit 1
fi
