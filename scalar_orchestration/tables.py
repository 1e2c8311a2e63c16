"""Tables for asset metadata."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import dagster as dg

from scalar.market.prices import HourPrices
from scalar.market.reconciling import Finding
from scalar.metering.model import UsageRecord
from scalar.planning.model import Action


def usage_table(records: Iterable[UsageRecord]) -> dg.TableMetadataValue:
    """GPU seconds by organisation, tier and GPU type, most first."""
    totals: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for record in records:
        totals[record.organisation_id, record.tier, record.gpu_type] += record.gpu_seconds
    ordered = sorted(totals.items(), key=lambda each: -each[1])
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({"organisation": org, "tier": tier, "gpu_type": gpu_type, "gpu_seconds": float(seconds)})
            for (org, tier, gpu_type), seconds in ordered
        ],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("organisation"),
                dg.TableColumn("tier"),
                dg.TableColumn("gpu_type"),
                dg.TableColumn("gpu_seconds", "float"),
            ]
        ),
    )


def findings_table(findings: Iterable[Finding]) -> dg.TableMetadataValue:
    """What differs between our books and the market's, and what to do."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord({"kind": each.kind.value, "what": each.what, "do": each.do}) for each in findings],
        schema=dg.TableSchema(columns=[dg.TableColumn("kind"), dg.TableColumn("what"), dg.TableColumn("do")]),
    )


def prices_table(rows: Iterable[HourPrices], names: Mapping[str, str]) -> dg.TableMetadataValue:
    """What was traded, by kind of machine: `names` says how each is called. Dollars per node-hour."""
    by_kind: dict[str, list[HourPrices]] = defaultdict(list)
    for row in rows:
        by_kind[row.sku].append(row)
    records = [_kind_record(names.get(sku, sku), group) for sku, group in by_kind.items()]
    number = ("hours", "trades", "node_hours", "low", "average", "high", "buy_1h", "sell_1h", "available_nodes")
    return dg.MetadataValue.table(
        records=[dg.TableRecord(record) for record in records],
        schema=dg.TableSchema(columns=[dg.TableColumn("kind"), *(dg.TableColumn(name, "float") for name in number)]),
    )


def actions_table(actions: Iterable[Action], names: Mapping[str, str]) -> dg.TableMetadataValue:
    """What a plan does, and why."""
    columns = ("kind", "machine", "nodes", "from", "until", "limit", "at_most", "why")
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "kind": each.kind.value,
                    "machine": names.get(each.sku, each.sku),
                    "nodes": each.window.nodes,
                    "from": f"{each.window.start:%Y-%m-%d %H:%M}",
                    "until": f"{each.window.end:%Y-%m-%d %H:%M}",
                    "limit": float(each.limit_price) if each.limit_price is not None else None,
                    "at_most": float(each.window.cost_at(each.limit_price)) if each.limit_price is not None else None,
                    "why": each.reason,
                }
            )
            for each in actions
        ],
        schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in columns]),
    )


def _kind_record(name: str, rows: Sequence[HourPrices]) -> dict[str, str | int | float | None]:
    traded = [row.traded for row in rows if row.traded.average is not None]
    last = max(rows, key=lambda row: row.hour)
    quotes = last.book.quotes.get("1h", {}) if last.book else {}
    hours = sum((each.node_hours for each in traded), Decimal(0))
    cost = sum((each.node_hours * each.average for each in traded if each.average is not None), Decimal(0))
    return {
        "kind": name,
        "hours": len(rows),
        "trades": sum(row.traded.trades for row in rows),
        "node_hours": float(hours),
        "low": min((float(each.low) for each in traded if each.low is not None), default=None),
        "average": float(cost / hours) if hours else None,
        "high": max((float(each.high) for each in traded if each.high is not None), default=None),
        "buy_1h": _number(quotes.get("buy")),
        "sell_1h": _number(quotes.get("sell")),
        "available_nodes": last.book.available_nodes if last.book else None,
    }


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
