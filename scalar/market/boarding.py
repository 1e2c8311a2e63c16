"""Machines on their way: from a seat that was paid for to a node that works, and off again. One call is one tick.

1. write    every open seat gets a machine that moves on, or a new one; runs that would outlast their node stop
2. ask      for each new machine; one that may have been asked for is looked for first, by its tags
            and those whose time is up next yield to the others
3. ask      for all machines of the pool
4. write    what was made by a call whose answer never came, what runs, what has failed
5. end      what is unfit, over, or not wanted: taken out of use here, ended at the market, and then here
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from scalar.errors import Conflict
from scalar.market import instances, machines
from scalar.market.answers import Instance as MarketInstance
from scalar.market.answers import InstanceStatus
from scalar.market.desk import Desk
from scalar.market.errors import MarketAnswerMalformed, MarketError, MarketNotFound, OutcomeUnknown
from scalar.market.machines import Ask
from scalar.market.model import Instance, InstanceState
from scalar.market.user_data import cloud_config

log = structlog.get_logger(__name__)

TAG = "scalar-instance"
ASK_TAG = "scalar-ask"
"""Which of our asks it came of: only what came of the last one can join."""
_AT_ONCE = 20


@dataclass
class Boarded:
    """What a tick did."""

    asked_for: int = 0
    ended: int = 0
    stopped_runs: int = 0
    problems: list[str] = field(default_factory=list)


def board(desk: Desk) -> Boarded:
    done = Boarded()
    with desk.transact() as tx:
        done.stopped_runs = len(machines.call_time(tx, desk.clock()))
    with desk.transact() as tx:
        seated = machines.take_seats(tx, desk.clock())
        wanted = instances.lease_wanted(tx, desk.clock(), limit=_AT_ONCE)
    done.problems += [f"no machine comes up on seat {each}" for each in seated.given_up]
    for instance in wanted:
        _ask_for(desk, instance, done)
    _rank(desk, done)
    try:
        _look(desk, done)
    except MarketError as error:
        _note("the machines", error, done)
    return done


def _ask_for(desk: Desk, instance: Instance, done: Boarded) -> None:
    """A call that creates a machine has no idempotency key: what it may have made is looked for first."""
    try:
        pool = desk.pool()
        if instance.asks:
            there = _earlier(desk, instance, pool)
            if there is not None:
                _write_down(desk, instance, there, instance.asks, done)
                return
        with desk.transact() as tx:
            ask = machines.ask(tx, instance, desk.clock())
    except Conflict as taken:
        log.info("machines.not_asked_for", instance=instance.id, why=taken.message)
    except MarketError as error:
        _put_off(desk, instance, instance.asks, error, done)
    else:
        _create(desk, instance, pool, ask, done)


def _earlier(desk: Desk, instance: Instance, pool: str) -> MarketInstance | None:
    """What came of the last ask, among all machines of the pool: a list that lacks one that we know proves nothing."""
    there = list(desk.market.instances(pool=pool))
    with desk.transact() as tx:
        known = {each.market_id for each in instances.live_instances(tx) if each.market_id is not None}
    if not known <= {each.id for each in there}:
        raise MarketAnswerMalformed("the list of machines lacks some that we know")
    return next((each for each in there if _is_of(each, instance) and not each.status.ended), None)


def _create(desk: Desk, instance: Instance, pool: str, ask: Ask, done: Boarded) -> None:
    user_data = cloud_config(
        name=instance.id,
        api_url=desk.settings.agent_api_url,
        join_token=ask.token,
        package=desk.settings.agent_package,
        runtime="auto" if desk.settings.process_runtime else "docker",
    )
    try:
        answer = desk.market.create_instance(
            pool=pool,
            image=desk.settings.image,
            sku=instance.sku,
            name=instance.id,
            user_data=user_data,
            tags={TAG: instance.id, ASK_TAG: str(ask.number)},
        )
    except OutcomeUnknown as error:
        # The market may be at it still: until the lease is over, nobody asks again.
        _note(instance.id, error, done)
    except MarketError as error:
        _put_off(desk, instance, ask.number, error, done)
    else:
        _write_down(desk, instance, answer, ask.number, done)


def _write_down(desk: Desk, instance: Instance, there: MarketInstance, ask: int, done: Boarded) -> None:
    with desk.transact() as tx:
        done.asked_for += instances.created(tx, instance.id, there.id, ask=ask, now=desk.clock())


def _rank(desk: Desk, done: Boarded) -> None:
    """When a block ends the market ends as many machines, those that yield first: it knows nothing of seats."""
    with desk.transact() as tx:
        yields = instances.to_rank(tx, desk.clock() + machines.YIELD_AHEAD)
    for market_id, each in yields.items():
        try:
            desk.market.set_priorities({market_id: "yield" if each else "normal"})
        except MarketNotFound:
            continue  # it is off, which the next look tells
        except MarketError as error:
            _note(market_id, error, done)
            return
        with desk.transact() as tx:
            instances.ranked(tx, {market_id: each})


def _look(desk: Desk, done: Boarded) -> None:
    with desk.transact() as tx:
        before = instances.live_instances(tx)
    there = {each.id: each for each in desk.market.instances(pool=desk.pool())}
    for instance in before:
        if instance.market_id is None:
            _find(desk, instance, there, done)
        else:
            _see(desk, instance, there.get(instance.market_id), done)
    with desk.transact() as tx:
        doomed = machines.to_end(tx, desk.clock())
    for instance_id in doomed:
        _end(desk, instance_id, done)
    _end_unwanted(desk, there, done)


def _find(desk: Desk, instance: Instance, there: Mapping[str, MarketInstance], done: Boarded) -> None:
    """It was made by a call whose answer never came; its agent may have joined since. The next tick looks at it."""
    found = next((each for each in there.values() if _is_of(each, instance)), None)
    if found is not None:
        _write_down(desk, instance, found, instance.asks, done)


def _see(desk: Desk, instance: Instance, seen: MarketInstance | None, done: Boarded) -> None:
    """A list that lacks a machine of ours is not believed: it is asked for by its id."""
    assert instance.market_id is not None  # noqa: S101 - its caller has looked
    gone = False
    if seen is None:
        try:
            seen = desk.market.instance(instance.market_id)
        except MarketNotFound:
            gone = True
    if seen is not None and seen.status is InstanceStatus.RUNNING and instance.running_at is None:
        with desk.transact() as tx:
            instances.runs(tx, instance.id, desk.clock())
    elif gone or (seen is not None and seen.status.ended):
        over = instance.until <= desk.clock()
        status = seen.status.value if seen else "unknown"
        with desk.transact() as tx:
            machines.off(tx, instance.id, "its time was up" if over else f"the market says: {status}", desk.clock())
        done.ended += 1


def _end(desk: Desk, instance_id: str, done: Boarded) -> None:
    """First at the market: a node may only be called gone when nothing of it runs any more."""
    with desk.transact() as tx:
        retired = machines.retire(tx, instance_id, desk.clock())
    if retired is None:
        return
    if retired.market_id is None and retired.node_id is not None:
        done.problems.append(f"{instance_id} is to end, and the market's list lacks it")
        return
    try:
        if retired.market_id is not None:
            _terminate(desk, retired.market_id)
    except MarketError as error:
        _note(instance_id, error, done)
        return
    with desk.transact() as tx:
        machines.off(tx, instance_id, str(retired.end_reason), desk.clock())
    done.ended += 1


def _terminate(desk: Desk, market_id: str) -> None:
    try:
        desk.market.terminate_instance(market_id)
    except MarketNotFound:
        return  # it is off already


def _end_unwanted(desk: Desk, there: Mapping[str, MarketInstance], done: Boarded) -> None:
    """Machines of ours that can't join any more: of one that has ended, or of an ask that another has followed."""
    tagged = [each for each in there.values() if not each.status.ended and TAG in each.tags]
    with desk.transact() as tx:
        known = [(each, instances.instance(tx, each.tags[TAG])) for each in tagged]
    for each, ours in known:
        if ours is not None and (ours.state is InstanceState.ENDED or not _is_of(each, ours)):
            try:
                _terminate(desk, each.id)
            except MarketError as error:
                _note(each.id, error, done)


def _is_of(there: MarketInstance, ours: Instance) -> bool:
    return there.tags.get(TAG) == ours.id and there.tags.get(ASK_TAG) == str(ours.asks)


def _put_off(desk: Desk, instance: Instance, ask: int, error: MarketError, done: Boarded) -> None:
    """Nothing has come of it: the next tick may ask again."""
    _note(instance.id, error, done)
    with desk.transact() as tx:
        instances.release_ask(tx, instance.id, ask)


def _note(what: str, error: Exception, done: Boarded) -> None:
    log.warning("machines.not_followed", what=what, error=str(error))
    done.problems.append(f"{what}: {error}")
