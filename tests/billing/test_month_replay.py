"""Reports in any order, some twice, and hours that pass between them: the books are the same in the end."""

from datetime import datetime, timedelta
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalar.billing.pricing.brackets import Bracket
from scalar.billing.pricing.graduated import Graduated
from scalar.billing.rate_cards import RateCard
from scalar.billing.rates import set_rate_card
from scalar.database import Database, Transaction
from scalar.jobs.model import JobRun
from scalar.protocol import TaskEnding, TaskReport
from tests.billing.month import Months, on
from tests.made_up import a_customer, a_job_of, a_node, alive, ended, launch, running, told

DAY = on(1, 20)
# acme's fast jobs: the first GPU-hour of the month is $7.20, the others are $3.60.
GRADUATED = Graduated.of(
    [Bracket(up_to=Decimal(3600), price=Decimal("0.002")), Bracket(up_to=None, price=Decimal("0.001"))]
)
# (whose, GPUs, starts after so many minutes, ends after so many, how)
RUNS = [
    ("acme", 2, 10, 100, TaskEnding.EXITED),
    ("acme", 1, 50, 130, TaskEnding.EXITED),
    ("acme", 4, 30, 90, TaskEnding.CONTAINER_LOST),
    ("umbrella", 8, 0, 60, TaskEnding.EXITED),
]
# acme: 180 + 80 GPU-minutes are $15.60, and $3.60 more for the first sixty. The lost run is charged, and credited the
# same: by which bracket hangs on its place in its first hour, which is its id's. umbrella: 480 GPU-minutes.
NET = {"acme": 19_200_000, "umbrella": 28_800_000}
PASSING = "an hour passes"
STEPS = [(number, report) for number in range(len(RUNS)) for report in ("running", "alive 1", "alive 2", "ended")]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    order=st.permutations([*STEPS, *[PASSING] * 3]),
    again=st.lists(st.sampled_from(STEPS), max_size=6),
)
def test_any_events_in_any_order_with_duplicates_give_the_same_balances(
    scratch: Database, order: list, again: list
) -> None:
    with scratch.transaction() as tx:
        months, customers = Months(tx), {name: a_customer(tx, name) for name in NET}
        card = RateCard(
            id="",
            name="2026",
            organisation_id=customers["acme"][0],
            effective_from=on(1),
            prices={("*", "fast"): GRADUATED},
        )
        set_rate_card(tx, card, actor="test", now=on(1))
        runs = [placed(tx, customers[whose], gpus, start) for whose, gpus, start, _, _ in RUNS]
        now = DAY + timedelta(hours=6)
        for step in [*order, *again]:
            now += timedelta(minutes=20)
            if step == PASSING:
                months.until(now)
            else:
                number, what = step
                told(tx, runs[number], report(runs[number], RUNS[number], what), now=now)
        months.until(now + timedelta(hours=2))
        balances = months.books()
        assert owed(tx, customers) == NET
        assert balances["unbilled"] == Decimal(48)
        assert balances["revenue"] + balances["unbilled"] + balances["credits"] == 0
        assert metered(tx) == [minutes * 60 for minutes in (80, 180, 240, 480)]
        invoices = months.opens(1, on(2, 3))
        assert {name: invoices[customers[name][0]].due * 10_000 for name in NET} == NET
        assert set(months.books()) == {"receivable", "revenue", "credits"}
        tx.rollback()


def placed(tx: Transaction, customer: tuple[str, str], gpus: int, start: int) -> JobRun:
    at = DAY + timedelta(minutes=start)
    a_node(tx, f"node-{start}", now=at)
    return launch(tx, a_job_of(tx, customer, gpus=gpus, now=at, gpu_type="H100").id, now=at)


def report(run: JobRun, row: tuple[str, int, int, int, TaskEnding], what: str) -> TaskReport:
    _, _, start, end, ending = row
    started_at = DAY + timedelta(minutes=start)
    if what == "running":
        return running(run, at=started_at)
    if what == "ended":
        how = {} if ending is TaskEnding.EXITED else {"exit_code": None}
        return ended(run, started_at=started_at, at=at(end), ending=ending, **how)
    return alive(run, started_at=started_at, sequence=20 * int(what[-1]))


def at(minutes: int) -> datetime:
    return DAY + timedelta(minutes=minutes)


def owed(tx: Transaction, customers: dict[str, tuple[str, str]]) -> dict[str, int]:
    """Micro-dollars of each, in the ledger."""
    rows = tx.execute("select account, amount from ledger_balances").fetchall()
    balances = {row["account"]: row["amount"] for row in rows}
    return {name: balances[f"unbilled:{customer[0]}"] for name, customer in customers.items()}


def metered(tx: Transaction) -> list[Decimal]:
    rows = tx.execute("select sum(gpu_seconds) as seconds from hourly_usage group by run_id order by 1").fetchall()
    return [row["seconds"] for row in rows]
