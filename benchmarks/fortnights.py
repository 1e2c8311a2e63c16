"""What do the policies cost in dollars? Two weeks of Philly's jobs, and of the demo's customers from an empty past.

`python -m benchmarks.fortnights --data ../shared/data`: at $16.80 a node-hour; a seed is two other weeks of the demo's
customers. The policy that looks ahead forecasts once a day; `--foresee-every 3` is nearer to earnest, and slower.
"""

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.replay_month import PRICE, START
from scalar.replay.history import read_history
from scalar.replay.model import History, Report, Setup
from scalar.replay.policies import Optimal, Reactive
from scalar.replay.reporting import oracle, replay
from scalar_orchestration.demo.customers import arrivals

FORTNIGHT = timedelta(days=14)
STARTS = (START, datetime(2017, 11, 3, tzinfo=UTC), datetime(2017, 11, 20, tzinfo=UTC))
DEMO = datetime(2026, 11, 2, tzinfo=UTC)
SEEDS = (1, 2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fortnights", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="of the demo's customers; default: 1 2 3")
    parser.add_argument("--foresee-every", type=int, default=24, metavar="HOURS", help="default: %(default)s")
    arguments = parser.parse_args()
    for name, history in histories(arguments.data, arguments.seeds):
        reports = [
            replay(history, Setup(), Reactive()),
            replay(history, Setup(), Optimal(foresee_every=arguments.foresee_every)),
            oracle(history, Setup()),
        ]
        print(f"{name}: {', '.join(told(each) for each in reports)}", flush=True)


def histories(data: Path, seeds: Sequence[int]) -> Iterator[tuple[str, History]]:
    trace = data / "jobs" / "philly_jobs.csv.gz"
    if trace.is_file():
        for start in STARTS:
            yield f"Philly, {start:%d %b}", read_history(trace, start=start, end=start + FORTNIGHT, price=PRICE)
    else:
        print(f"{trace}: isn't there. --data FOLDER names another folder.")
    for seed in seeds:
        came = arrivals(DEMO, DEMO + FORTNIGHT, seed)
        yield (
            f"The demo's customers, seed {seed}",
            History(start=DEMO, end=DEMO + FORTNIGHT, arrivals=tuple(came), prices={DEMO: PRICE}),
        )


def told(report: Report) -> str:
    return f"{report.policy} ${report.cost:,.0f} (waits, p95: {report.wait_p95:,.0f} s)"


if __name__ == "__main__":
    main()
