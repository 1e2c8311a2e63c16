"""Public history from files: jobs, and prices by hour.

Jobs: a CSV with `timestamp` (UTC where it says no zone), `duration` (seconds) and `num_gpus`; optional: `tier`,
`deadline`, `organisation`. A job of no GPUs, or of no time, is left out. Prices: a CSV whose first column is the hour;
dollars per GPU-hour in the named column.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TypeVar, cast

import numpy as np

from scalar.errors import InvalidRequest
from scalar.jobs.model import Tier
from scalar.metering.model import hour_of
from scalar.planning.highs import Floats
from scalar.replay.model import HOUR, Arrival, History

GPUS_PER_NODE = 8
_EARLIER = timedelta(weeks=6)
_LONGEST = timedelta(days=3653)

_DEAREST = 1_000_000
_YEARS = range(1970, 2200)
"""What is of another year was not meant so, and leaves no room to count back and ahead."""
_NO_TIME = f"no time of the years {_YEARS[0]} to {_YEARS[-1]}"

_T = TypeVar("_T")


def read_history(
    jobs: Path,
    *,
    start: datetime,
    end: datetime,
    price: Decimal,
    prices: Path | None = None,
    column: str = "mean",
    gpus_per_node: int = GPUS_PER_NODE,
    flex_share: float = 0.0,
    slack: timedelta = timedelta(hours=24),
) -> History:
    """Jobs that came in [start, end). `price`: per node-hour where `prices` says nothing.

    `flex_share`: where the file says no tier, so many of the jobs (every n-th) are Flex, and due `slack` after they
    could have been done. Prices of another time are taken as if they began at `start`.
    Raises: `InvalidRequest` where a file can't be read so.
    """
    came = list(_jobs(jobs, gpus_per_node, flex_share, slack))
    found = [each for each in came if start <= each.at < end]
    before = [each for each in came if each.at < start and each.tier is Tier.FAST]
    earlier = tuple(offered(before, start - _EARLIER, start).tolist())
    by_hour = {start: price} if prices is None else _prices(prices, column, start, gpus_per_node)
    found.sort(key=lambda each: (each.at, each.id))
    return History(start=start, end=end, arrivals=tuple(found), prices=by_hour, earlier=earlier)


def offered(arrivals: Sequence[Arrival], start: datetime, end: datetime) -> Floats:
    """GPUs that would run in each hour, if every job began when it came: the demand that there was."""
    hours = -(-(end - start) // HOUR)
    edges = np.zeros(hours + 2)
    for each in arrivals:
        gpus = each.gpus * each.nodes
        for moment, sign in ((each.at, 1), (each.at + timedelta(seconds=each.seconds), -1)):
            at = min(max((moment - start) / HOUR, 0.0), float(hours))
            whole = int(at)
            # What of the hour it changes, and what it changes from the next one on.
            edges[whole] += sign * gpus * (whole + 1 - at)
            edges[whole + 1] += sign * gpus * (at - whole)
    return np.asarray(np.cumsum(edges)[:hours])


def shaped(gpus: int, gpus_per_node: int) -> tuple[int, int]:
    """(GPUs on each node, nodes) of a job of so many GPUs: whole nodes where it needs more than one."""
    if gpus <= gpus_per_node:
        return max(1, gpus), 1
    return gpus_per_node, -(-gpus // gpus_per_node)


def _jobs(path: Path, gpus_per_node: int, flex_share: float, slack: timedelta) -> Iterator[Arrival]:
    flex_so_far = 0.0
    for number, (row, place) in enumerate(_rows(path, {"timestamp", "duration", "num_gpus"})):
        at = _read(_moment, row["timestamp"], f"{place}: timestamp", _NO_TIME)
        seconds = _read(_seconds, row["duration"], f"{place}: duration", "no number of seconds (ten years at most)")
        wanted = _read(int, row["num_gpus"], f"{place}: num_gpus", "no whole number") if seconds > 0 else 0
        if wanted <= 0:
            continue
        gpus, nodes = shaped(wanted, gpus_per_node)
        flex_so_far += flex_share
        tier = Tier.FLEX if flex_so_far >= 1 else Tier.FAST
        if row.get("tier"):
            tier = _read(Tier, row["tier"], f"{place}: tier", f"none of {', '.join(Tier)}")
        flex_so_far -= flex_so_far >= 1
        due = at + timedelta(seconds=seconds) + slack
        if row.get("deadline"):
            due = _read(_moment, row["deadline"], f"{place}: deadline", _NO_TIME)
        yield Arrival(
            id=f"job_{number:07}",
            at=at,
            seconds=seconds,
            gpus=gpus,
            nodes=nodes,
            tier=tier,
            organisation_id=row.get("organisation") or "customer",
            deadline=due if tier is Tier.FLEX or row.get("deadline") else None,
        )


def _prices(path: Path, column: str, start: datetime, gpus_per_node: int) -> dict[datetime, Decimal]:
    found = {}
    for row, place in _rows(path, {column}):
        if row[column]:
            hour = hour_of(_read(_moment, next(iter(row.values())), place, _NO_TIME))
            dollars = price_of(row[column], f"{place}: {column}")
            found[hour] = (dollars * gpus_per_node).quantize(Decimal("0.000001"))
    if not found:
        raise InvalidRequest(f"{path}: no price in the column {column}.")
    first = min(found)
    moved = hour_of(start) - first
    if start > max(found) or start + HOUR < first:
        found = {hour + moved: price for hour, price in found.items()}
    return found


def _rows(path: Path, needed: set[str]) -> Iterator[tuple[dict[str, str], str]]:
    """Each row, and where it stands."""
    if not path.is_file():
        raise InvalidRequest(f"{path}: there is no such file.")
    try:
        with path.open("rb") as raw, TextIOWrapper(_unzipped(raw, path), encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text, restval="")
            missing = needed - set(reader.fieldnames or ())
            if missing:
                raise InvalidRequest(f"{path}: lacks the column(s) {', '.join(sorted(missing))}.")
            for row in reader:
                yield row, f"{path}, line {reader.line_num}"
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as problem:
        raise InvalidRequest(f"{path}: can't be read as a CSV: {problem}.") from problem


def _unzipped(raw: IO[bytes], path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw


def _read(as_what: Callable[[str], _T], text: str, where: str, otherwise: str) -> _T:
    try:
        return as_what(text)
    except (ValueError, ArithmeticError) as problem:
        raise InvalidRequest(f"{where}: {text!r} is {otherwise}.") from problem


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.year not in _YEARS:
        raise ValueError(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds <= _LONGEST.total_seconds():
        raise ValueError(text)
    return seconds


def price_of(text: str, where: str) -> Decimal:
    """Raises: `InvalidRequest` where it is none, or more than anything costs."""
    return _read(_dollars, text, where, f"no price: dollars above 0, and at most {_DEAREST:,}")


def _dollars(text: str) -> Decimal:
    dollars = Decimal(text)
    if not 0 < dollars <= _DEAREST:
        raise ValueError(text)
    return dollars
