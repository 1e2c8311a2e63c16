"""Which policy plans in earnest."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from scalar.database import Transaction
from scalar.replay import store
from scalar.replay.choosing import chosen, policy_in_force
from scalar.replay.model import Report

A_REPORT = Report(
    policy="reactive",
    jobs=10,
    finished=10,
    cost=Decimal(100),
    revenue=Decimal(150),
    resold=Decimal(0),
    wait_median=10.0,
    wait_p95=100.0,
    fast_wait_p95=100.0,
    deadlines=2,
    missed_deadlines=0,
    interruptions=0,
    gpu_hours=40.0,
    owned_gpu_hours=50.0,
    orders=3,
)


def reports(**changes):
    return {"reactive": A_REPORT, "optimal": replace(A_REPORT, policy="optimal", **changes)}


@pytest.mark.parametrize(
    ("asked", "found", "policy"),
    [
        ("reactive", reports(cost=Decimal(50)), "reactive"),
        ("optimal", {}, "optimal"),
        ("auto", {}, "reactive"),
        ("auto", {"reactive": A_REPORT}, "reactive"),
        ("auto", reports(cost=Decimal(99)), "optimal"),
        ("auto", reports(cost=Decimal(101)), "reactive"),
        ("auto", reports(cost=Decimal(50), missed_deadlines=1), "reactive"),
        ("auto", reports(cost=Decimal(50), fast_wait_p95=401.0), "reactive"),
        ("auto", reports(cost=Decimal(50), fast_wait_p95=399.0), "optimal"),
    ],
)
def test_looking_ahead_is_chosen_where_its_replay_was_better(asked, found, policy):
    choice = chosen(asked, found)
    assert choice.policy == policy
    assert choice.why


def test_a_month_that_was_not_over_when_it_was_replayed_does_not_count(tx: Transaction):
    for each in reports(cost=Decimal(10)).values():
        store.keep_report(tx, date(2026, 2, 1), each, datetime(2026, 2, 28, 23, tzinfo=UTC))
    assert policy_in_force(tx, "auto").policy == "reactive"
    for each in reports(cost=Decimal(10)).values():
        store.keep_report(tx, date(2026, 2, 1), each, datetime(2026, 3, 1, tzinfo=UTC))
    assert policy_in_force(tx, "auto").policy == "optimal"


def test_the_last_whole_month_counts(tx: Transaction):
    now = datetime(2026, 3, 1, tzinfo=UTC)
    for each in reports(cost=Decimal(200)).values():
        store.keep_report(tx, date(2026, 1, 1), each, now)
    assert policy_in_force(tx, "auto").policy == "reactive"
    for each in reports(cost=Decimal(10)).values():
        store.keep_report(tx, date(2026, 2, 1), each, now)
        store.keep_report(tx, date(2026, 2, 1), each, now)
    assert policy_in_force(tx, "auto").policy == "optimal"
    assert store.reports(tx, date(2026, 2, 1)) == reports(cost=Decimal(10))
