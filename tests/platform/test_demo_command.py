"""`scalar demo` as a user types it, where it refuses; a week of it is played in tests/orchestration."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scalar_api.up.demo import last_week
from scalar_api.up.ports import free_port

SCALAR = Path(sys.executable).parent / "scalar"


def scalar(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCALAR, *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_its_help_says_what_it_plays():
    said = scalar("demo", "week", "--help")
    assert said.returncode == 0
    for option in ("--data", "--dagster-port", "--days", "--once", "--again"):
        assert option in said.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "2126-01-01"], "--from: what is played is past: 7 day(s) begin on"),
        (["--from", f"{datetime.now(UTC):%Y-%m-%d}", "--days", "1"], "1 day(s) begin on"),
        (["--from", "9999-12-31"], "7 day(s) begin on"),
        (["--from", "0001-01-01"], "--from: what is played is past"),
        (["--from", "monday"], "'monday' does not match"),
        (["--dagster-port", "99999"], "99999 is not in the range"),
        (["--days", "8"], "8 is not in the range"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_starts(data: Path, arguments: list[str], said: str):
    refused = scalar("demo", "week", "--data", str(data), *arguments)
    assert refused.returncode == 2
    assert said in " ".join((refused.stdout + refused.stderr).replace("│", " ").split())
    assert not data.exists()


def test_an_earlier_demo_is_neither_played_over_nor_removed(data: Path):
    kept = data / "postgres" / "kept"
    kept.parent.mkdir(parents=True)
    kept.touch()
    said = scalar("demo", "week", "--once", "--data", str(data), "--dagster-port", str(free_port()))
    assert said.returncode == 1
    assert "holds an earlier demo. Have it replaced with --again" in " ".join(said.stdout.split())
    assert kept.exists()


@pytest.mark.parametrize(
    ("now", "monday"),
    [
        ("2026-11-21T23:00", "2026-11-09"),
        ("2026-11-16T00:00", "2026-11-02"),
        ("2026-11-16T23:59", "2026-11-02"),
        ("2026-11-17T00:00", "2026-11-09"),
        ("2026-11-22T23:59", "2026-11-09"),
    ],
)
def test_the_week_that_is_played_has_been_over_for_a_day(now: str, monday: str):
    assert last_week(datetime.fromisoformat(now).replace(tzinfo=UTC)) == datetime.fromisoformat(monday).replace(
        tzinfo=UTC
    )
