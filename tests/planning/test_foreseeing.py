"""What a plan is told of the hours to come: from forecasts, by their skill, or from what ran; and what is funded."""

from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest
from situations import H100, a_kind, a_situation, a_waiting_job, a_wish, bought

from scalar.billing import wallets
from scalar.billing.credit import Terms
from scalar.billing.rate_cards import RateCard
from scalar.billing.rates import set_rate_card
from scalar.database import Transaction
from scalar.forecasts import store as forecasts
from scalar.forecasts.model import HOUR, QUANTILES, Forecast
from scalar.forecasts.store import Kind, Subject
from scalar.jobs.model import Tier
from scalar.market.guards import Caps
from scalar.planning.experts import foreseen
from scalar.planning.foreseeing import funded_gpu_hours, outlook
from scalar.planning.foresight import FromUsage
from scalar.planning.issued_foresight import FRESH, FromForecasts
from scalar.planning.model import Policy, Work
from tests.billing.bought import a_block, a_machine, a_run
from tests.made_up import NOON, a_customer

USUAL = Policy()
CAPS = Caps(
    per_order=Decimal(1000),
    per_hour=Decimal(1000),
    per_day=Decimal(10_000),
    in_all=Decimal(100_000),
    approval_above=Decimal(1000),
    highest_price=Decimal(100),
    highest_price_ratio=Decimal(2),
)
KIND = a_kind(H100, usual_price=Decimal(16))
FAST = Subject(kind=Kind.DEMAND, name="H100", tier="fast")
FLEX = a_wish(Tier.FLEX)
PRICE = Subject(kind=Kind.PRICE, name=H100.id)


def issued(tx: Transaction, subject: Subject, middle, *, since=NOON, hours: int = 168, naive=None) -> str:
    """With a band of a tenth up and down."""
    medians = np.broadcast_to(np.asarray(middle, dtype=float), (hours,))
    spread = 1 + 0.1 * (np.array(QUANTILES) - 0.5) / 0.45
    made = Forecast(
        start=since,
        quantiles=medians[:, None] * spread,
        member="test",
        naive=None if naive is None else np.full(hours, float(naive)),
    )
    forecast_id = forecasts.insert(tx, subject, made, scale=1.0, now=since)
    forecasts.insert_hours(tx, forecast_id, made)
    return forecast_id


def scored(tx: Transaction, subject: Subject, *, error: float, hours: int = 100) -> None:
    """Of a forecast of last week; the naive copy's error was 1."""
    forecast_id = issued(tx, subject, 16.0, since=NOON - 168 * HOUR)
    for hour in range(hours):
        tx.execute(
            "insert into forecast_scores values (%s, %s, 16, %s, 1, 0.1, true, %s)",
            [forecast_id, NOON - (168 - hour) * HOUR, error, NOON],
        )


def told(tx: Transaction, foresight=None, *, queue=()):
    situation = a_situation(now=NOON, kinds=(KIND,), queue=tuple(queue))
    return outlook(tx, situation, CAPS, foresight or FromForecasts(), USUAL)


def test_a_fresh_forecast_is_planned_by_with_its_band(tx: Transaction):
    scored(tx, FAST, error=0.5)
    issued(tx, FAST, np.arange(168) + 10.0)
    seen = told(tx)
    ahead = seen.kinds[H100.id]
    rows = np.array(ahead.fast)
    assert rows.shape == (168, 20)
    # Nobody wants anything now: a day later that doesn't matter any more.
    assert np.allclose(np.median(rows, axis=1)[24:], np.arange(24, 168) + 10.0, rtol=0.02)
    assert rows[100, 0] == pytest.approx(99, rel=0.03)
    assert (ahead.authority.order_size, ahead.authority.horizon_hours) == (1, 168)
    assert seen.notes == ()


def test_a_new_forecast_moves_the_plan_by_its_part_of_the_last_day(tx: Transaction):
    """An hour that four forecasts look at is what they say in the mean."""
    issued(tx, FAST, 80.0, since=NOON - 30 * HOUR)
    for hour, level in ((23, 20.0), (10, 20.0), (5, 20.0), (0, 40.0)):
        issued(tx, FAST, level, since=NOON - hour * HOUR)
        issued(tx, Subject(kind=Kind.DEMAND, name="H100", tier="flex"), level / 10, since=NOON - hour * HOUR)
    assert told(tx).kinds[H100.id].flex[100] == pytest.approx(2.5, rel=0.03)
    middle = np.median(np.array(told(tx).kinds[H100.id].fast), axis=1)
    assert middle[100] == pytest.approx(25.0, rel=0.03)
    # Beyond the others' ends there is the newest alone.
    assert middle[167] == pytest.approx(40.0, rel=0.03)


