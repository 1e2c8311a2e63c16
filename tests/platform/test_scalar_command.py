"""The `scalar` command as a user types it: what it prints, and how it exits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from outside import IMAGE, World, counted, counting

SCALAR = Path(sys.executable).parent / "scalar"
REFUSED, UNREACHABLE, USAGE, CANCELLED = 3, 4, 2, 130


def scalar(*arguments: str, data: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCALAR_")}
    found = {"SCALAR_DATA": str(data)} if data else {}
    return subprocess.run(
        [SCALAR, *arguments],
        env={**inherited, **found, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd="/",
    )


@pytest.fixture
def run(world: World):
    """`scalar …` beside the platform's data folder: it finds the API and the keys there."""
    return lambda *arguments, **environment: scalar(*arguments, data=world.platform.folder.root, **environment)


def test_submit_follow_prints_the_output_and_ends_as_the_job_does(run):
    done = run("submit", "--follow", IMAGE, "--", "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (done.returncode, done.stdout) == (5, "out\n")
    assert "err\n" in done.stderr
    assert "failed: It failed. Your command ended with exit code 5." in done.stderr


def test_submit_wait_is_quiet_and_ends_as_the_job_does(run):
    done = run("submit", "--wait", IMAGE, "--", "echo", "unseen")
    assert (done.returncode, done.stdout) == (0, "")
    again = run("submit", "--wait", "--json", "--gpus", "2", IMAGE, "--", "sh", "-c", "exit 9")
    assert again.returncode == 9
    assert json.loads(again.stdout)["resources"]["gpus"] == 2


def test_a_submitted_job_is_listed_shown_followed_and_cancelled(run, world):
    job = json.loads(run("submit", "--json", "--name", "cli", "-l", "from=cli", IMAGE, "--", *counting(2)).stdout)
    world.customer.ended(job["id"])
    listed = run("ps", "-l", "from=cli")
    assert job["id"] in listed.stdout
    assert "cli" in listed.stdout
    assert "succeeded" in listed.stdout
    assert [each["id"] for each in json.loads(run("ps", "--json", "-l", "from=cli").stdout)] == [job["id"]]
    shown = run("show", job["id"]).stdout
    assert "It succeeded. It finished with exit code 0." in shown
    assert world.platform.options.node_name in shown
    assert f"{world.platform.dagster_url}/runs/" in shown
    detail = json.loads(run("show", "--json", job["id"]).stdout)
    assert (detail["state"], detail["explanation"]["state"]) == ("succeeded", "succeeded")
    assert run("logs", job["id"]).stdout == counted(2)
    followed = run("logs", "-f", job["id"])
    assert (followed.returncode, followed.stdout) == (0, counted(2))


def test_cancel_ends_a_waiting_submit_with_130(run, world):
    job_id = world.customer.submit("exec sleep 60")
    world.customer.running(job_id)
    assert f"{job_id} is being stopped" in run("cancel", job_id).stdout
    assert run("logs", "-f", job_id).returncode == CANCELLED
    requeued = run("requeue", job_id)
    assert "is in the queue again" in requeued.stdout
    assert run("cancel", job_id).returncode == 0
    world.customer.ended(job_id)


def test_nodes_are_listed_with_what_they_have_and_run_on(run, world):
    table = run("nodes").stdout
    for text in (world.node["id"], world.platform.options.node_name, "ready", "0/8", "declared", "docker"):
        assert text in table
    (node,) = json.loads(run("nodes", "--json").stdout)
    assert (node["gpus"], node["runtime"], node["silent"]) == (8, "docker", False)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "job_nosuch"), REFUSED, "There is no such job."),
        (("submit", "--gpus", "9", IMAGE), REFUSED, "No node has 9 GPUs: the largest has 8."),
        (("submit", "--gpus", "none", IMAGE), USAGE, "--gpus"),
        (("submit", "--max-runtime", "soon", IMAGE), USAGE, "say 90s, 30m, 12h or 2d"),
        (("submit", "--deadline", "tomorrow", IMAGE), USAGE, "say 2026-12-01T08:00Z, or 6h"),
        (("submit", "--deadline", "2099-01-01T00:00", IMAGE), USAGE, "has no time zone"),
        (("submit", "--deadline", "6h", IMAGE), REFUSED, "needs the tier `flex`"),
        (("submit", "--env", "NOT_SET_ANYWHERE", IMAGE), USAGE, "say NOT_SET_ANYWHERE=value"),
        (("submit", "--label", "team", IMAGE), USAGE, "is not key=value"),
        (("submit",), USAGE, "IMAGE"),
        (("nosuch",), USAGE, "nosuch"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else None,
)
def test_what_is_wrong_is_said_on_stderr_with_its_exit_code(run, arguments, code, said):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_api_that_is_not_there_is_4_and_says_how_to_start_one(tmp_path):
    done = scalar("ps", SCALAR_API_URL="http://127.0.0.1:9", SCALAR_API_KEY="sk_customer_x")
    assert (done.returncode, done.stdout) == (UNREACHABLE, "")
    assert "can't reach the API at http://127.0.0.1:9" in done.stderr
    assert "`scalar up` starts one here" in done.stderr
    no_key = scalar("ps", data=tmp_path / "nothing-here")
    assert no_key.returncode == USAGE
    assert "no API key: set SCALAR_API_KEY" in no_key.stderr


def test_a_wrong_key_is_refused(world):
    done = scalar("ps", SCALAR_API_URL=world.platform.api_url, SCALAR_API_KEY="sk_customer_abcdefgh_" + "x" * 32)
    assert done.returncode == REFUSED
    assert "Traceback" not in done.stderr


def test_help_teaches(run):
    top = run("--help").stdout
    for text in ("scalar up", "scalar submit --follow", "SCALAR_API_URL", "SCALAR_API_KEY"):
        assert text in top
    assert "python train.py" in run("submit", "--help").stdout
