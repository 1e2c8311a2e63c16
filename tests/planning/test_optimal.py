"""The policy that looks ahead: what it orders, what it leaves to the reactive policy, and what if it can't."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from situations import H100, a_kind, a_situation, a_waiting_job, at, bought

from scalar.market.model import Rectangle, Side
from scalar.planning import reactive
from scalar.planning.model import ActionKind, OpenOrder, Policy, Quote
from scalar.planning.optimal import decide, questions
from scalar.planning.outlook import Ahead, Authority, Outlook, funded, levels

USUAL = Policy(max_nodes=64)
BY_LENGTH = {1: Decimal("16.8"), 24: Decimal(10), 168: Decimal(9)}
BY_THE_HOUR = {1: Decimal("16.8")}
BID = Decimal(6)


def an_outlook(fast_gpus=16.0, *, hours: int = 48, spread: float = 0.0, **changes) -> Outlook:
    values = np.linspace(fast_gpus * (1 - spread), fast_gpus * (1 + spread), 5)
    paths = np.tile(values[:, None], (1, hours))
    more = {name: changes.pop(name) for name in list(changes) if name not in Ahead.__dataclass_fields__}
    ahead = Ahead(fast=levels(paths), hourly=(16.8,) * hours, **changes)
    return Outlook(kinds={H100.id: ahead}, **more)


def asked(situation, outlook, policy=USUAL, prices=BY_LENGTH, depth: int = 64):
    """With the market's answers to all that is asked: longer blocks are cheaper."""
    answers = []
    for question in questions(situation, policy, outlook):
        hours = (question.window.end - question.window.start).total_seconds() / 3600
        buy = prices[max((length for length in prices if length <= hours), default=1)]
        price = buy if question.side is Side.BUY else BID
        answers.append(Quote(question=question, price=price if question.window.nodes <= depth else None))
    return replace(situation, quotes=tuple(answers))


def decided(situation, outlook, policy=USUAL, **more):
    return decide(asked(situation, outlook, policy, **more), policy, outlook)


def shape(actions):
    return [
        (
            each.kind.value,
            each.window.nodes,
            (each.window.end - each.window.start).seconds // 3600 + (each.window.end - each.window.start).days * 24,
        )
        for each in actions
    ]


def only_h100(*owned, **changes):
    return a_situation(*owned, kinds=(a_kind(H100),), **changes)


def test_steady_demand_is_bought_ahead_in_long_blocks():
    (action,) = decided(only_h100(), an_outlook(16)).plan.actions
    assert action.kind is ActionKind.BUY
    assert action.window.nodes == 2
    assert action.window.end - action.window.start > 23 * (at(60) - at(0))
    assert "serve 96 of 96 node-hours" in action.reason or "serve 48 of 48 node-hours" in action.reason
    assert "Risk" in action.reason


def test_what_is_owned_or_ordered_is_not_bought_again():
    assert decided(only_h100(bought("a", 60 * 49), bought("b", 60 * 49)), an_outlook(16)).plan.actions == ()


@pytest.mark.parametrize("left", [16, 31, 59])
def test_a_node_that_ends_within_the_hour_is_not_bought_again_beside_it(left: int):
    """The plans that follow see to it before its time is up."""
    assert decided(only_h100(bought("a", left)), an_outlook(8), prices=BY_THE_HOUR).plan.actions == ()


def test_an_idle_node_that_will_be_wanted_goes_on_instead_of_another_that_boots():
    (action,) = decided(only_h100(bought("a", 10)), an_outlook(8), prices=BY_THE_HOUR).plan.actions
    assert (action.kind, action.window.start, action.window.nodes) == (ActionKind.EXTEND, at(10), 1)


def test_what_follows_a_nodes_end_is_not_bought_again():
    window = Rectangle(start=at(10), end=at(130), nodes=1)
    ordered = OpenOrder(id="order_1", side=Side.BUY, sku=H100.id, window=window)
    situation = only_h100(bought("a", 10), open_orders=[ordered])
    assert decided(situation, an_outlook(8), prices=BY_THE_HOUR).plan.actions == ()


def test_no_outlook_is_the_reactive_plan():
    situation = only_h100(queue=[a_waiting_job()])
    ready = asked(situation, Outlook())
    assert decide(ready, USUAL, Outlook()).plan == reactive.plan(ready, USUAL)


