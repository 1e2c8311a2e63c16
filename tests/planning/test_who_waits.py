"""Flex jobs that wait for a cheaper hour: which, how long, and that nobody waits beyond his time."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from situations import H100, NOON, a_kind, a_situation, a_waiting_job, at

from scalar.jobs.model import Tier
from scalar.market.model import Side
from scalar.planning.model import ActionKind, Policy, Quote
from scalar.planning.optimal import decide, questions
from scalar.planning.outlook import Ahead, Authority, Outlook
from scalar.planning.patience import Waiting, patient
from scalar.planning.prices import Quotes
from scalar.planning.queued_flex import Queued, queued_flex, with_queue

USUAL = Policy(max_nodes=64)
HOURS = 48
KIND = a_kind(H100, usual_price=Decimal(20))
VARIED = (tuple(float(each) for each in range(10, 30)),) * HOURS


def a_flex_job(id: str = "job_1", *, waits_minutes: float = 600, limit: str | None = "9", **changes):
    return a_waiting_job(id, minutes=60, tier=Tier.FLEX, limit=limit, start_by=at(waits_minutes), **changes)


def an_ahead(*, prices=VARIED, hourly: float = 20.0, fast: float = 0.0) -> Ahead:
    return Ahead(fast=((fast,),) * HOURS, hourly=(hourly,) * HOURS, prices=prices)


def waits(job, *, now: float, ahead: Ahead | None = None, owned: float = 0.0) -> bool:
    foreseen = Waiting(kind=KIND, ahead=ahead or an_ahead(hourly=now), owned=np.full(HOURS, owned))
    return job.id in patient([job], [foreseen], Quotes([]), USUAL, NOON)


@pytest.mark.parametrize(("price", "patiently"), [(10.0, False), (14.0, True), (29.0, True)])
def test_a_job_with_time_waits_for_an_hour_as_cheap_as_any(price: float, patiently: bool):
    assert waits(a_flex_job(), now=price) is patiently


def test_the_less_time_the_more_it_takes():
    assert [waits(a_flex_job(waits_minutes=minutes), now=17.5) for minutes in (1200, 180, 60, 10)] == [
        True,
        True,
        False,
        False,
    ]


def test_idle_hours_that_are_owned_are_waited_for():
    steady = an_ahead(prices=((20.0,),) * HOURS)
    assert not waits(a_flex_job(), now=20.0, ahead=steady)
    assert waits(a_flex_job(), now=20.0, ahead=steady, owned=1.0)
    wanted = replace(steady, fast=((8.0,),) * HOURS)
    assert not waits(a_flex_job(), now=20.0, ahead=wanted, owned=1.0)


@pytest.mark.parametrize("job", [a_waiting_job(minutes=60), replace(a_flex_job(), start_by=None)])
def test_fast_jobs_and_those_that_may_not_wait_never_do(job):
    assert not waits(job, now=29.0)


def test_queued_flex_is_due_when_it_must_start_and_pays_what_it_says():
    queue = [
        a_flex_job("job_1", limit="2"),
        a_flex_job("job_2", limit="4", gpus=4),
        a_waiting_job("job_3", minutes=60),
    ]
    found = queued_flex(a_situation(queue=queue, kinds=(KIND,)), KIND, USUAL, any_type=True)
    assert found == Queued(gpu_hours=12.0, due=((10, 8.0), (10, 4.0)), price=pytest.approx(8 / 3), slack=24)
    assert queued_flex(a_situation(queue=queue, kinds=(KIND,)), KIND, USUAL, any_type=False).gpu_hours == 0


def test_what_waits_is_a_part_of_what_is_foreseen():
    ahead = with_queue(an_ahead(), np.full(HOURS, 4.0), Queued(gpu_hours=10.0, due=((5, 10.0),), price=2.0))
    assert ahead.flex[:4] == (10.0, 0.0, 2.0, 4.0)
    assert ahead.flex_due[5] == 10.0
    assert with_queue(an_ahead(), np.zeros(HOURS), Queued()) == an_ahead()


def decided(queue, outlook: Outlook, price: str):
    situation = a_situation(queue=queue, kinds=(KIND,))
    quotes = tuple(
        Quote(question=each, price=Decimal(price) if each.side is Side.BUY else None)
        for each in questions(situation, USUAL, outlook)
    )
    return decide(replace(situation, quotes=quotes), USUAL, outlook).plan


def test_nothing_is_bought_for_who_waits_and_the_plan_says_so():
    queue = [a_flex_job(), a_waiting_job("job_2", minutes=60)]
    outlook = Outlook(kinds={H100.id: an_ahead()})
    (action,) = decided(queue, outlook, "25").actions
    assert (action.kind, action.jobs) == (ActionKind.BUY, ("job_2",))
    assert decided(queue, outlook, "25").notes == ("1 flex job(s) wait for idle or cheaper hours: there is time.",)
    assert sorted(job for each in decided(queue, outlook, "10").actions for job in each.jobs) == ["job_1", "job_2"]


def test_flex_work_that_is_foreseen_is_covered_by_a_cheap_block_only_as_far_as_it_pays():
    """A node's worth of it an hour, by the day at $10: bought where it pays more, not where it pays less."""

    def bought(pays: float, authority: str = "1"):
        bound = Authority(limit_price=Decimal(authority))
        ahead = replace(an_ahead(prices=()), flex=(8.0,) * HOURS, slack=6, flex_price=pays, authority=bound)
        situation = a_situation(kinds=(KIND,))
        outlook = Outlook(kinds={H100.id: ahead})
        quotes = tuple(
            Quote(question=each, price=Decimal(10) if (each.window.end - each.window.start).days else Decimal(20))
            for each in questions(situation, USUAL, outlook)
        )
        made = decide(replace(situation, quotes=quotes), USUAL, outlook).plan
        return [each for each in made.actions if each.kind is ActionKind.BUY]

    (action,) = bought(2.0)
    assert action.window.nodes == 1
    assert "of them flex work" in action.reason
    assert bought(1.0) == []
    # Worth $16 an hour to who waits: a little skill is enough for $10, less isn't.
    assert len(bought(2.0, "0.7")) == 1
    assert bought(2.0, "0.6") == []


@settings(deadline=None, max_examples=40)
@given(
    minutes=st.floats(-60, 3000),
    price=st.floats(0, 100),
    prices=st.lists(st.floats(0, 100), min_size=1, max_size=4),
    owned=st.floats(0, 2),
)
def test_nobody_waits_past_the_last_moment(minutes, price, prices, owned):
    """After another hour there must still be time for a machine to boot."""
    ahead = an_ahead(prices=(tuple(sorted(prices)),) * HOURS, hourly=price)
    if waits(a_flex_job(waits_minutes=minutes), now=price, ahead=ahead, owned=owned):
        assert minutes >= 60 + USUAL.boot_minutes - 1e-6
