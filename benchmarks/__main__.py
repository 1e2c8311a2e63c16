"""`make bench`, or `python -m benchmarks [WHAT …]`; `--help` says what there is.

Every figure is a median or a ratio within this run, on a platform of its own with free ports: nothing that is running
is touched. A Docker engine with the image `busybox:local` is needed for start, turnaround, memory and sensor.
"""

import argparse
import json
import platform as machine
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    buying,
    crowd,
    forecasts,
    ingest,
    market_engine,
    memory,
    month,
    plan_size,
    replay_month,
    starts,
)
from scalar_api.up.platform import Options, Platform
from scalar_api.up.ports import free_port

Figures = dict[str, float]

ON_A_PLATFORM = ("start", "turnaround", "memory", "sensor", "pass")
ALONE: dict[str, tuple[str, Callable[[argparse.Namespace], Figures]]] = {
    "market": ("the sandbox market's engine", lambda how: market_engine.measured(how.orders)),
    "ingest": ("usage events, in batches of 10,000", lambda how: ingest.measured(how.events or 200_000)),
    "month": ("a month, rated and invoiced", lambda how: month.measured(how.events or 10_000_000)),
    "forecasts": ("forecasts, a day ahead", lambda how: forecasts.measured(how.data)),
    "buying": ("blocks, over the least possible", lambda how: buying.measured(how.data)),
    "plan": ("a plan that looks ahead", lambda _: plan_size.measured()),
    "replay": ("a month, replayed", lambda how: replay_month.measured(how.data)),
}
ALL = (*ON_A_PLATFORM, *ALONE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", default=ALL, help=f"of {', '.join(ALL)}; all of them by default")
    parser.add_argument("--tries", type=int, default=30, help="tries of each timed step (default: %(default)s)")
    parser.add_argument("--orders", type=int, default=50_000, help="of `market` (default: %(default)s)")
    parser.add_argument("--events", type=int, help="of `ingest` and `month` (default: 200,000 and 10,000,000)")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="series and traces, if there (default: %(default)s)"
    )
    arguments = parser.parse_args()
    results = on_a_platform(arguments.what, arguments.tries)
    for name, (title, measured) in ALONE.items():
        if name in arguments.what:
            results[title] = measured(arguments)
    show(results)


def on_a_platform(what: Collection[str], tries: int) -> dict[str, Figures]:
    results: dict[str, Figures] = {}
    if {"start", "turnaround", "memory"} & set(what):
        with a_platform(nudge=True) as platform:
            if "start" in what:
                results["start, nudge on"] = starts.with_nudge(platform, tries)
            if "turnaround" in what:
                results["end to next start, full node"] = starts.turnaround(platform, tries)
            if "memory" in what:
                results["memory"] = memory.of_running_jobs(platform, jobs=50)
    if "sensor" in what:
        with a_platform(nudge=False) as platform:
            results["start, sensor alone"] = starts.with_sensor(platform, tries)
    if "pass" in what:
        results["one pass, 1,000 jobs, 200 nodes"] = crowd.one_pass()
        with a_platform(nudge=True) as platform:
            results["launching 1,000 runs"] = crowd.launch_all(platform)
    return results


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


def show(results: dict[str, Figures]) -> None:
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
