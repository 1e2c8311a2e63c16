#!/usr/bin/env bash
# Every test, or those that TESTS names: as many at a time as there are cores, and then, one after the other, those that
# start the whole platform, since they need the machine for themselves.
set -u
cd "$(dirname "$0")/.."

# Databases are made and dropped by the hundred: in memory, where there is plenty.
shm=/dev/shm
if [ -z "${TMPDIR:-}" ] && [ -w $shm ] && [ "$(df --output=avail -k $shm | tail -n 1)" -gt $((4 * 1024 * 1024)) ]; then
  TMPDIR=$(mktemp -d $shm/scalar.XXXXXX)
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
fi

failed=0 ran=0
run() {
  # shellcheck disable=SC2086 - TESTS may name several
  "$RUN/python" -m pytest ${TESTS:-tests} "$@"
  case $? in
    0) ran=1 ;;
    5) ;; # there is none of this kind among those
    *) ran=1 failed=1 ;;
  esac
}

run -m "not platform" --numprocesses auto --dist worksteal
run -m platform
if [ $ran = 0 ]; then
  echo "no test in: ${TESTS:-tests}" >&2
  exit 5
fi
exit $failed