def test_hours_that_are_over_are_left_out(tx: Transaction):
    issued(tx, FAST, np.arange(168) + 10.0, since=NOON - 3 * HOUR)
    rows = np.array(told(tx).kinds[H100.id].fast)
    assert rows.shape[0] == 165
    assert np.median(rows[48]) == pytest.approx(3 + 48 + 10.0, rel=0.03)


@pytest.mark.parametrize(("error", "size", "horizon"), [(0.5, "1", 168), (0.95, "0.5", 72), (1.2, "0.25", 6)])
def test_skill_sets_how_far_a_plan_goes(tx: Transaction, error: float, size: str, horizon: int):
    scored(tx, FAST, error=error)
    issued(tx, FAST, 16.0)
    seen = told(tx)
    authority = seen.kinds[H100.id].authority
    assert (authority.order_size, authority.horizon_hours) == (Decimal(size), horizon)
    assert bool(seen.notes) is (horizon < 168)


def test_a_stale_forecast_is_not_planned_by_and_the_plan_says_so(tx: Transaction):
    issued(tx, FAST, 10.0, since=NOON - FRESH - HOUR)
    ran_for_a_day(tx, prepaid=False)
    seen = told(tx)
    assert np.array(seen.kinds[H100.id].fast).max() == pytest.approx(4.0)
    assert "no forecast of its demand is fresh" in seen.notes[0]
    assert told(tx, FromUsage()).kinds == seen.kinds


def test_where_nothing_is_known_nothing_is_foreseen(tx: Transaction):
    seen = told(tx)
    assert seen.kinds == {}
    assert seen.notes == ("The demand for H100, or its price, is not known: it is not foreseen.",)


def test_tiers_stand_apart_and_what_asks_for_any_type_counts(tx: Transaction):
    issued(tx, FAST, 10.0)
    issued(tx, Subject(kind=Kind.DEMAND, name="any", tier="fast"), 2.0)
    issued(tx, Subject(kind=Kind.DEMAND, name="H100", tier="flex"), 3.0)
    ahead = told(tx).kinds[H100.id]
    assert np.median(np.array(ahead.fast)) == pytest.approx(12.0, rel=0.05)
    assert np.allclose(ahead.flex, 3.0, rtol=0.02)
    assert ahead.flex_price == 2.0


def test_prices_move_with_their_forecast_as_long_as_it_is_better_than_a_copy(tx: Transaction):
    issued(tx, FAST, 10.0)
    issued(tx, PRICE, np.where(np.arange(168) < 100, 16.0, 32.0), naive=16.0)
    # Nobody has scored it: after six hours, the copy counts.
    assert np.allclose(told(tx).kinds[H100.id].hourly, 16.0, rtol=0.01)
    scored(tx, PRICE, error=0.5)
    ahead = told(tx).kinds[H100.id]
    assert ahead.hourly[0] == pytest.approx(16.0, rel=0.01)
    assert ahead.hourly[120] == pytest.approx(32.0, rel=0.01)
    assert (ahead.prices[120][0], ahead.prices[120][-1]) == (pytest.approx(28.8), pytest.approx(35.2))


class TestFunds:
    def test_empty_wallets_pay_for_nothing(self, tx: Transaction):
        ran_for_a_day(tx)
        assert funded_gpu_hours(tx, KIND, NOON, 16.0) == 0.0
        issued(tx, FAST, 10.0)
        assert np.array(told(tx).kinds[H100.id].fast).max() == 0.0

    def test_a_wallet_pays_for_so_many_hours(self, tx: Transaction):
        whose = ran_for_a_day(tx)
        wallets.top_up(tx, whose, 30_000_000, "test", NOON)
        left = wallets.available(tx, whose, NOON)
        assert left
        assert 0 < left <= 30_000_000
        # At two dollars a GPU-hour.
        assert funded_gpu_hours(tx, KIND, NOON, 16.0) == pytest.approx(left / 2_000_000)

    def test_what_a_card_commits_to_is_funded_as_far_as_it_was_not_used(self, tx: Transaction):
        whose = ran_for_a_day(tx)
        month = NOON.replace(day=1, hour=0, minute=0)
        card = RateCard(
            id="",
            name="own",
            organisation_id=whose,
            effective_from=month,
            prices={},
            minimum_commitment=100_000_000,
        )
        set_rate_card(tx, card, actor="test", now=month - timedelta(days=1))
        assert funded_gpu_hours(tx, KIND, NOON, 16.0) == pytest.approx(50.0)

    def test_who_is_invoiced_without_a_limit_has_none(self, tx: Transaction):
        ran_for_a_day(tx, prepaid=False)
        assert funded_gpu_hours(tx, KIND, NOON, 16.0) is None

    def test_where_nobody_is_nobody_is_asked(self, tx: Transaction):
        assert funded_gpu_hours(tx, KIND, NOON, 16.0) is None


