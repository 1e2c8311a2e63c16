"""Tables for asset metadata."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

import dagster as dg

from scalar.market.reconciling import Finding
from scalar.metering.model import UsageRecord


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
