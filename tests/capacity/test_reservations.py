"""Reservations against a real Postgres: accepted or refused, honoured by the pass, released."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import pytest

from scalar.accounts.keys import Role
from scalar.accounts.model import Principal
from scalar.capacity import fleet, reservations_store
from scalar.capacity.calendar import calendar, present
from scalar.capacity.holds import FOREVER, holds
from scalar.capacity.model import Obstacle, Reservation
from scalar.capacity.placing import run_pass
from scalar.capacity.reservations import ReservationRequest, Reserved, holds_now, outlook, release, reserve
from scalar.database import Database, Transaction
from scalar.errors import Conflict, Forbidden, IdempotencyConflict, InvalidRequest, NotFound, Unsatisfiable
from scalar.jobs import store as jobs
from scalar.jobs.model import JobState
from scalar.market import store as market
from scalar.market.model import Sku
from tests.capacity.outlooks import at
from tests.made_up import NOON, a_block, a_customer, a_job_of, a_key, a_node, ended, launch, told

_PRICE = Decimal(6)
_HOUR = 3600


def _principal(customer: tuple[str, str]) -> Principal:
    return Principal(key_id=customer[1], prefix="prefix", role=Role.CUSTOMER, organisation_id=customer[0], node_id=None)


def _operator(tx: Transaction) -> Principal:
    _, key_id = a_key(tx, Role.OPERATOR)
    return Principal(key_id=key_id, prefix="operator", role=Role.OPERATOR, organisation_id=None, node_id=None)


def _asked(gpus: int = 8, start: float = 1, end: float = 2, **changes: Any) -> ReservationRequest:
    return ReservationRequest(**{"gpu_type": "H100", "gpus": gpus, "start": at(start), "end": at(end), **changes})


def _reserve(
    tx: Transaction, caller: Principal, asked: ReservationRequest, key: str | None = None, now: datetime = NOON
) -> Reserved:
    return reserve(tx, asked, caller, key, now)


def _bought(tx: Transaction, nodes: int, start: float, end: float) -> str:
    """A block of nodes of eight GPUs, as a fill leaves one; its id."""
    market.upsert_skus(tx, [Sku(id="sku_1", alias="h100v", gpu_type="H100", gpus_per_node=8)], NOON)
    block_id, _ = a_block(tx, start=at(start), hours=end - start, nodes=nodes, price=str(_PRICE), sku="sku_1")
    return block_id


def _machine(tx: Transaction, block_id: str, state: str, end: float, node_id: str | None = None) -> None:
    """A machine that has the first seat of a block until then."""
    tx.execute(
        """insert into instances (id, sku, state, node_id, wanted_at, until) values ('inst_1', 'sku_1', %s, %s, %s, %s)
           on conflict (id) do update set state = excluded.state, node_id = excluded.node_id""",
        [state, node_id, NOON, at(end)],
    )
    tx.execute(
        """insert into seatings (instance_id, block_id, seat, during) values ('inst_1', %s, 0, tstzrange(%s, %s))
           on conflict do nothing""",
        [block_id, NOON, at(end)],
    )


def test_a_reservation_is_made_told_and_written_down(tx: Transaction) -> None:
    a_node(tx)
    customer = a_customer(tx)
    made = _reserve(tx, _principal(customer), _asked(5))
    assert made.created
    assert (made.reservation.organisation_id, made.reservation.gpus) == (customer[0], 5)
    assert reservations_store.held(tx, NOON) == [made.reservation]
    row = tx.execute("select actor, action from audit_log where subject = %s", [made.reservation.id]).fetchall()
    assert row == [{"actor": "customer:prefix", "action": "reservation.create"}]


def test_the_same_request_under_one_key_is_one_reservation_and_another_is_refused(tx: Transaction) -> None:
    a_node(tx)
    caller = _principal(a_customer(tx))
    first = _reserve(tx, caller, _asked(5), "key")
    again = _reserve(tx, caller, _asked(5), "key", NOON + timedelta(hours=5))
    assert (again.created, again.reservation) == (False, first.reservation)
    with pytest.raises(IdempotencyConflict):
        _reserve(tx, caller, _asked(4), "key")
    assert _reserve(tx, _principal(a_customer(tx, "other")), _asked(3), "key").created


def test_what_is_not_free_is_refused_with_the_times_that_lack(tx: Transaction) -> None:
    a_node(tx)
    _reserve(tx, _principal(a_customer(tx, "first")), _asked(5, 2, 3))
    with pytest.raises(Conflict, match="3 from 2026-11-21 14:00 to 2026-11-21 15:00") as refused:
        _reserve(tx, _principal(a_customer(tx, "second")), _asked(4, 1, 4))
    assert refused.value.details["hours"] == [{"start": at(2).isoformat(), "end": at(3).isoformat(), "free": 3}]
    assert len(reservations_store.held(tx, NOON)) == 1


def test_what_lasts_too_short_a_time_is_refused_though_something_is_always_free(tx: Transaction) -> None:
    node = a_node(tx)
    tx.execute("update nodes set available_until = %s where id = %s", [at(2), node.id])
    _bought(tx, 1, 2, 4)
    caller = _principal(a_customer(tx))
    with pytest.raises(Conflict, match="only 0 that last through it"):
        _reserve(tx, caller, _asked(8, 1, 3))
    assert _reserve(tx, caller, _asked(8, 1, 2)).created
    assert _reserve(tx, caller, _asked(8, 2, 4)).created


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (_asked(1, gpu_type="B200"), Unsatisfiable),
        (_asked(1, 2, 2), InvalidRequest),
        (_asked(1, 3, 2), InvalidRequest),
        (_asked(1, -1, 2), InvalidRequest),
        (_asked(1, -0.05, -0.01), InvalidRequest),
        (_asked(1, 1, 24 * 367), InvalidRequest),
        (_asked(1, organisation="other"), Forbidden),
        (_asked(1, organisation="nobody"), Forbidden),
    ],
)
def test_what_can_not_be_is_refused(tx: Transaction, asked: ReservationRequest, error: type[Exception]) -> None:
    a_node(tx)
    a_customer(tx, "other")
    with pytest.raises(error):
        _reserve(tx, _principal(a_customer(tx)), asked)


def test_an_operator_says_for_whom(tx: Transaction) -> None:
    a_node(tx)
    operator, customer = _operator(tx), a_customer(tx, "acme")
    with pytest.raises(InvalidRequest):
        _reserve(tx, operator, _asked(1))
    with pytest.raises(NotFound):
        _reserve(tx, operator, _asked(1, organisation="nobody"))
    for named in ("acme", customer[0]):
        assert _reserve(tx, operator, _asked(1, organisation=named)).reservation.organisation_id == customer[0]


def test_nobody_reserves_more_than_the_quota_at_one_time(tx: Transaction) -> None:
    a_node(tx)
    caller = _principal(a_customer(tx, max_gpus=4))
    _reserve(tx, caller, _asked(3, 1, 2))
    with pytest.raises(Conflict, match="quota is 4 GPUs; with this, 5"):
        _reserve(tx, caller, _asked(2, 1.5, 3))
    assert _reserve(tx, caller, _asked(4, 2, 3)).created


def test_the_pass_leaves_free_what_another_has_reserved_and_says_so(tx: Transaction) -> None:
    a_node(tx)
    mine, other = a_customer(tx, "mine"), a_customer(tx, "other")
    _reserve(tx, _principal(mine), _asked(6, 1, 3))
    unbounded = a_job_of(tx, other, gpus=3)
    small, short = a_job_of(tx, other, gpus=2), a_job_of(tx, other, gpus=3, max_runtime_seconds=_HOUR)
    outcome = run_pass(tx, NOON)
    assert {each.job_id for each in outcome.decision.placements} == {small.id, short.id}
    assert [(each.job_id, each.obstacle) for each in outcome.decision.refusals] == [(unbounded.id, Obstacle.RESERVED)]
    assert jobs.job(tx, unbounded.id).waiting == {"obstacle": "reserved", "ahead": 0}  # type: ignore[union-attr]


def test_its_own_organisation_takes_what_is_reserved_and_a_release_gives_it_to_others(tx: Transaction) -> None:
    a_node(tx)
    mine, other = a_customer(tx, "mine"), a_customer(tx, "other")
    kept = _reserve(tx, _principal(mine), _asked(8, 0, 3)).reservation
    theirs = a_job_of(tx, other)
    own = a_job_of(tx, mine, gpus=6)
    run_pass(tx, NOON)
    assert jobs.job(tx, own.id).state is JobState.PLACED  # type: ignore[union-attr]
    assert jobs.job(tx, theirs.id).state is JobState.QUEUED  # type: ignore[union-attr]
    (level,) = present(outlook(tx, NOON))
    assert (level.used, level.reserved, level.free) == (6, 2, 0)
    released = release(tx, kept.id, organisation_id=mine[0], actor="test", now=NOON)
    assert released.released_at == NOON
    run_pass(tx, NOON)
    assert jobs.job(tx, theirs.id).state is JobState.PLACED  # type: ignore[union-attr]


def test_a_release_happens_once_and_never_to_another_tenant(tx: Transaction) -> None:
    a_node(tx)
    mine = a_customer(tx)
    kept = _reserve(tx, _principal(mine), _asked(1)).reservation
    with pytest.raises(NotFound):
        release(tx, kept.id, organisation_id=a_customer(tx, "other")[0], actor="test", now=NOON)
    first = release(tx, kept.id, organisation_id=None, actor="test", now=NOON)
    assert release(tx, kept.id, organisation_id=mine[0], actor="test", now=at(1)) == first
    query = "select count(*) as n from audit_log where subject = %s and action = 'reservation.release'"
    assert tx.execute(query, [kept.id]).fetchone() == {"n": 1}
    assert reservations_store.held(tx, NOON) == []


def test_lists_show_what_is_over_too_newest_first_and_only_ones_own(tx: Transaction) -> None:
    a_node(tx)
    mine, other = a_customer(tx), a_customer(tx, "other")
    first, second = (_reserve(tx, _principal(mine), _asked(1)).reservation.id for _ in range(2))
    third = _reserve(tx, _principal(other), _asked(1)).reservation.id
    release(tx, first, organisation_id=None, actor="test", now=NOON)

    def ids(organisation_id: str | None, before: str | None = None, limit: int = 9) -> list[str]:
        found = reservations_store.reservations(tx, organisation_id=organisation_id, before=before, limit=limit)
        return [each.id for each in found]

    assert sorted(ids(None), reverse=True) == ids(None)
    assert set(ids(None)) == {first, second, third}
    assert set(ids(mine[0])) == {first, second}
    assert ids(None, limit=1) + ids(None, before=ids(None)[0]) == ids(None)


@pytest.mark.parametrize(
    ("change", "usable"),
    [
        ("state = 'ready'", True),
        ("state = 'checking'", True),
        ("state = 'checking', unfit = 'it has 4 GPUs'", False),
        ("state = 'draining'", False),
        ("last_seen_at = last_seen_at - interval '2 minutes'", False),
    ],
    ids=["ready", "checking", "unfit", "draining", "silent"],
)
def test_a_node_is_owned_whatever_it_does_but_not_always_of_use(
    tx: Transaction, change: LiteralString, *, usable: bool
) -> None:
    a_node(tx)
    tx.execute(f"update nodes set {change}")
    (supply,) = outlook(tx, NOON).supplies
    assert (supply.gpus, supply.sku, supply.end, supply.usable) == (8, None, FOREVER, usable)


def test_a_node_that_is_gone_or_over_is_not_owned(tx: Transaction) -> None:
    fleet.mark_gone(tx, a_node(tx, "gone").id, "test", NOON)
    over = a_node(tx, "over")
    tx.execute("update nodes set available_until = %s where id = %s", [NOON, over.id])
    assert outlook(tx, NOON).supplies == []


@pytest.mark.parametrize(
    ("longest", "block_ends", "until"),
    [(None, None, None), (None, 4, 4), (1, None, 1), (1, 4, 1), (9, 4, 4)],
)
def test_a_run_is_counted_until_it_is_over_at_the_latest(
    tx: Transaction, longest: int | None, block_ends: int | None, until: int | None
) -> None:
    node = a_node(tx)
    customer = a_customer(tx)
    run = launch(tx, a_job_of(tx, customer, gpus=3, max_runtime_seconds=longest and longest * _HOUR).id)
    tx.execute("update nodes set available_until = %s where id = %s", [block_ends and at(block_ends), node.id])
    (use,) = outlook(tx, NOON).uses
    assert (use.node_id, use.organisation_id, use.gpus) == (node.id, customer[0], 3)
    assert use.until == (FOREVER if until is None else at(until))
    told(tx, run, ended(run))
    assert outlook(tx, NOON).uses == []


def test_a_run_that_is_past_its_time_has_its_gpus_until_it_has_stopped(tx: Transaction) -> None:
    a_node(tx)
    launch(tx, a_job_of(tx, a_customer(tx), max_runtime_seconds=60).id)
    late = NOON + timedelta(seconds=80)
    assert present(outlook(tx, late))[0].used == 1


def test_a_seat_counts_until_its_machine_is_a_node_and_the_node_from_then_on(tx: Transaction) -> None:
    block = _bought(tx, 2, 0, 6)

    def owned() -> list[tuple[str | None, int, bool]]:
        return sorted(((each.sku, each.gpus, each.node_id is None) for each in outlook(tx, NOON).supplies), key=str)

    seats = [("sku_1", 8, True), ("sku_1", 8, True)]
    assert owned() == seats
    _machine(tx, block, "booting", 6)
    assert owned() == seats
    node = a_node(tx)
    tx.execute("update nodes set available_until = %s", [at(6)])
    _machine(tx, block, "joined", 6, node.id)
    assert owned() == [("sku_1", 8, False), ("sku_1", 8, True)]
    assert {(each.start, each.end) for each in outlook(tx, NOON).supplies} == {(NOON, at(6))}


def test_a_block_that_begins_later_can_be_reserved_and_today_is_not_held_up(tx: Transaction) -> None:
    a_node(tx)
    _bought(tx, 1, 24, 48)
    mine = a_customer(tx)
    _reserve(tx, _principal(mine), _asked(8, 24, 48))
    assert [hour.levels[0].owned for hour in calendar(outlook(tx, NOON), 26)][22:] == [8, 8, 16, 16]
    job = a_job_of(tx, a_customer(tx, "other"), gpus=8)
    run_pass(tx, NOON)
    assert jobs.job(tx, job.id).state is JobState.PLACED  # type: ignore[union-attr]


def test_seats_one_after_the_other_count_as_one_machine(tx: Transaction) -> None:
    """Two sellers filled the order, one until 3 and the other from then on."""
    _bought(tx, 2, 0, 3)
    _bought(tx, 1, 3, 6)
    caller = _principal(a_customer(tx))
    assert [(each.start, each.end) for each in outlook(tx, NOON).supplies] == [(NOON, at(3)), (NOON, at(6))]
    _reserve(tx, caller, _asked(8, 2, 4))
    with pytest.raises(Conflict, match="0 from"):
        _reserve(tx, caller, _asked(8, 2, 4))


def test_a_machine_goes_on_with_the_seat_that_begins_as_its_own_ends(tx: Transaction) -> None:
    first = _bought(tx, 1, 0, 3)
    _bought(tx, 1, 3, 6)
    _machine(tx, first, "booting", 3)
    assert [(each.start, each.end) for each in outlook(tx, NOON).supplies] == [(NOON, at(6))]


def test_without_reservations_a_pass_asks_for_no_holds(tx: Transaction) -> None:
    a_node(tx)
    assert holds_now(tx, NOON) == ()
    _reserve(tx, _principal(a_customer(tx)), _asked(1))
    assert holds_now(tx, NOON) == holds(outlook(tx, NOON)) != ()
    assert holds_now(tx, at(2)) == ()


def test_many_at_once_are_never_promised_more_than_there_is(database: Database) -> None:
    with database.transaction() as tx:
        a_node(tx, gpus=8)
        callers = [a_customer(tx, f"org-{number}") for number in range(6)]

    def deed(number: int) -> Reservation | None:
        with database.transaction() as tx:
            if number % 2:
                a_job_of(tx, callers[number % 6], gpus=2)
                run_pass(tx, NOON)
                return None
            try:
                return _reserve(tx, _principal(callers[number % 6]), _asked(3, 1, 2)).reservation
            except Conflict:
                return None

    with ThreadPoolExecutor(6) as threads:
        made = [each for each in threads.map(deed, range(12)) if each]
    with database.transaction() as tx:
        assert all(hold.spare >= 0 for hold in holds(outlook(tx, NOON)))
        assert len(reservations_store.held(tx, NOON)) == len(made) <= 2
