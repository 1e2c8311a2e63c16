"""Rating: what hours of usage cost, in lines that only ever grow in number, and in the ledger."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalar.billing import ledger_store, rated_checks, rated_store
from scalar.billing.money import micros
from scalar.billing.pricing.brackets import Bracket
from scalar.billing.pricing.flat import Flat
from scalar.billing.pricing.graduated import Graduated
from scalar.billing.pricing.market import Market
from scalar.billing.pricing.model import PricingModel
from scalar.billing.pricing.package import Package
from scalar.billing.pricing.volume import Volume
from scalar.billing.rate_book import RateBook
from scalar.billing.rate_cards import completed
from scalar.billing.rated_usage import month_of, rate_hour
from scalar.billing.rates import cost_so_far, worst_case
from scalar.billing.rating import PLATFORM_REASONS, Line, MonthToDate, rate
from scalar.database import Database, Transaction
from scalar.errors import Conflict
from scalar.jobs.endings import TerminationReason
from scalar.metering.model import HOUR, Window
from scalar.metering.store import replace_hour, spans_in
from scalar.metering.usage import usage_in
from scalar.protocol import TaskEnding
from tests.billing.rated_made_up import (
    DECEMBER,
    NOVEMBER,
    a_card,
    a_payer,
    a_run_of,
    a_use,
    at,
    charged,
    lose,
    metered,
    put_card,
    rate_all,
    settle,
    standing,
)
from tests.made_up import NOON, a_customer, a_job_of, a_node, alive, ended, launch, running, starting, told

BRACKETS = [
    Bracket(up_to=Decimal(5400), price=Decimal("0.002")),
    Bracket(up_to=None, price=Decimal("0.001")),
]
GRADUATED, VOLUME = Graduated.of(BRACKETS), Volume.of(BRACKETS)
PACKAGE = Package(gpu_seconds=Decimal(3600), price=Decimal("3.5"))
MODELS: list[PricingModel] = [
    Flat(price=Decimal("0.000777777777")),
    GRADUATED,
    VOLUME,
    PACKAGE,
    Market(margin_percent=Decimal("12.5"), cap=Decimal("0.000833333333")),
]


def rated(uses, card=None, before: MonthToDate | None = None, market=None) -> list[Line]:
    return rate(uses, RateBook([card] if card else []), before or MonthToDate(), market or {})


def a_month_and_its_payer(tx: Transaction, **card) -> str:
    """The run of an organisation with a card of its own."""
    payer = a_payer(tx)
    put_card(tx, a_card(payer[0], **card))
    return a_run_of(tx, payer)


# What it costs, worked out by hand.


def test_without_any_card_the_built_in_prices_hold() -> None:
    fast, flex, other = rated(
        [a_use(), a_use(run_id="run_2", tier="flex"), a_use(run_id="run_3", gpu_type="A100")],
        market={(NOVEMBER, "H100"): Decimal("0.0005")},
    )
    assert [line.amount for line in (fast, flex, other)] == [3_600_000, 2_160_000, 4_000_000]
    assert {line.rate_card_id for line in (fast, flex, other)} == {"built-in"}


def test_a_threshold_in_the_middle_of_an_hour_splits_it_exactly() -> None:
    first, second, third = rated([a_use(at(n)) for n in range(3)], a_card(fast=GRADUATED))
    # 3600 x 0.002; 1800 x 0.002 + 1800 x 0.001; 3600 x 0.001
    assert [line.exact for line in (first, second, third)] == [Decimal("7.2"), Decimal("5.4"), Decimal("3.6")]


def test_free_seconds_go_by_hour_and_then_by_run_whatever_their_type() -> None:
    uses = [a_use(at(1)), a_use(at(0), 1800, "run_2", tier="flex"), a_use(at(0), 1800, gpu_type="A100")]
    card = a_card(fast=Flat(price=Decimal("0.001")), flex=Flat(price=Decimal("0.001")), free_gpu_seconds=Decimal(2700))
    lines = rated(uses, card)
    assert [(line.use.run_id, line.free_seconds) for line in lines] == [("run_1", 1800), ("run_2", 900), ("run_1", 0)]
    assert [line.amount for line in lines] == [0, 900_000, 3_600_000]


def test_free_seconds_fill_no_package() -> None:
    lines = rated([a_use(at(0), 50), a_use(at(1), 3600)], a_card(fast=PACKAGE, free_gpu_seconds=Decimal(100)))
    assert [line.amount for line in lines] == [0, 3_500_000]
    assert rated([a_use(at(0), 100)], a_card(fast=PACKAGE, free_gpu_seconds=Decimal(100)))[0].amount == 0


def test_a_discount_is_taken_off_each_line() -> None:
    (line,) = rated([a_use()], a_card(discount_percent=Decimal(10)))
    assert line.amount == 3_240_000


def test_what_is_lost_is_credited_and_uses_up_nothing() -> None:
    card = a_card(fast=GRADUATED, free_gpu_seconds=Decimal(1800))
    usage, credit, next_hour = rated([a_use(at(0), lost=True), a_use(at(1), 1800, "run_2")], card)
    assert (usage.amount, credit.amount) == (7_200_000, -7_200_000)
    assert (usage.gpu_seconds, credit.gpu_seconds) == (3600, -3600)
    assert (next_hour.free_seconds, next_hour.amount) == (1800, 0)


def test_the_ends_that_are_credited_are_the_platforms_own() -> None:
    assert sorted(PLATFORM_REASONS) == ["block_ended", "container_lost", "node_lost", "node_stopped"]
    assert TerminationReason.CANCELLED not in PLATFORM_REASONS


@given(
    seconds=st.lists(st.decimals("0.000001", 28_800, places=6), min_size=1, max_size=20),
    model=st.sampled_from(MODELS),
    free=st.decimals(0, 20_000, places=6),
    discount=st.decimals(0, 100, places=2),
)
def test_lines_add_up_to_the_exact_month_and_stay_under_the_worst_case(
    seconds: list[Decimal], model: PricingModel, free: Decimal, discount: Decimal
) -> None:
    card = a_card(fast=model, free_gpu_seconds=free, discount_percent=discount)
    lines = rated([a_use(at(n), str(each)) for n, each in enumerate(seconds)], card)
    used = sum(seconds, Decimal(0))
    paid = max(Decimal(0), used - free)
    whole = model.discounted(discount).charge(Decimal(0), paid, month=paid, market=None)
    assert sum(line.exact for line in lines) == whole
    assert sum(line.free_seconds for line in lines) == min(free, used)
    assert all(line.amount >= 0 and line.amount == micros(line.exact) for line in lines)
    assert whole <= worst_case(completed(card, None), "fast", "H100", 1, used)


# In the database.


def test_an_hour_is_rated_once_and_posted_once(tx: Transaction) -> None:
    payer = a_payer(tx)
    for run in ("run_1", "run_2"):
        metered(tx, a_run_of(tx, payer, run, project="vision"), at(5), 3600)
    first = rate_hour(tx, at(5), at(6))
    assert (first.amount, first.organisations) == (7_200_000, [payer[0]])
    assert rate_hour(tx, at(5), at(7)).lines == []
    assert ledger_store.balances(tx) == {"revenue": -7_200_000, f"unbilled:{payer[0]}": 7_200_000}
    rows = tx.execute("select * from rated_lines order by id").fetchall()
    assert {(row["job_id"], row["key_id"], row["project"]) for row in rows} == {
        (job, payer[1], "vision") for job in ("job_1", "job_2")
    }
    (posted,) = tx.execute("select source, at from ledger_transactions").fetchall()
    assert (posted["source"], posted["at"]) == ("usage/2026-11-01T05/1", at(5))


def test_late_usage_adds_the_difference(tx: Transaction) -> None:
    run = a_month_and_its_payer(tx)
    metered(tx, run, at(0), 1800)
    settle(tx)
    metered(tx, run, at(0), 3600, build=2)
    settle(tx)
    amounts = [row["amount"] for row in tx.execute("select amount from rated_lines order by id")]
    assert amounts == [1_800_000, 1_800_000]
    assert ledger_store.balances(tx)["revenue"] == -3_600_000


def test_a_late_hour_makes_the_later_ones_of_its_month_cheaper(tx: Transaction) -> None:
    run = a_month_and_its_payer(tx, fast=GRADUATED)
    for hour in (1, 2):
        metered(tx, run, at(hour), 3600)
    settle(tx)
    assert charged(tx) == {(at(1), run): 7_200_000, (at(2), run): 5_400_000}
    metered(tx, run, at(0), 3600, build=2)
    settle(tx)
    assert charged(tx) == {(at(0), run): 7_200_000, (at(1), run): 5_400_000, (at(2), run): 3_600_000}


def test_a_volume_price_makes_the_whole_month_cheaper_when_it_is_reached(tx: Transaction) -> None:
    run = a_month_and_its_payer(tx, fast=VOLUME)
    for hour in range(2):
        metered(tx, run, at(hour), 2700)
    settle(tx)
    assert charged(tx) == {(at(0), run): 5_400_000, (at(1), run): 5_400_000}
    metered(tx, run, at(2), 1)
    settle(tx)
    assert charged(tx) == {(at(0), run): 2_700_000, (at(1), run): 2_700_000, (at(2), run): 1_000}
    assert [rated_checks.runs_below_zero(tx, at(hour)) for hour in range(3)] == [[], [], []]
    assert ledger_store.balances(tx)["revenue"] == -5_401_000


def test_a_month_begins_its_brackets_anew(tx: Transaction) -> None:
    run = a_month_and_its_payer(tx, fast=GRADUATED, effective_from=NOVEMBER)
    metered(tx, run, DECEMBER - HOUR, 7200)
    metered(tx, run, DECEMBER, 3600)
    settle(tx, DECEMBER + 2 * HOUR)
    assert charged(tx)[DECEMBER, run] == 7_200_000


def test_a_new_card_holds_from_its_hour_on(tx: Transaction) -> None:
    payer = a_payer(tx)
    put_card(tx, a_card(payer[0], "rate_1", fast=Flat(price=Decimal("0.001")), effective_until=at(1)))
    put_card(tx, a_card(payer[0], "rate_2", fast=Flat(price=Decimal("0.002")), effective_from=at(1)))
    run = a_run_of(tx, payer)
    for hour in range(2):
        metered(tx, run, at(hour), 3600)
    settle(tx)
    assert charged(tx) == {(at(0), run): 3_600_000, (at(1), run): 7_200_000}


@pytest.mark.parametrize("reason", PLATFORM_REASONS)
def test_a_run_that_the_platform_ends_is_credited_whole_as_soon_as_it_has_ended(tx: Transaction, reason: str) -> None:
    run = a_month_and_its_payer(tx)
    for hour in range(3):
        metered(tx, run, at(hour), 3600)
    rate_all(tx, [at(0), at(1)])
    lose(tx, run, reason, at=at(2.5))
    settle(tx)
    assert charged(tx) == {(at(hour), run): 3_600_000 for hour in range(3)}
    assert charged(tx, "credit") == {(at(hour), run): -3_600_000 for hour in range(3)}
    assert ledger_store.balances(tx) == {"credits": 10_800_000, "revenue": -10_800_000}


def test_a_run_that_failed_by_itself_is_not_credited(tx: Transaction) -> None:
    run = a_month_and_its_payer(tx)
    metered(tx, run, at(0), 3600)
    lose(tx, run, "error")
    settle(tx)
    assert charged(tx, "credit") == {}


def test_a_credit_gives_free_seconds_back_to_the_runs_after_it(tx: Transaction) -> None:
    payer = a_payer(tx)
    put_card(tx, a_card(payer[0], free_gpu_seconds=Decimal(3600)))
    for hour, run in enumerate(["run_1", "run_2"]):
        metered(tx, a_run_of(tx, payer, run), at(hour), 3600)
    settle(tx)
    assert charged(tx) == {(at(0), "run_1"): 0, (at(1), "run_2"): 3_600_000}
    lose(tx, "run_1")
    settle(tx)
    assert charged(tx)[at(1), "run_2"] == 0
    assert charged(tx, "credit") == {(at(0), "run_1"): -3_600_000}


def test_the_market_price_of_an_hour_is_fixed_when_it_is_first_rated(tx: Transaction) -> None:
    tx.execute(
        "insert into skus values ('sku_1', 'h100', 'H100', 8, %s), ('sku_2', 'h100i', 'H100', 4, %s)", [NOVEMBER] * 2
    )
    price = """insert into market_prices (sku, hour, trades, node_hours, low, average, high)
               values (%s, %s, 1, %s, %s, %s, %s)"""
    # 8 x $1.80 for 3 node-hours, and 4 x $1.50 for 2: $55.20 for 32 GPU-hours, $1.725 each.
    tx.execute(price, ["sku_1", at(0), 3, *["14.4"] * 3])
    tx.execute(price, ["sku_2", at(0), 2, *["6"] * 3])
    run = a_run_of(tx, a_payer(tx), tier="flex")
    metered(tx, run, at(2), 3600)
    rate_hour(tx, at(2), at(3))
    assert charged(tx) == {(at(2), run): 2_070_000}
    tx.execute(price, ["sku_1", at(2), 1, *["8"] * 3])
    metered(tx, run, at(2), 7200, build=2)
    metered(tx, run, at(3), 3600)
    settle(tx)
    assert charged(tx) == {(at(2), run): 4_140_000, (at(3), run): 1_200_000}


def test_an_hour_waits_a_little_for_the_markets_prices_of_it(tx: Transaction) -> None:
    tx.execute("insert into market_prices (sku, hour, trades, node_hours) values ('sku_1', %s, 0, 0)", [at(0)])
    metered(tx, a_run_of(tx, a_payer(tx)), at(1), 3600)
    assert rated_checks.due_hours(tx, since=NOVEMBER, now=at(2.2)) == {}
    assert list(rated_checks.due_hours(tx, since=NOVEMBER, now=at(2.25))) == [at(1)]


def test_late_usage_of_a_closed_month_is_posted_now(tx: Transaction) -> None:
    run = a_month_and_its_payer(tx)
    metered(tx, run, at(0), 3600)
    settle(tx)
    ledger_store.close_period(tx, date(2026, 11, 1), actor="test", now=DECEMBER)
    metered(tx, run, at(0), 7200, build=2)
    late = DECEMBER + timedelta(hours=5)
    settle(tx, late)
    moments = [row["at"] for row in tx.execute("select at from ledger_transactions order by id")]
    assert moments == [at(0), late]
    ledger_store.close_period(tx, date(2026, 12, 1), actor="test", now=DECEMBER)
    metered(tx, run, at(0), 7201, build=3)
    with pytest.raises(Conflict, match="2026-12 are closed"), tx.transaction():
        rate_hour(tx, at(0), late)


def test_lines_are_never_changed(tx: Transaction) -> None:
    metered(tx, a_month_and_its_payer(tx), at(0), 3600)
    settle(tx)
    with pytest.raises(Exception, match="append-only"), tx.transaction():
        tx.execute("update rated_lines set amount = 0")


# From the start of a container, and while it runs.


def test_the_pull_of_an_image_costs_nothing_and_a_running_job_costs_what_it_has_used(tx: Transaction) -> None:
    a_node(tx)
    job = a_job_of(tx, a_customer(tx), gpus=2)
    run = launch(tx, job.id)
    told(tx, run, starting(run, at=NOON))
    assert cost_so_far(tx, job.id) == 0
    up = NOON + timedelta(minutes=10)
    told(tx, run, running(run, at=up))
    told(tx, run, alive(run, started_at=up, sequence=15))
    # Two GPUs for fifteen minutes; the ten of the pull are free.
    assert cost_so_far(tx, job.id) == Decimal("1.8")
    told(tx, run, ended(run, started_at=up, at=up + timedelta(minutes=80)))
    assert cost_so_far(tx, job.id) == Decimal("9.6")
    for hour in (NOON, NOON + HOUR):
        window = Window(start=hour, end=hour + HOUR)
        replace_hour(tx, hour, usage_in(spans_in(tx, window), window), last_event_id=1, now=NOON)
        rate_hour(tx, hour, NOON)
        assert cost_so_far(tx, job.id) == Decimal("9.6")


CARDS = [*({"fast": model} for model in MODELS), {"fast": MODELS[0], "free_gpu_seconds": Decimal(5000)}]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: " ".join([card["fast"].kind, *list(card)[1:]]))
def test_what_jobs_cost_while_they_run_is_what_rating_makes_of_it(tx: Transaction, card: dict) -> None:
    """Two that share the free seconds, brackets and packages of their organisation; the market falls in the hour."""
    a_node(tx)
    customer = a_customer(tx)
    put_card(tx, a_card(customer[0], **card))
    tx.execute(
        """insert into skus (id, alias, gpu_type, gpus_per_node, seen_at) values ('sku', 'h100', 'H100', 8, %s)""",
        [NOON],
    )
    for hour, price in ((NOON, "14.4"), (NOON + HOUR, "8")):
        tx.execute(
            """insert into market_prices (sku, hour, trades, node_hours, low, average, high)
               values ('sku', %s, 1, 1, %s, %s, %s)""",
            [hour, *[price] * 3],
        )
    runs = [launch(tx, a_job_of(tx, customer, gpu_type="H100").id) for _ in range(2)]
    for run in runs:
        told(tx, run, running(run))
        told(tx, run, ended(run, at=NOON + timedelta(minutes=100)))
    shown = [[micros(cost_so_far(tx, run.job_id)) for run in runs]]
    for hour in (NOON, NOON + HOUR):
        window = Window(start=hour, end=hour + HOUR)
        replace_hour(tx, hour, usage_in(spans_in(tx, window), window), last_event_id=1, now=NOON)
        rate_hour(tx, hour, NOON)
        shown.append([micros(cost_so_far(tx, run.job_id)) for run in runs])
    assert shown[0] == shown[1] == shown[2]
    assert all(cost > 0 for cost in shown[0])


def test_a_job_that_was_rated_before_the_platform_lost_it_has_cost_nothing(tx: Transaction) -> None:
    a_node(tx)
    run = launch(tx, a_job_of(tx, a_customer(tx)).id)
    told(tx, run, running(run))
    told(tx, run, alive(run, sequence=90))
    window = Window(start=NOON, end=NOON + HOUR)
    replace_hour(tx, NOON, usage_in(spans_in(tx, window), window), last_event_id=1, now=NOON)
    rate_hour(tx, NOON, NOON)
    assert cost_so_far(tx, run.job_id) > 0
    lost = ended(run, at=NOON + timedelta(minutes=95), ending=TaskEnding.CONTAINER_LOST, exit_code=None)
    told(tx, run, lost)
    assert cost_so_far(tx, run.job_id) == 0


def test_a_job_that_the_platform_lost_has_cost_nothing(tx: Transaction) -> None:
    a_node(tx)
    job = a_job_of(tx, a_customer(tx))
    run = launch(tx, job.id)
    told(tx, run, running(run))
    told(tx, run, ended(run, at=NOON + timedelta(minutes=5), ending=TaskEnding.CONTAINER_LOST, exit_code=None))
    assert cost_so_far(tx, job.id) == 0


# Whatever comes, in whatever order.

HOURS, RUNS = range(6), [f"run_{number}" for number in range(4)]
SECONDS = st.sampled_from([Decimal(number) for number in ("0.000001", "1799.999999", "3600", "28800")])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rate"), st.sampled_from(HOURS)),
        st.tuples(
            st.just("use"), st.sampled_from(RUNS), st.sampled_from(HOURS), st.decimals("0.000001", 7200, places=6)
        ),
        st.tuples(st.just("lose"), st.sampled_from(RUNS)),
    ),
    max_size=25,
)


@pytest.mark.parametrize("model", [GRADUATED, VOLUME, PACKAGE], ids=lambda model: model.kind)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=STEPS,
    other=st.sampled_from(MODELS),
    free=st.sampled_from([Decimal(0), Decimal("4000.5")]),
    last=st.permutations(HOURS),
)
def test_any_order_with_duplicates_gives_the_same_lines_and_the_same_ledger(
    scratch: Database, model: PricingModel, steps: list, other: PricingModel, free: Decimal, last: list[int]
) -> None:
    with scratch.transaction() as tx:
        payers = [a_payer(tx, name) for name in ("acme", "umbrella")]
        cards = [
            a_card(payer[0], f"rate_{number}", fast=fast, flex=model, free_gpu_seconds=free)
            for number, (payer, fast) in enumerate(zip(payers, (model, other), strict=True))
        ]
        for card in cards:
            put_card(tx, card)
        for number, run in enumerate(RUNS):
            a_run_of(tx, payers[number % 2], run, tier="flex" if number == 3 else "fast")
            for hour in HOURS:
                metered(tx, run, at(hour), "900.000001", build=-1)
        _play(tx, steps)
        rate_all(tx, [at(hour) for hour in last])
        settle(tx)
        assert _as_numbers(standing(tx)) == _as_numbers(_expected(tx, cards))
        _holds_together(tx)
        lines = tx.execute("select count(*) as n from rated_lines").fetchone()
        rate_all(tx, [at(hour) for hour in last])
        assert tx.execute("select count(*) as n from rated_lines").fetchone() == lines
        tx.rollback()


def _play(tx: Transaction, steps: list) -> None:
    lost: set[str] = set()
    for build, step in enumerate(steps):
        match step:
            case ("rate", hour):
                rate_hour(tx, at(hour), DECEMBER)
            case ("use", run, hour, seconds):
                metered(tx, run, at(hour), seconds, build=build)
            case ("lose", run) if run not in lost:
                lost.add(run)
                lose(tx, run)


def _expected(tx: Transaction, cards) -> dict:
    """The whole month at once, with nothing rated before."""
    uses = [use for hour in HOURS for use in rated_store.uses_in(tx, at(hour))]
    lines = rate(uses, RateBook(cards), MonthToDate(), rated_store.market_prices(tx, {use.hour for use in uses}))
    return {(each.use.hour, each.use.run_id, each.use.gpu_type, each.kind.value): each for each in lines}


def _as_numbers(lines: dict) -> dict:
    return {key: (each.gpu_seconds, each.free_seconds, each.exact, each.amount) for key, each in lines.items()}


def _holds_together(tx: Transaction) -> None:
    for hour in HOURS:
        assert rated_checks.rated_otherwise_than_metered(tx, at(hour)) == []
        assert rated_checks.lines_off_the_ledger(tx, at(hour)) == []
        assert rated_checks.runs_below_zero(tx, at(hour)) == []
    sums: dict[str, int] = {}
    for line in standing(tx).values():
        name = f"unbilled:{line.use.organisation_id}"
        sums[name] = sums.get(name, 0) + line.amount
    balances = ledger_store.balances(tx)
    assert {name: amount for name, amount in balances.items() if name.startswith("unbilled")} == {
        name: amount for name, amount in sums.items() if amount
    }
    assert balances == ledger_store.summed(tx)
    quantities = """select organisation_id, gpu_type, tier, {} from {} group by organisation_id, gpu_type, tier
                    having sum(gpu_seconds) <> 0 or sum(free_seconds) <> 0 order by 1, 2, 3"""
    columns = "sum(gpu_seconds) as seconds, sum(free_seconds) as free"
    projected, lines = (
        tx.execute(quantities.format(columns, table)).fetchall() for table in ("month_quantities", "rated_lines")
    )
    assert projected == lines


def test_a_month_is_utc() -> None:
    assert month_of(NOON) == Window(start=NOVEMBER, end=DECEMBER)
