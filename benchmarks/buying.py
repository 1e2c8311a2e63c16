"""Blocks or single hours? The buying rule's cost over the least possible, on demand that it has never seen.

`python -m benchmarks.buying --data ../shared/data`: a block costs 1.0 per node-hour, an hour 2.1. Of a block that
outlasts the series only the hours within it count, for the rule as for the optimum. The rule knows the hour that
begins, what was before it, and the forecast that would have been issued at the last midnight; it starts with nothing of
its own. A year takes some half an hour of one core.
Other series are tried with `--series FILE --column NAME`.
"""

import argparse
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.forecasts import issued, lifetimes
from scalar.forecasts.model import HOUR, Series
from scalar.forecasts.scenarios import at_levels
from scalar.planning.buying import BuyingRule, follow
from scalar.planning.deadlines import (
    Outlook,
    Work,
    at_the_last_moment,
    by_reservation_price,
    least,
    run,
    uniform_progress,
)
from scalar.planning.experts import DAY, WEEK, as_forecast, by_the_hour
from scalar.planning.flexing import follow_flex, spread
from scalar.planning.highs import Floats
from scalar.planning.oracle import Terms, accrued, perfect_cost

_SCENARIOS = 12
FLEX, SLACK = 0.3, 24


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.buying", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--series", type=Path, help="another hourly series: CSV whose first column is the time")
    parser.add_argument("--column", help="of --series; default: the second one")
    parser.add_argument("--start", help="of what is measured; default: after six weeks")
    arguments = parser.parse_args()
    if arguments.series:
        show(of_file(arguments.series, arguments.column, arguments.start))
    else:
        show(measured(arguments.data))


def measured(data: Path = Path("../shared/data")) -> dict[str, float]:
    results: dict[str, float] = {}
    if not (data / "demand").is_dir():
        print(f"{data}: isn't there, so that only made-up steps are measured. --data FOLDER names another.")
    else:
        for name, series, jobs, begin, until, goals in real(data):
            results |= each_length(name, series, jobs, where(series, begin), where(series, until), goals)
        results |= with_deadlines(data)
    return results | adversarial()


def with_deadlines(data: Path, jobs: int = 400) -> dict[str, float]:
    """Flex jobs of one node on Philly: idle hours are those of the rule's blocks, prices the H100's, a year apart.

    What the rule is told is what it could know: how often a block stood idle in the week before, and its prices.
    """
    philly = read(data / "demand" / "philly_hourly_gpus.csv")
    start, end = where(philly, "2017-10-17"), where(philly, "2017-12-12")
    series = philly.to_numpy(float)
    idle = follow(BuyingRule(terms=Terms(hours=DAY)), series, start, end) > 1.02 * series[start:end]
    known = read(data / "prices" / "hourly_H100_80GB_SXM5.csv", "mean").dropna().to_numpy(float)
    prices = np.resize(known, len(idle))
    random = np.random.default_rng(0)
    paid: dict[str, float] = {"reservation": 0.0, "uniform": 0.0, "last": 0.0, "least": 0.0}
    late = 0
    for _ in range(jobs):
        at = int(random.integers(WEEK, len(idle) - 2 * DAY))
        left = float(random.integers(1, 12))
        work = Work(left=left, until_deadline=left + float(random.integers(1, DAY)), restart=0.25)
        hours = int(work.until_deadline)
        levels = np.quantile(prices[at - WEEK : at], np.linspace(0.05, 0.95, 10))
        outlook = Outlook(idle=np.full(hours, idle[at - WEEK : at].mean()), prices=np.tile(levels, (hours, 1)))
        there, asked = idle[at : at + hours].tolist(), prices[at : at + hours].tolist()
        policies = {
            "reservation": by_reservation_price(outlook),
            "uniform": uniform_progress(work),
            "last": at_the_last_moment,
        }
        for name, policy in policies.items():
            ran = run(policy, work, there, asked)
            paid[name] += ran.paid
            late += ran.late
        paid["least"] += least(work, there, asked)
    uniform = paid["uniform"]
    return {
        "deadlines: the rule's cost over Uniform Progress'": paid["reservation"] / uniform,
        "deadlines: at the last moment, over Uniform Progress'": paid["last"] / uniform,
        "deadlines: who knows every hour and moves for nothing, over Uniform Progress'": paid["least"] / uniform,
        "deadlines missed, of all (goal 0)": float(late),
    }


def real(data: Path) -> "Iterator[tuple[str, pd.Series[Any], Path | None, str, str, dict[int, float | None]]]":
    """Name, series, the file of its jobs, first day, day after the last, goals by the hours of a block."""
    philly, jobs = read(data / "demand" / "philly_hourly_gpus.csv"), data / "jobs" / "philly_jobs.csv.gz"
    yield "Philly GPUs", philly, jobs, "2017-10-17", "2017-12-12", {DAY: 1.10, WEEK: 1.07}
    total = read(data / "demand" / "snowflake_total_hourly.csv.gz")
    yield "Snowflake total 2023", total, None, "2023-01-01", "2024-01-01", {WEEK: 1.003}


def of_file(path: Path, column: str | None, start: str | None) -> dict[str, float]:
    series = read(path, column)
    first = where(series, start) if start else 6 * WEEK
    return each_length(path.name, series, None, first, len(series), {DAY: None, WEEK: None})


