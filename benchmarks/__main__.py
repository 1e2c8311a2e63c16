"""`make bench`, or `python -m benchmarks [start|turnaround|memory|sensor|pass …]`.

Every figure is a median or a ratio within this run, on a platform of its own with free ports: nothing that is running
is touched. A Docker engine with the image `busybox:local` is needed for start, turnaround, memory and sensor.
"""

import argparse
import json
import platform as machine
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import crowd, memory, starts
from scalar_api.up.platform import Options, Platform
from scalar_api.up.ports import free_port

ALL = ("start", "turnaround", "memory", "sensor", "pass")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", default=ALL, help=f"of {', '.join(ALL)}; all of them by default")
    parser.add_argument("--tries", type=int, default=30, help="tries of each timed step (default: %(default)s)")
    arguments = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    if {"start", "turnaround", "memory"} & set(arguments.what):
        with a_platform(nudge=True) as platform:
            if "start" in arguments.what:
                results["start, nudge on"] = starts.with_nudge(platform, arguments.tries)
            if "turnaround" in arguments.what:
                results["end to next start, full node"] = starts.turnaround(platform, arguments.tries)
            if "memory" in arguments.what:
                results["memory"] = memory.of_running_jobs(platform, jobs=50)
    if "sensor" in arguments.what:
        with a_platform(nudge=False) as platform:
            results["start, sensor alone"] = starts.with_sensor(platform, arguments.tries)
    if "pass" in arguments.what:
        results["one pass, 1,000 jobs, 200 nodes"] = crowd.one_pass()
        with a_platform(nudge=True) as platform:
            results["launching 1,000 runs"] = crowd.launch_all(platform)
    show(results)


@contextmanager
def a_platform(*, nudge: bool) -> Iterator[Platform]:
    data = Path(tempfile.mkdtemp(prefix="scalar-bench-"))
    options = Options(
        data=data, api_port=free_port(), dagster_port=free_port(), gpus=64, nudge=nudge, node_name=f"bench-{data.name}"
    )
    platform = Platform(options, progress=lambda _: None, restarted=lambda name, code: print(f"! {name}: {code}"))
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()
        shutil.rmtree(data, ignore_errors=True)


def show(results: dict[str, dict[str, float]]) -> None:
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d}, {machine.processor() or machine.machine()}, Python {machine.python_version()}"
    )
    print("\n| what | figure | value |\n| --- | --- | --- |")
    for what, figures in results.items():
        for name, value in figures.items():
            print(f"| {what} | {name} | {value:.3g} |")
    folder = Path(".scalar")
    folder.mkdir(exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
