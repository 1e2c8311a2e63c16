"""Tables of forecasts, their skill, and the authority that follows from it."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from scalar.forecasts.authority import authority
from scalar.forecasts.demand import Demand
from scalar.forecasts.issuing import Made
from scalar.forecasts.model import MEDIAN, Floats
from scalar.forecasts.skill import Skill
from scalar.forecasts.store import Subject

_Row = Sequence[str | float | None]


def demand_table(found: Iterable[Demand]) -> dg.TableMetadataValue:
    """GPU-hours of one hour."""
    numbers = ["running", "queued", "refused_for_price", "refused_for_quota"]
    rows: list[_Row] = [[each.gpu_type, each.tier, *(getattr(each, name) for name in numbers)] for each in found]
    return _table(["gpu_type", "tier"], numbers, rows)


def forecasts_table(made: Iterable[Made], names: Mapping[str, str]) -> dg.TableMetadataValue:
    """Means of the next day and the next week, with the band of the day; who says so, and what was odd."""
    rows: list[_Row] = [
        [
            called(each.subject, names),
            each.forecast.member,
            *_means(each.forecast.quantiles),
            "; ".join(each.forecast.notes),
        ]
        for each in made
    ]
    return _table(["series", "member"], ["day_low", "day", "day_high", "week"], rows, last=["notes"])


def skill_table(skills: Mapping[Subject, Skill], names: Mapping[str, str]) -> dg.TableMetadataValue:
    """How good forecasts were, and how far a plan may go on their word."""
    rows: list[_Row] = []
    for subject, skill in skills.items():
        given = authority(skill)
        figures = [skill.mase, skill.naive, skill.pinball, skill.coverage]
        power = [float(given.limit_price), float(given.order_size), float(given.horizon_hours)]
        rows.append([subject.kind.value, called(subject, names), float(skill.hours), *figures, *power, given.why])
    numbers = ["hours", "mase", "naive_mase", "pinball", "coverage", "limit_price", "order_size", "horizon_hours"]
    return _table(["kind", "series"], numbers, rows, last=["why"])


def called(subject: Subject, names: Mapping[str, str]) -> str:
    return names.get(subject.name, str(subject))


def _means(quantiles: Floats) -> list[float]:
    day = quantiles[:24].mean(axis=0)
    return [float(each) for each in (day[0], day[MEDIAN], day[-1], quantiles[:, MEDIAN].mean())]


def _table(
    texts: Sequence[str], numbers: Sequence[str], rows: Iterable[_Row], *, last: Sequence[str] = ()
) -> dg.TableMetadataValue:
    """`last`: long texts, which would make the columns after them narrow."""
    names = [*texts, *numbers, *last]
    columns = [dg.TableColumn(name, "float" if name in numbers else "string") for name in names]
    return dg.MetadataValue.table(
        records=[dg.TableRecord({name: _short(value) for name, value in zip(names, row, strict=True)}) for row in rows],
        schema=dg.TableSchema(columns=columns),
    )


def _short(value: str | float | None) -> str | float | None:
    return round(value, 3) if isinstance(value, float) else value
