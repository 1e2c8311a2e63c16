"""Tables of what was earned and what it cost, in dollars."""

from collections.abc import Iterable, Sequence

import dagster as dg

from scalar.billing.costs import NodeCost
from scalar.billing.margin import BlockPnl, CustomerLine, JobLine, Margin, MonthLine
from scalar.billing.tie_store import Tie

_Row = Sequence[str | float | None]


def nodes_table(nodes: Iterable[NodeCost]) -> dg.TableMetadataValue:
    """What each block's nodes cost, and who bears it."""
    rows: list[_Row] = [
        [
            each.block_id,
            each.gpu_type,
            float(each.gpu_seconds) / 3600,
            float(each.used_gpu_seconds) / 3600,
            *map(_usd, (each.cost, each.direct, each.idle_shared, each.idle_unshared)),
        ]
        for each in nodes
    ]
    numbers = ["gpu_hours", "used_gpu_hours", "cost", "runs", "idle_shared", "idle_unshared"]
    return _table(["block", "gpu_type"], numbers, rows)


def months_table(months: Iterable[MonthLine]) -> dg.TableMetadataValue:
    numbers = ["revenue", "direct", "idle_shared", "idle_unshared", "resale_result", "cost", "margin"]
    rows: list[_Row] = [[f"{each.month:%Y-%m}", *(_usd(getattr(each, name)) for name in numbers)] for each in months]
    return _table(["month"], numbers, rows)


def customers_table(customers: Iterable[CustomerLine]) -> dg.TableMetadataValue:
    rows = [[each.name, float(each.gpu_seconds) / 3600, *_earned(each)] for each in customers]
    return _table(["customer"], ["gpu_hours", *_EARNED], rows)


def jobs_table(jobs: Iterable[JobLine]) -> dg.TableMetadataValue:
    rows = [
        [each.job_id, each.name, each.organisation, each.tier, float(each.gpu_seconds) / 3600, *_earned(each)]
        for each in jobs
    ]
    return _table(["job", "name", "customer", "tier"], ["gpu_hours", *_EARNED], rows)


def blocks_table(blocks: Iterable[BlockPnl]) -> dg.TableMetadataValue:
    """Where each block's price went."""
    numbers = [
        "paid",
        "direct",
        "idle_shared",
        "idle_unshared",
        "resold",
        "resale_result",
        "ahead",
        "revenue",
        "margin",
    ]
    rows: list[_Row] = [
        [
            each.block_id,
            each.order_id,
            f"{each.nodes} x {each.gpu_type}",
            f"{each.window.start:%Y-%m-%d %H:%M}",
            f"{each.window.end:%Y-%m-%d %H:%M}",
            *(_usd(getattr(each, name)) for name in numbers),
        ]
        for each in blocks
    ]
    return _table(["block", "order", "machines", "from", "until"], numbers, rows)


def ties_table(ties: Iterable[Tie]) -> dg.TableMetadataValue:
    """Two books' figures of the same."""
    rows: list[_Row] = [[each.what, *map(_usd, (each.ours, each.theirs, each.off))] for each in ties]
    return _table(["what"], ["ours", "theirs", "off"], rows)


_EARNED = ["revenue", "cost", "idle_cost", "margin", "margin_percent"]


def _earned(line: Margin) -> list[float | None]:
    money = [_usd(each) for each in (line.revenue, line.cost, line.idle_cost, line.margin)]
    return [*money, None if line.percent is None else float(line.percent)]


def _table(texts: Sequence[str], numbers: Sequence[str], rows: Iterable[_Row]) -> dg.TableMetadataValue:
    names = [*texts, *numbers]
    columns = [dg.TableColumn(name) for name in texts] + [dg.TableColumn(name, "float") for name in numbers]
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(names, row, strict=True))) for row in rows],
        schema=dg.TableSchema(columns=columns),
    )


def _usd(micros: int) -> float:
    return micros / 1_000_000
