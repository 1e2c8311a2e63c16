"""`scalar replay`, as somebody with a file of jobs runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = "timestamp,duration,num_gpus\n" + "".join(f"2026-09-01T{hour:02}:00:00,5400,8\n" for hour in range(12))


def scalar(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "scalar"), "replay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def jobs(tmp_path: Path) -> str:
    path = tmp_path / "jobs.csv"
    path.write_text(JOBS)
    return str(path)


def test_policies_stand_beside_the_oracle(jobs: str):
    done = scalar(
        "--from", "2026-09-01", "--to", "2026-09-02", "--history", jobs, "--policy", "reactive", "--policy", "oracle"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("12 jobs from 2026-09-01 00:00 to 2026-09-02 00:00 UTC")
    assert lines[1].split()[:5] == ["POLICY", "COST", "OVER", "THE", "ORACLE"]
    assert "1.00 x" in lines[3]
    assert [line.split()[0] for line in lines[2:]] == ["reactive", "oracle"]
    # Eighteen hours of eight GPUs at $3.60.
    assert all("$518.40" in line for line in lines[2:])


def test_programs_get_json(jobs: str):
    done = scalar("--from", "2026-09-01", "--to", "2026-09-02", "--history", jobs, "--policy", "oracle", "--json")
    (found,) = json.loads(done.stdout)
    assert (found["policy"], found["jobs"], found["revenue"]) == ("oracle", 12, "518.400000")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "psychic"], "There is no policy 'psychic'"),
        (["--history", "nowhere.csv"], "there is no such file"),
        (["--to", "2026-08-01"], "--to must be after --from"),
        (["--from", "2025-09-01", "--to", "2025-09-02"], "no job came in that time"),
        (["--price", "much"], "--price: 'much' is no price"),
        (["--price", "-3"], "'-3' is no price"),
        (["--price", "1e30"], "'1e30' is no price"),
        (["--to", "2126-09-01"], "At most 366 days can be replayed at a time"),
        (["--from", "0001-01-01", "--to", "0001-02-01"], "What is replayed lies between 1971-01-01 and 2190-01-01"),
        (["--slack-hours", "1000000000000"], "is not in the range"),
    ],
)
def test_what_cannot_be_replayed_says_why(jobs: str, arguments: list[str], said: str):
    done = scalar("--from", "2026-09-01", "--to", "2026-09-02", "--history", jobs, *arguments)
    assert done.returncode == 2
    assert said in " ".join((done.stderr + done.stdout).split())
