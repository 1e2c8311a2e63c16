"""Forecasts of real series against what came: `python -m benchmarks.forecasts [--data ../shared/data]`.

Rolling origin, a day ahead (24 steps), one origin a day at midnight, MASE scaled by the 24 h naive over the 56 days
before each origin. A back-test of the evaluated days and the 56 before them is rolled once: every weight and band of a
day is made of what was known when it began. Members that are fitted are fitted weekly (trees: every four weeks), where
the platform fits them anew for each forecast; `--exact` does so too, and takes much longer.
"""

import argparse
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from scalar.forecasts.batch import forecasts
from scalar.forecasts.calibration import calibrate
from scalar.forecasts.combining import Backtest, rolled
from scalar.forecasts.forecasting import BACKTEST_DAYS, backtest, bands, forecast, members
from scalar.forecasts.history import CAP, WEEK, History
from scalar.forecasts.model import HORIZON, HOUR, MEDIAN, Floats, Lifetimes, Series
from scalar.forecasts.skill import inside, pinball, scale

_MIDNIGHT = 24
_STRETCH = 60
DEMAND, PRICES = "demand", "prices"


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    file: str
    column: str
    days: int
    goal: float | None = None
    until: datetime | None = None
    jobs: str | None = None
    """A file of the jobs that the series is the sum of, as the platform knows them of its own demand."""

    @property
    def alone(self) -> "Case":
        """The series by itself."""
        return replace(self, name=f"{self.name}, its jobs unknown", jobs=None)


