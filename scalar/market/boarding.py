"""Machines on their way: from a seat that was paid for to a node that works, and off again. One call is one tick.

1. write    every open seat gets a machine that moves on, or a new one; runs that would outlast their node stop
2. ask      for each new machine; one that may have been asked for is looked for first, by its tag
3. ask      for all machines of the pool
4. write    what runs, what has failed; what is unfit, over, or not wanted is ended at the market, and then here
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from scalar.market import instances, machines
from scalar.market.answers import Instance as MarketInstance
from scalar.market.answers import InstanceStatus
from scalar.market.desk import Desk
from scalar.market.errors import MarketAnswerMalformed, MarketError, MarketNotFound
from scalar.market.model import Instance, InstanceState
from scalar.market.user_data import cloud_config

log = structlog.get_logger(__name__)

TAG = "scalar-instance"
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
    for instance, again in wanted:
        _ask_for(desk, instance, done, again=again)
    try:
        _look(desk, done)
    except MarketError as error:
        _note("the machines", error, done)
    return done


def _ask_for(desk: Desk, instance: Instance, done: Boarded, *, again: bool) -> None:
    try:
        answer = _earlier(desk, instance) if again else None
        answer = answer or _create(desk, instance)
    except MarketError as error:
        _note(instance.id, error, done)
        with desk.transact() as tx:
            instances.release_ask(tx, instance.id)
    else:
        with desk.transact() as tx:
            instances.created(tx, instance.id, answer.id)
        done.asked_for += 1


def _earlier(desk: Desk, instance: Instance) -> MarketInstance | None:
    """A call that creates a machine has no idempotency key: what it may have made is found by its tag.

    Among all machines of the pool: a list that lacks one that we know proves nothing.
    """
    there = list(desk.market.instances(pool=desk.pool()))
    with desk.transact() as tx:
        known = {each.market_id for each in instances.live_instances(tx) if each.market_id is not None}
    if not known <= {each.id for each in there}:
        raise MarketAnswerMalformed("the list of machines lacks some that we know")
    return next((each for each in there if each.tags.get(TAG) == instance.id and not each.status.ended), None)


def _create(desk: Desk, instance: Instance) -> MarketInstance:
    with desk.transact() as tx:
        token = machines.new_join_token(tx, instance, desk.clock())
    user_data = cloud_config(
        name=instance.id,
        api_url=desk.settings.agent_api_url,
        join_token=token,
        package=desk.settings.agent_package,
        runtime="auto" if desk.settings.process_runtime else "docker",
    )
    return desk.market.create_instance(
        pool=desk.pool(),
        image=desk.settings.image,
        sku=instance.sku,
        name=instance.id,
        user_data=user_data,
        tags={TAG: instance.id},
    )


def _look(desk: Desk, done: Boarded) -> None:
    with desk.transact() as tx:
        before = instances.live_instances(tx)
    there = {each.id: each for each in desk.market.instances(pool=desk.pool())}
    for instance in before:
        if instance.market_id is not None:
            _see(desk, instance, there.get(instance.market_id), done)
    with desk.transact() as tx:
        now = desk.clock()
        to_end = [*machines.unfit(tx, now), *((each, "its time was up") for each in machines.over(tx, now))]
    for instance, why in to_end:
        _end(desk, instance, why, done)
    _end_unwanted(desk, there, done)


def _see(desk: Desk, instance: Instance, seen: MarketInstance | None, done: Boarded) -> None:
    """A list that lacks a machine of ours is not believed: it is asked for by its id."""
    assert instance.market_id is not None  # noqa: S101 - its caller has looked
    gone = False
    if seen is None:
        try:
            seen = desk.market.instance(instance.market_id)
        except MarketNotFound:
            gone = True
    with desk.transact() as tx:
        if seen is not None and seen.status is InstanceStatus.RUNNING:
            instances.runs(tx, instance.id, desk.clock())
        elif gone or (seen is not None and seen.status.ended):
            over = instance.until <= desk.clock()
            status = seen.status.value if seen else "unknown"
            machines.off(tx, instance.id, "its time was up" if over else f"the market says: {status}", desk.clock())
            done.ended += 1


def _end(desk: Desk, instance: Instance, why: str, done: Boarded) -> None:
    """First at the market: a node may only be called gone when nothing of it runs any more."""
    try:
        if instance.market_id is not None:
            _terminate(desk, instance.market_id)
    except MarketError as error:
        _note(instance.id, error, done)
        return
    with desk.transact() as tx:
        machines.off(tx, instance.id, why, desk.clock())
    done.ended += 1


def _terminate(desk: Desk, market_id: str) -> None:
    try:
        desk.market.terminate_instance(market_id)
    except MarketNotFound:
        return  # it is off already


def _end_unwanted(desk: Desk, there: Mapping[str, MarketInstance], done: Boarded) -> None:
    """Machines that carry our tag and that nobody waits for: made by a call whose answer never came."""
    for each in there.values():
        if each.status.ended or TAG not in each.tags:
            continue
        with desk.transact() as tx:
            ours = instances.instance(tx, each.tags[TAG])
        doubled = ours is not None and ours.market_id is not None and ours.market_id != each.id
        ended = ours is not None and ours.state is InstanceState.ENDED
        if ours is not None and (doubled or ended):
            try:
                _terminate(desk, each.id)
            except MarketError as error:
                _note(each.id, error, done)


def _note(what: str, error: Exception, done: Boarded) -> None:
    log.warning("machines.not_followed", what=what, error=str(error))
    done.problems.append(f"{what}: {error}")
