"""`scalar up` as a user runs it: what it refuses, what it says, and that nothing is left behind when it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from outside import Customer, counting, eventually, processes_of

from scalar.database import Database
from scalar_api.up.folder import DataFolder
from scalar_api.up.ports import answers, free_port
from scalar_api.up.postgres import EmbeddedPostgres

SCALAR = Path(sys.executable).parent / "scalar"


class Up:
    """`scalar up …` in a terminal, more or less."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.api_port, self.dagster_port = free_port(), free_port()
        ports = ["--api-port", str(self.api_port), "--dagster-port", str(self.dagster_port)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCALAR_")}
        self.process = subprocess.Popen(
            [SCALAR, "up", "--data", data, *ports, *options],
            env={**inherited, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def says(self, text: str) -> None:
        def look() -> bool:
            assert text in self.output or self.process.poll() is None, self.output
            return text in self.output

        eventually(look, within_seconds=120, what=f"it says {text!r}")

    def ends(self, within_seconds: float = 120) -> int:
        code = self.process.wait(within_seconds)
        self._reader.join()
        return code

    def interrupt(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.ends()

    def customer(self) -> Customer:
        keys = DataFolder(self.data).read_credentials()
        assert keys is not None
        return Customer(keys.api_url, keys.customer_key)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.ends()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self._lines.extend(output)


@contextmanager
def scalar_up(data: Path, *options: str) -> Iterator[Up]:
    up = Up(data, *options)
    try:
        yield up
    finally:
        up.close()


def test_a_taken_port_is_named_with_what_to_do(data):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with scalar_up(data, "--api-port", str(port)) as up:
            assert up.ends() == 1
            assert f"Port {port} of 127.0.0.1 is taken, and the API needs it." in up.output
            assert "choose another port with --api-port" in up.output
        with scalar_up(data, "--dagster-port", str(port)) as up:
            assert up.ends() == 1
            assert f"Port {port} of 127.0.0.1 is taken, and Dagster's webserver needs it." in up.output
            assert "Traceback" not in up.output


def test_a_half_written_data_folder_is_named_with_what_to_do(data):
    (data / "postgres" / "base").mkdir(parents=True)
    with scalar_up(data) as up:
        assert up.ends() == 1
        assert f"The data folder {data}/postgres is half-written" in up.output
        assert f"rm -r {data}/postgres" in up.output
        assert "Traceback" not in up.output


def test_a_data_folder_that_cannot_be_written_is_named(data):
    data.write_text("a file, not a folder")
    with scalar_up(data / "below") as up:
        assert up.ends() == 1
        assert f"The data folder {data}/below can't be written: Not a directory." in up.output


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_named_with_what_to_do(data):
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", data], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with scalar_up(data) as up:
            assert up.ends() == 1
            assert re.search(r"has \d+ MiB left, and Postgres needs at least 1024 MiB", up.output)
    finally:
        subprocess.run(["umount", data], check=True)


def test_ctrl_c_leaves_nothing_behind_and_the_next_start_goes_on_with_the_same_data(data, engine):
    with scalar_up(data, "--no-sample", "--runtime", "docker") as up:
        up.says("order filled")
        up.says("Up.")
        assert f"Ctrl-C stops everything; the data stays in {data}." in up.output
        customer = up.customer()
        done = customer.submit(counting(2), name="before")
        customer.ended(done)
        stays = customer.submit("echo up; exec sleep 3", name="interrupted")
        customer.has_printed(stays, "up")
        with scalar_up(data) as second:
            assert second.ends() == 1
            assert f"Scalar is already running with the data folder {data}." in second.output
        assert up.interrupt() == 0
        assert up.output.endswith("stopped\n")
        assert "is started again" not in up.output
        customer.close()
    assert processes_of(data) == []
    assert not any(answers(port) for port in (up.api_port, up.dagster_port))
    assert [each.actions[-1] for each in engine.of_job(stays)] == ["destroy"]

    with scalar_up(data, "--once", "--runtime", "docker") as again:
        again.says("A sample job")
        customer = again.customer()
        names = [job["name"] for job in customer.get("/v1/jobs")["data"]]
        assert {"before", "interrupted"} <= set(names)
        customer.close()
        assert again.ends() == 0
    for text in ("Hello from", "step 3 of 3", "succeeded.", "GPU seconds", f":{again.dagster_port}/runs/"):
        assert text in again.output
    assert re.search(r"node +bought for \$\d+\.\d\d per node-hour with order_", again.output)
    assert re.search(r"cost +\$0\.0\d+ +to the customer", again.output)
    assert re.search(r"margin +-?\$0\.\d+ +after \$0\.0\d+ for its part of the node", again.output)
    assert float(re.search(r"waited +([0-9.]+) s", again.output)[1]) < 15
    assert float(re.search(r"metered +([0-9.]+) GPU seconds", again.output)[1]) >= 3
    assert processes_of(data) == []
    assert engine.client.containers(all=True, filters={"label": f"scalar.job_id={stays}"}) == []


def test_processes_say_that_they_isolate_nothing_and_die_with_a_killed_scalar_up(data):
    with scalar_up(data, "--no-market", "--no-sample", "--runtime", "process") as up:
        up.says("Up.")
        assert "runtime process (development only, not isolated)" in up.output
        nodes = subprocess.run(
            [SCALAR, "nodes"],
            env={**os.environ, "SCALAR_DATA": str(data), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "process (development only, not isolated)" in nodes.stdout
        customer = up.customer()
        customer.ended(customer.submit("echo up", name="before"))
        customer.close()
        up.process.kill()
        up.ends()
    # Postgres alone stays, which loses nothing by it; the next start would find it.
    eventually(lambda: all("postgres" in each for each in processes_of(data)), 90, what="every service has ended")
    server = EmbeddedPostgres(data / "postgres")
    try:
        with Database(server.url("scalar")) as database, database.transaction() as tx:
            assert [row["name"] for row in tx.execute("select name from jobs")] == ["before"]
    finally:
        server.stop()
    assert processes_of(data) == []