_PHILLY_ENDS = datetime(2017, 12, 12, tzinfo=UTC)
"""After that the trace runs dry: no more jobs were recorded."""
_PRICES_END = datetime(2025, 11, 16, tzinfo=UTC)
_PHILLY = Case(
    name="Philly GPUs",
    file=f"{DEMAND}/philly_hourly_gpus.csv",
    column="gpus",
    days=14,
    until=_PHILLY_ENDS,
    jobs="jobs/philly_jobs.csv.gz",
)
_H100 = f"{PRICES}/hourly_H100_80GB_SXM5.csv"
GOALS = (
    Case(name="Snowflake total", file=f"{DEMAND}/snowflake_total_hourly.csv.gz", column="vms", days=60, goal=0.36),
    Case(name="Snowflake region 1", file=f"{DEMAND}/snowflake_region1_hourly.csv.gz", column="vms", days=30, goal=0.55),
    replace(_PHILLY, goal=0.68),
    replace(_PHILLY, goal=0.68).alone,
    Case(name="H100 mean offer", file=_H100, column="mean", days=10, goal=0.54, until=_PRICES_END),
)
OTHERS = (
    *(
        Case(
            name=f"Snowflake {name}, to {until:%Y-%m}",
            file=f"{DEMAND}/snowflake_{file}_hourly.csv.gz",
            column="vms",
            days=30,
            until=until,
        )
        for name, file in (("total", "total"), ("region 1", "region1"))
        for until in (datetime(2022, 7, 1, tzinfo=UTC), datetime(2023, 5, 1, tzinfo=UTC))
    ),
    *(
        each
        for until in (datetime(2017, 11, 14, tzinfo=UTC), datetime(2017, 11, 28, tzinfo=UTC))
        for case in [replace(_PHILLY, name=f"Philly, to {until:%d %b}", until=until)]
        for each in (case, case.alone)
    ),
    *(
        Case(name=f"H100 {column} offer", file=_H100, column=column, days=10, until=_PRICES_END)
        for column in ("median", "p25", "min", "x8")
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """`mase`: of each member and `automatic`: the mean of each day's.

    `together`: all errors over the mean scale, and what was missing counts as the last value before it, there too.
    """

    mase: dict[str, float]
    together: dict[str, float]
    coverage: float
    pinball: float

    @property
    def best(self) -> tuple[str, float]:
        single = {name: each for name, each in self.mase.items() if name != "automatic"}
        name = min(single, key=lambda each: single[each])
        return name, single[name]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder (default: %(default)s)")
    parser.add_argument("--others", action="store_true", help="series and windows that have no goal, too")
    parser.add_argument("--prophet", action="store_true", help="Prophet among the members (minutes)")
    parser.add_argument("--exact", action="store_true", help="make each day's forecast by itself (an hour)")
    parser.add_argument("--series", type=int, default=100, help="for the timing; 0: none (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="of the timing (default: %(default)s)")
    arguments = parser.parse_args()
    if not (arguments.data / DEMAND).is_dir():
        parser.exit(2, f"There is no data in {arguments.data}: say where it is with --data.\n")
    how = vars(arguments)
    for name, value in measured(how.pop("data"), **how).items():
        print(f"{name}: {value:.3f}")


def measured(
    data: Path,
    *,
    others: bool = False,
    prophet: bool = False,
    exact: bool = False,
    series: int = 100,
    processes: int = 2,
) -> dict[str, float]:
    found: dict[str, float] = {}
    if not (data / DEMAND).is_dir():
        print(f"{data}: isn't there, so that nothing is forecast. --data FOLDER names another.")
        return found
    for case in (*GOALS, *(OTHERS if others else ())):
        figures = evaluated(case, read(data, case), prophet=prophet, exact=exact)
        show(case, figures)
        found[f"{case.name}, MASE"] = figures.mase["automatic"]
        found[f"{case.name}, MASE of all days together"] = figures.together["automatic"]
        found[f"{case.name}, coverage of the 90 % band"] = figures.coverage
    if series:
        found |= timed(data, series, processes)
    return found


def read(data: Path, case: Case) -> Series:
    frame = pd.read_csv(data / case.file)
    hours = pd.to_datetime(frame[frame.columns[0]], utc=True)
    known = frame[case.column].to_numpy(dtype=float)
    start = hours.iloc[0].to_pydatetime()
    series = Series(start=start, values=known, lifetimes=lifetimes(data / case.jobs, start) if case.jobs else None)
    return series if case.until is None else series.until(case.until)


def lifetimes(file: Path, start: datetime) -> Lifetimes:
    jobs = pd.read_csv(file)
    starts = (pd.to_datetime(jobs["timestamp"], utc=True) - start).dt.total_seconds().to_numpy(float) / 3600
    return Lifetimes(
        starts=starts, ends=starts + jobs["duration"].to_numpy(float) / 3600, gpus=jobs["num_gpus"].to_numpy(float)
    )


def evaluated(case: Case, series: Series, *, prophet: bool, exact: bool) -> Figures:
    history = History.of(series.last(CAP + 24 * case.days) if exact else series)
    asked = members(history, prophet=prophet)
    tested, _ = backtest(history, asked, _MIDNIGHT, case.days + BACKTEST_DAYS)
    truth = tested.truth[-case.days :]
    origins = [len(history) - 24 * day for day in range(case.days, 0, -1)]
    # What was missing counts as unchanged, as in the figures that the goals were set by.
    steady = pd.Series(history.known).ffill().to_numpy()
    held = np.stack([steady[origin : origin + _MIDNIGHT] for origin in origins])
    scales = np.array([scale(steady[:origin]) for origin in origins])
    quantiles = np.stack(_exact(history, origins) if exact else _banded(tested, case.days))
    paths = {member.name: tested.paths[row, -case.days :] for row, member in enumerate(asked)}
    paths["automatic"] = quantiles[:, :, MEDIAN]
    within = [inside(truth[day], quantiles[day])[~np.isnan(truth[day])] for day in range(case.days)]
    losses = [np.nanmean(pinball(truth[day], quantiles[day])) for day in range(case.days)]
    return Figures(
        mase={name: _mean_of_days(truth, each, scales) for name, each in paths.items() if not np.isnan(each).all()},
        together={name: _together(held, each, scales) for name, each in paths.items() if not np.isnan(each).any()},
        coverage=float(np.mean(np.concatenate(within))),
        pinball=float(np.mean(losses / scales)),
    )


def issued(series: Series, first: datetime, last: datetime) -> dict[datetime, Floats]:
    """The forecasts of a week that would have been issued at each midnight of [first, last): quantiles (hours, levels).

    Made in stretches of `_STRETCH` days, each from no more of the past than a forecast looks back on.
    """
    found: dict[datetime, Floats] = {}
    while last > first:
        history = History.of(series.until(last))
        days = min(_STRETCH, (last - first).days)
        tested, _ = backtest(history, members(history), HORIZON, days + BACKTEST_DAYS)
        starts = [history.start + int(day * 24) * HOUR for day in tested.days[-days:]]
        found |= dict(zip(starts, _banded(tested, days), strict=True))
        last -= timedelta(days=days)
    return found


def _banded(tested: Backtest, days: int) -> list[Floats]:
    """What would have been issued at the last days' origins, from the errors that were known at each: quantiles."""
    made = rolled(tested)
    errors = tested.truth - made
    found = []
    for row in range(max(0, len(made) - days), len(made)):
        known = errors[max(0, row - BACKTEST_DAYS) : row].copy()
        for back, seen in enumerate(known[::-1], start=1):
            seen[24 * back :] = np.nan
        found.append(bands(made[row], calibrate(known).offsets, 0.0))
    return found


def _exact(history: History, origins: list[int]) -> list[Floats]:
    whole = Series(start=history.start, values=history.known, lifetimes=history.lifetimes)
    return [forecast(whole.until(whole.start + origin * HOUR), _MIDNIGHT).quantiles for origin in origins]


def _mean_of_days(truth: Floats, path: Floats, scales: Floats) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(np.nanmean(np.abs(truth - path), axis=1) / scales))


def _together(held: Floats, path: Floats, scales: Floats) -> float:
    return float(np.mean(np.abs(held - path)) / np.mean(scales))


def show(case: Case, figures: Figures) -> None:
    name, best = figures.best
    own = figures.mase["automatic"]
    goal = "" if case.goal is None else f" (goal ≤ {case.goal})"
    together = figures.together["automatic"]
    print(f"\n{case.name}, last {case.days} days: MASE {own:.3f}{goal}; all days together {together:.3f}")
    print(f"  best single member: {name} {best:.3f}; automatic / best = {own / best:.3f} (goal ≤ 1.03)")
    print(f"  90 % band: {figures.coverage:.1%} inside (goal 88 to 92 %); pinball / scale {figures.pinball:.4f}")
    print("  each: " + ", ".join(f"{name} {each:.3f}" for name, each in figures.mase.items()))
    print("  together: " + ", ".join(f"{name} {each:.3f}" for name, each in figures.together.items()), flush=True)


def timed(data: Path, count: int, processes: int) -> dict[str, float]:
    """Windows of 12 weeks of the demand series, a week ahead, in a pool of processes, as the assets do it."""
    windows = list(_windows(data, count))
    began, cpu = time.perf_counter(), _cpu()
    forecasts(windows, processes=processes)
    return {
        f"{count} series of 12 weeks, s (goal ≤ 60 for 100)": time.perf_counter() - began,
        "CPU of that, s": _cpu() - cpu,
        "load average": os.getloadavg()[0],
    }


def _windows(data: Path, count: int) -> Iterator[Series]:
    series = [read(data, case) for case in GOALS[:2]]
    rng = np.random.default_rng(1)
    for number in range(count):
        whole = series[number % 2]
        first = int(rng.integers(0, len(whole.values) - 12 * WEEK))
        yield whole.until(whole.start + (first + 12 * WEEK) * HOUR).last(12 * WEEK)


def _cpu() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


if __name__ == "__main__":
    main()