def each_length(
    name: str, series: "pd.Series[Any]", jobs: Path | None, start: int, end: int, goals: dict[int, float | None]
) -> dict[str, float]:
    """`goals`: by the hours of a block."""
    paths = told(series, jobs, start, end)
    results: dict[str, float] = {}
    for hours, goal in goals.items():
        results |= compared(f"{name}, {hours} h", series.to_numpy(float), start, end, hours, goal, paths)
    return results


def told(series: "pd.Series[Any]", jobs: Path | None, start: int, end: int) -> dict[int, Floats]:
    """Each midnight's forecast, from six weeks before the first hour on: scenarios (n, hours), by the hour."""
    begun = series.index[0].to_pydatetime()
    known = Series(
        start=begun, values=series.to_numpy(float), lifetimes=None if jobs is None else lifetimes(jobs, begun)
    )
    first = max(midnight(begun + (start - 6 * WEEK) * HOUR), midnight(begun) + timedelta(days=2))
    made = issued(known, first, midnight(begun + end * HOUR))
    levels = (np.arange(_SCENARIOS) + 0.5) / _SCENARIOS
    return {
        (hour - begun) // HOUR: np.stack([at_levels(row, levels) for row in quantiles], axis=1)
        for hour, quantiles in made.items()
    }


def midnight(hour: datetime) -> datetime:
    return hour.replace(hour=0)


def compared(
    name: str, series: Floats, start: int, end: int, hours: int, goal: float | None, forecasts: dict[int, Floats]
) -> dict[str, float]:
    terms, demand = Terms(hours=hours), series[start:end]
    cheapest = perfect_cost(demand, terms)
    said = "" if goal is None else f" (goal ≤ {goal})"
    rule = BuyingRule(terms=terms, rolling=by_the_hour(hours, as_forecast(forecasts)))
    results = {
        f"{name}: cost over the optimum's{said}": cost_of(follow(rule, series, start, end), demand, terms) / cheapest,
        f"{name}: without forecasts": cost_of(follow(BuyingRule(terms=terms), series, start, end), demand, terms)
        / cheapest,
        f"{name}: the last block's quantile": last_quantile(series, start, end, terms) / cheapest,
        f"{name}: all by the hour": terms.hourly * float(demand.sum()) / cheapest,
    }
    fast, flex = (1 - FLEX) * series, FLEX * series
    cheapest = perfect_cost(fast[start:end], terms, flex=flex[start:end], slack=SLACK)
    wanted = {at: np.stack([spread_ahead(path, flex[:at]) for path in paths]) for at, paths in forecasts.items()}
    rule = BuyingRule(terms=terms, rolling=by_the_hour(hours, as_forecast(wanted)))
    made = follow_flex(rule, fast, flex, SLACK, start, end)
    paid = float((terms.block * made.stock + terms.hourly * made.hourly).sum())
    unmet = float((made.stock + made.hourly + 1e-6 < fast[start:end]).mean())
    undone = max(0.0, float(flex[start:end].sum() - made.done.sum()))
    return results | {
        f"{name}: {FLEX:.0%} Flex, cost over the Flex optimum's (goal ≤ 1.05)": paid / cheapest,
        f"{name}: Fast hours unmet (goal ≤ 0.001)": unmet,
        f"{name}: Flex work late or undone (goal 0)": round(made.late + undone, 6),
    }


def spread_ahead(path: Floats, flex_before: Floats) -> Floats:
    """A path of all demand, as `spread` sees it."""
    flex = np.append(flex_before[-SLACK:], FLEX * path)
    return (1 - FLEX) * path + spread(np.zeros(len(flex)), flex, SLACK)[-len(path) :]


def cost_of(stock: Floats, demand: Floats, terms: Terms) -> float:
    return float(accrued(stock, demand, terms).sum())


def last_quantile(series: Floats, start: int, end: int, terms: Terms) -> float:
    """The newsvendor's level of one block's hours, owned for those of the next."""
    cost = 0.0
    for at in range(start, end, terms.hours):
        level = np.quantile(series[max(0, at - terms.hours) : at], terms.quantile)
        demand = series[at : min(end, at + terms.hours)]
        cost += float(accrued(np.full(len(demand), level), demand, terms).sum())
    return cost


def adversarial() -> dict[str, float]:
    """Steps that begin and end where it hurts: the worst of many lengths. Nobody watches the rule and answers it."""
    results: dict[str, float] = {}
    for hours in (DAY, WEEK):
        terms = Terms(hours=hours)
        worst = 0.0
        for on in sorted({1, hours // 4, int(terms.break_even), int(terms.break_even) + 1, hours}):
            for off in (hours, 2 * hours):
                series = np.tile(np.concatenate([np.full(on, 100.0), np.zeros(off)]), 1 + 16 * hours // (on + off))
                start = min(4 * hours, len(series) // 3)
                stock = follow(BuyingRule(terms=terms), series, start, len(series))
                cost = float(accrued(stock, series[start:], terms).sum())
                worst = max(worst, cost / perfect_cost(series[start:], terms))
        results[f"steps, {hours} h: worst cost over the optimum's (goal ≤ 2)"] = worst
    return results


def read(path: Path, column: str | None = None) -> "pd.Series[Any]":
    table = pd.read_csv(path)
    times = pd.to_datetime(table.iloc[:, 0], utc=True)
    return pd.Series(table[column or table.columns[1]].to_numpy(float), index=times)


def where(series: "pd.Series[Any]", day: str) -> int:
    return int(series.index.searchsorted(pd.Timestamp(day, tz="UTC")))


def show(results: dict[str, float]) -> None:
    for name, value in results.items():
        print(f"{value:10.4f}  {name}")


if __name__ == "__main__":
    main()
