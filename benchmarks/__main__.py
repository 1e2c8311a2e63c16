"""`make bench`, or `python -m benchmarks [start|turnaround|memory|sensor|pass|market|ingest|month …]`.

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

from benchmarks import crowd, ingest, market_engine, memory, month, starts
from scalar_api.up.platform import Options, Platform
from scalar_api.up.ports import free_port

ALL = ("start", "turnaround", "memory", "sensor", "pass", "market", "ingest", "month")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", default=ALL, help=f"of {', '.join(ALL)}; all of them by default")
    parser.add_argument("--tries", type=int, default=30, help="tries of each timed step (default: %(default)s)")
    parser.add_argument("--orders", type=int, default=50_000, help="of `market` (default: %(default)s)")
    parser.add_argument("--events", type=int, help="of `ingest` and `month` (default: 200,000 and 10,000,000)")
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
    if "market" in arguments.what:
        results["the sandbox market's engine"] = market_engine.measured(arguments.orders)
    if "ingest" in arguments.what:
        results["usage events, in batches of 10,000"] = ingest.measured(arguments.events or 200_000)
    if "month" in arguments.what:
        results["a month, rated and invoiced"] = month.measured(arguments.events or 10_000_000)
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
            print(f"| {what} | {name} | {value:,.0f} |" if value >= 1000 else f"| {what} | {name} | {value:.3g} |")
    folder = Path(".scalar")
    folder.mkdir(exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
