"""From spans to hours, exactly."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalar.metering.hours import Backlog, due
from scalar.metering.model import HOUR, Span, Window, hour_of
from scalar.metering.store import NewUsage
from scalar.metering.usage import gpu_seconds, hours_of, usage_in
from tests.made_up import NOON


def _span(start: datetime = NOON, end: datetime = NOON + HOUR, **changes: Any) -> Span:
    fields = {"run_id": "run_1", "rank": 0, "organisation_id": "org_1", "tier": "fast", "gpu_type": "H100", "gpus": 1}
    return Span(**{**fields, **changes}, start=start, end=end)


def _at(*, minutes: float = 0) -> datetime:
    return NOON + timedelta(minutes=minutes)


_moments = st.integers(0, 6 * 3600 * 10**6).map(lambda n: NOON - 3 * HOUR + timedelta(microseconds=n))
_spans = st.lists(
    st.builds(
        lambda ends, run, gpus, type_, rank: _span(
            min(ends), max(ends), run_id=run, gpus=gpus, gpu_type=type_, rank=rank
        ),
        ends=st.tuples(_moments, _moments),
        run=st.sampled_from(["run_1", "run_2"]),
        gpus=st.integers(1, 64),
        type_=st.sampled_from(["A100", "H100"]),
        rank=st.integers(0, 3),
    ),
    max_size=8,
)
_HOURS = [NOON + i * HOUR for i in range(-4, 5)]


@given(_spans)
def test_the_hours_of_spans_add_up_to_the_spans(spans: list[Span]) -> None:
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for hour in _HOURS:
        for record in usage_in(spans, Window.hour(hour)):
            totals[record.run_id, record.gpu_type] += record.gpu_seconds
    for (run_id, gpu_type), total in totals.items():
        assert total == gpu_seconds(s for s in spans if (s.run_id, s.gpu_type) == (run_id, gpu_type))
    assert sum(totals.values()) == gpu_seconds(spans)


@given(_spans, st.randoms(use_true_random=False))
def test_the_order_of_spans_does_not_matter(spans: list[Span], shuffled: Any) -> None:
    before = usage_in(spans, Window.hour(NOON))
    shuffled.shuffle(spans)
    assert usage_in(spans, Window.hour(NOON)) == before


@given(_spans)
def test_an_hour_has_no_more_than_its_seconds_for_each_gpu(spans: list[Span]) -> None:
    for record in usage_in(spans, Window.hour(NOON)):
        gpus = sum(s.gpus for s in spans if (s.run_id, s.gpu_type) == (record.run_id, record.gpu_type))
        assert 0 < record.gpu_seconds <= 3600 * gpus


@given(_moments, _moments)
def test_the_hours_that_a_time_touches_are_those_in_which_it_has_usage(one: datetime, other: datetime) -> None:
    start, end = min(one, other), max(one, other)
    touched = [hour for hour in _HOURS if usage_in([_span(start, end)], Window.hour(hour))]
    assert touched == [hour for hour in hours_of(start, end) if start < end]


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        (_at(minutes=-60), _at(), None),
        (_at(minutes=60), _at(minutes=70), None),
        (_at(minutes=-1), _at(minutes=1), 60),
        (_at(minutes=59), _at(minutes=61), 60),
        (_at(minutes=-60), _at(minutes=120), 3600),
        (_at(minutes=5), _at(minutes=5), None),
    ],
)
def test_a_second_belongs_to_the_hour_that_it_lies_in(start: datetime, end: datetime, seconds: int | None) -> None:
    assert [record.gpu_seconds for record in usage_in([_span(start, end)], Window.hour(NOON))] == (
        [seconds] if seconds else []
    )


def test_a_microsecond_is_not_lost() -> None:
    (record,) = usage_in([_span(NOON, NOON + timedelta(microseconds=1), gpus=3)], Window.hour(NOON))
    assert record.gpu_seconds == Decimal("0.000003")


def test_an_hour_is_the_same_wherever_it_is_asked_for() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert Window.hour(NOON.astimezone(india)) == Window.hour(NOON)
    assert hour_of(NOON.astimezone(india) + timedelta(minutes=59)) == NOON
    with pytest.raises(ValueError, match="not the start of an hour"):
        Window.hour(NOON + timedelta(seconds=1))


_ELEVEN, _ONE, _TWO = NOON - HOUR, NOON + HOUR, NOON + 2 * HOUR


def _use(start: datetime, end: datetime, event_id: int = 1) -> NewUsage:
    return NewUsage(event_id=event_id, start=start, end=end)


@pytest.mark.parametrize(
    ("open_hours", "fresh", "now", "built", "left"),
    [
        (set(), [], _at(minutes=90), [], set()),
        (set(), [_use(_at(), _at(minutes=5))], _at(minutes=59.9), [], {NOON}),
        (set(), [_use(_at(), _at(minutes=5))], _at(minutes=60), [NOON], set()),
        ({NOON}, [], _at(minutes=60), [NOON], set()),
        ({NOON}, [_use(_at(minutes=1), _at(minutes=2))], _at(minutes=60), [NOON], set()),
        (set(), [_use(_at(minutes=-30), _at(minutes=150))], _at(minutes=130), [_ELEVEN, NOON, _ONE], {_TWO}),
        (set(), [_use(_at(minutes=10), _at(minutes=60))], _at(minutes=61), [NOON], set()),
        (set(), [_use(_at(), _at())], _at(minutes=90), [], set()),
        ({_ONE}, [_use(_at(minutes=-50), _at(minutes=-40))], _at(minutes=70), [_ELEVEN], {_ONE}),
    ],
)
def test_an_hour_is_due_once_it_is_over_and_something_touched_it(
    open_hours: set[datetime], fresh: list[NewUsage], now: datetime, built: list[datetime], left: set[datetime]
) -> None:
    backlog = Backlog(event_id=3, open_hours=frozenset(open_hours))
    hours, after = due(backlog, fresh, watermark=9, now=now)
    assert hours == built
    assert after == Backlog(event_id=9, open_hours=frozenset(left))


def test_a_backlog_survives_being_written_down() -> None:
    backlog = Backlog(event_id=7, open_hours=frozenset({NOON, NOON + HOUR}))
    assert Backlog.from_json(backlog.to_json()) == backlog
    assert Backlog.from_json({"event_id": 0, "open_hours": []}) == Backlog()
    assert next(iter(Backlog.from_json(backlog.to_json()).open_hours)).tzinfo == UTC
