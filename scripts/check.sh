#!/usr/bin/env bash
# `make check`: everything that can be said about the code without running it. All at one time; what failed is shown whole.
set -u
cd "$(dirname "$0")/.."
names=() pids=()
outputs=$(mktemp -d)

step() {
  names+=("$1")
  # Dagster looks for an instance: an empty one will do, of its own, and no database is asked.
  mkdir -p "$outputs/of $1"
  touch "$outputs/of $1/dagster.yaml"
  DAGSTER_HOME="$outputs/of $1" "${@:2}" >"$outputs/$1" 2>&1 &
  pids+=($!)
}

trap 'rm -rf "$outputs"' EXIT
export SCALAR_DATABASE_URL=postgresql://nobody@127.0.0.1:1/none PYTHONWARNINGS=ignore

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