def test_waiting_jobs_are_put_onto_what_is_bought_and_the_rest_is_bought_for_now():
    queue = [a_waiting_job("job_1", gpus=8), a_waiting_job("job_2", gpus=8)]
    made = decided(only_h100(queue=queue), an_outlook(8)).plan
    assert sorted(job for each in made.actions for job in each.jobs) == ["job_1", "job_2"]
    assert sum(each.window.nodes for each in made.actions) == 2
    lengths = {length for _, _, length in shape(made.actions)}
    assert 1 in lengths
    assert max(lengths) >= 24


def test_little_authority_buys_less_and_not_for_long():
    bound = Authority(limit_price=Decimal("0.9"), order_size=Decimal("0.5"), horizon_hours=24)
    (action,) = decided(only_h100(), an_outlook(32, authority=bound)).plan.actions
    assert shape([action]) == [("buy", 2, 24)]


@pytest.mark.parametrize(("share", "limit"), [("1", "10.29996"), ("0.6", "10.08"), ("0.59", None)])
def test_little_authority_pays_at_most_a_share_of_what_it_is_worth(share: str, limit: str | None):
    """By the hour, these nodes would cost $16.80; for a day, $10."""
    bound = Authority(limit_price=Decimal(share), horizon_hours=24)
    actions = decided(only_h100(), an_outlook(32, authority=bound, lead_hours=0)).plan.actions
    assert [each.limit_price for each in actions] == ([] if limit is None else [Decimal(limit)])


def test_the_budget_is_kept():
    made = decided(only_h100(), an_outlook(64, budget=4000.0)).plan
    assert 0 < sum(each.window.cost_at(each.limit_price) for each in made.actions) <= 4000


def test_idle_nodes_that_will_be_wanted_are_not_sold():
    idle = bought("a", 60 * 24, idle_for=60)
    assert [
        each.kind for each in decided(only_h100(idle), an_outlook(8)).plan.actions if each.kind is ActionKind.SELL
    ] == []
    assert [each.kind for each in decided(only_h100(idle), an_outlook(0)).plan.actions] == [ActionKind.SELL]


def test_a_solver_out_of_time_makes_the_reactive_plan_and_says_so():
    situation = asked(only_h100(queue=[a_waiting_job()]), an_outlook(160, spread=0.5, hours=168))
    made = decide(situation, USUAL, an_outlook(160, spread=0.5, hours=168), seconds=0.0)
    assert made.fell_back
    assert made.plan.actions == reactive.plan(situation, USUAL).actions
    assert made.plan.notes[0] == made.fell_back


@settings(deadline=None, max_examples=15)
@given(
    gpus=st.floats(0, 200),
    spread=st.floats(0, 1),
    most=st.integers(0, 20),
    waiting=st.integers(0, 4),
    depth=st.integers(0, 16),
)
def test_it_never_breaks_a_limit_and_the_same_situation_is_the_same_plan(gpus, spread, most, waiting, depth):
    policy = Policy(max_nodes=most)
    situation = only_h100(queue=[a_waiting_job(f"job_{n}", limit="2.2") for n in range(waiting)])
    outlook = an_outlook(gpus, spread=spread, hours=24)
    ready = asked(situation, outlook, policy, depth=depth)
    made = decide(ready, policy, outlook)
    assert made.plan == decide(ready, policy, outlook).plan
    buys = [each for each in made.plan.actions if each.kind is ActionKind.BUY]
    assert sum(each.window.nodes for each in buys) <= most
    assert all(each.reason and each.limit_price for each in buys)
    assert all(each.limit_price <= Decimal("17.6") for each in buys if each.jobs)
    assert made.fell_back is None


def test_funded_demand_ends_where_the_money_does():
    paths = np.full((2, 5), 10.0)
    assert funded(paths, 25.0).tolist() == [[10.0, 10.0, 5.0, 0.0, 0.0]] * 2
    assert funded(paths, 1e9).tolist() == paths.tolist()


@pytest.mark.parametrize("count", [2, 5, 50])
def test_fewer_levels_keep_each_hours_mean(count: int):
    paths = np.random.default_rng(0).gamma(2.0, 3.0, (50, 7))
    rows = np.array(levels(paths, count))
    assert rows.shape == (7, count)
    assert np.allclose(rows.mean(axis=1), paths.mean(axis=0), rtol=0.01) or count == 50


def test_nothing_is_bought_and_sold_in_one_plan():
    """Beyond the hours that are looked at, a tail is worth no more than what lies within them."""
    idle = bought("a", 60 * 167, idle_for=60)
    kinds = {each.kind for each in decided(only_h100(idle), an_outlook(8, hours=24)).plan.actions}
    assert not {ActionKind.BUY, ActionKind.SELL} <= kinds