def ran_for_a_day(tx: Transaction, *, prepaid: bool = True) -> str:
    """Four GPUs for the 30 hours before noon, and then no more; of a customer with an empty wallet."""
    a_machine(tx, (a_block(tx, 0, 180), 0, 0, 180))
    whose = a_customer(tx, "prepaid")
    run = a_run(tx, whose, 0, 10, gpus=4, gpu_type="H100")
    for hour in range(1, 31):
        values = [NOON - hour * HOUR, run.id, whose[0]]
        tx.execute("insert into hourly_usage values (%s, %s, %s, 'fast', 'H100', 14400)", values)
    if prepaid:
        wallets.set_terms(tx, whose[0], Terms.PREPAID, limit=None, grace=timedelta(0), now=NOON)
    return whose[0]


class TestTheHourThatRuns:
    def test_what_is_wanted_in_it_is_known(self, tx: Transaction):
        issued(tx, FAST, 40.0)
        works = bought(
            "a",
            600,
            free=2,
            work=(Work(job_id="job_1", wish=a_wish(), gpus=4), Work(job_id="job_2", wish=FLEX, gpus=2)),
        )
        queue = [a_waiting_job("job_3", 8), a_waiting_job("job_4", 1, tier=Tier.FLEX)]
        situation = a_situation(works, now=NOON, kinds=(KIND,), queue=queue)
        rows = outlook(tx, situation, CAPS, FromForecasts(), USUAL).kinds[H100.id].fast
        assert set(rows[0]) == {12.0}
        assert np.median(rows[24]) == pytest.approx(40.0, rel=0.03)

    def test_the_next_hours_go_on_from_there(self, tx: Transaction):
        """Half of how far off the forecast is now is left after three hours, and its band is as narrow as that."""
        issued(tx, FAST, 40.0)
        situation = a_situation(now=NOON, kinds=(KIND,), queue=[a_waiting_job("job_1", 100)])
        rows = np.array(outlook(tx, situation, CAPS, FromForecasts(), USUAL).kinds[H100.id].fast)
        middle, width = np.median(rows, axis=1), np.ptp(rows, axis=1)
        assert middle[[0, 3, 6]] == pytest.approx([100.0, 70.0, 55.0], rel=0.03)
        assert width[0] == 0
        assert width[1] < width[3] < width[12]

    @pytest.mark.parametrize(("minute", "first"), [(29, 10.0), (30, 11.0), (59, 11.0)])
    def test_what_is_bought_in_its_second_half_is_bought_for_the_next(self, tx: Transaction, minute: int, first: float):
        issued(tx, FAST, np.arange(168) + 10.0)
        issued(tx, PRICE, np.arange(168) + 20.0)
        now = NOON + timedelta(minutes=minute)
        situation = a_situation(now=now, kinds=(KIND,), queue=[a_waiting_job("job_1", 10)])
        found = outlook(tx, situation, CAPS, FromForecasts(), USUAL).kinds[H100.id]
        assert np.median(found.fast[0]) == pytest.approx(first, rel=0.03)
        assert len(found.fast) == len(found.hourly) == (168 if minute < 30 else 167)


@pytest.mark.parametrize("hours_known", [10, 30 * 24])
def test_the_hour_that_runs_is_known_whatever_other_weeks_had(hours_known: int):
    """A fleet that begins with nothing doesn't buy at once what other weeks wanted."""
    series = np.append(np.full(hours_known, 60.0), 5.0)
    paths = foreseen(series, 48, 20)
    assert paths.shape == (20, 48)
    assert np.all(paths[:, 0] == 5.0)
    assert hours_known < 24 or paths[:, 1:].max() > 50
