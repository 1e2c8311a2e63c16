"""How long does a replayed month take? 100,000 jobs, drawn from a real trace; goal: 60 s.

`python -m benchmarks.replay_month --data ../shared/data`: jobs of the Philly trace (17 October to 16 November 2017), as
often as it takes for 100,000; where the data isn't there, made-up ones of the same kinds. And in dollars: the reactive
policy, the one that looks ahead, and the oracle, on the trace as it is.
"""

import argparse
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from scalar.replay.history import read_history, shaped
from scalar.replay.model import Arrival, History, Setup
from scalar.replay.policies import policy_named
from scalar.replay.reporting import oracle, replay

START = datetime(2017, 10, 17, tzinfo=UTC)
MONTH = timedelta(days=30)
PRICE = Decimal("16.8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay_month", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--policies", nargs="*", default=["reactive", "optimal"], help="compared on the trace as it is")
    arguments = parser.parse_args()
    for name, value in measured(arguments.data, arguments.jobs, arguments.policies).items():
        print(f"{value:14.2f}  {name}")


def measured(
    data: Path = Path("../shared/data"),
    jobs: int = 100_000,
    policies: tuple[str, ...] | list[str] = ("reactive", "optimal"),
) -> dict[str, float]:
    trace = data / "jobs" / "philly_jobs.csv.gz"
    there = trace.is_file()
    if not there:
        print(f"{trace}: isn't there, so that jobs are made up. --data FOLDER names another folder.")
    history = read_history(trace, start=START, end=START + MONTH, price=PRICE) if there else made_up(jobs)
    many = of_count(history, jobs)
    began = time.perf_counter(), time.process_time()
    found = replay(many, Setup(), policy_named("reactive"))
    results = {
        f"{found.jobs:,} jobs in a month, seconds (goal ≤ 60)": time.perf_counter() - began[0],
        "of them, of one core": time.process_time() - began[1],
        "finished": found.finished,
    }
    for name in policies:
        made = replay(history, Setup(), policy_named(name))
        results |= {
            f"{name}: cost, $": float(made.cost),
            f"{name}: margin, $": float(made.margin),
            f"{name}: wait, p95, s": made.wait_p95,
        }
    return results | {"oracle: cost, $": float(oracle(history, Setup()).cost)}


def of_count(history: History, count: int) -> History:
    """As many jobs: some again a little later, with as little work in all as there was."""
    there = len(history.arrivals)
    if not there:
        return history
    copies = -(-count // there)
    arrivals = [
        Arrival(
            id=f"{each.id}/{copy}",
            at=min(each.at + timedelta(minutes=7 * copy), history.end - timedelta(minutes=1)),
            seconds=max(1.0, each.seconds / copies),
            gpus=each.gpus,
            nodes=each.nodes,
        )
        for each in history.arrivals
        for copy in range(copies)
    ][:count]
    arrivals.sort(key=lambda each: (each.at, each.id))
    return History(start=history.start, end=history.end, arrivals=tuple(arrivals), prices=history.prices)


def made_up(count: int) -> History:
    random = np.random.default_rng(0)
    gpus = random.choice([1, 1, 1, 2, 4, 8, 16], count)
    seconds = np.minimum(random.lognormal(6.5, 2.0, count), 7 * 86_400)
    at = np.sort(random.uniform(0, MONTH.total_seconds(), count))
    arrivals = [
        Arrival(
            id=f"job_{n:07}",
            at=START + timedelta(seconds=float(at[n])),
            seconds=float(seconds[n]),
            gpus=shaped(int(gpus[n]), 8)[0],
            nodes=shaped(int(gpus[n]), 8)[1],
        )
        for n in range(count)
    ]
    return History(start=START, end=START + MONTH, arrivals=tuple(arrivals), prices={START: PRICE})


if __name__ == "__main__":
    main()
