"""Output by offset: whatever way it was cut on its way, it reads as it was written."""

import base64
from collections.abc import Iterator
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalar.database import Transaction
from scalar.jobs import logs
from scalar.jobs.logs import append, read, read_stream
from scalar.protocol import LogFrame, LogOffsets, LogStream
from tests.made_up import a_customer, a_job_of, a_launched_run, a_node

_OUT, _ERR = LogStream.STDOUT, LogStream.STDERR
_property = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def run_id(tx: Transaction) -> str:
    a_node(tx)
    return a_launched_run(tx, a_job_of(tx, a_customer(tx)).id, str(uuid4())).id


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 10)
    return 10


def _frame(stream: LogStream, start: int, data: bytes) -> LogFrame:
    return LogFrame(stream=stream, start=start, data=base64.b64encode(data))


def _text(tx: Transaction, run_id: str, offset: int = 0, limit: int = 10**9) -> bytes:
    return b"".join(chunk.data for chunk in read(tx, run_id, 0, offset=offset, limit=limit))


@st.composite
def _deliveries(draw: st.DrawFn) -> tuple[dict[LogStream, bytes], list[list[LogFrame]]]:
    """Two streams; and batches of frames of them, cut anywhere, repeated and in any order, that end complete."""
    streams = {stream: draw(st.binary(max_size=40)) for stream in LogStream}
    frames = []
    for stream, data in streams.items():
        cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=5))})
        frames += [_frame(stream, a, data[a:b]) for a, b in pairwise(cuts)]
        for _ in range(draw(st.integers(0, 3))):
            a, b = sorted(draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
            frames.append(_frame(stream, a, data[a:b]))
    batches = draw(st.lists(st.lists(st.sampled_from(frames), max_size=4), max_size=6)) if frames else []
    return streams, batches


def _undone(tx: Transaction) -> Iterator[None]:
    """For each example, the same start."""
    tx.execute("savepoint example")
    yield
    tx.execute("rollback to savepoint example")


@_property
@given(delivery=_deliveries())
def test_any_cut_repeated_and_reordered_gives_each_stream_as_it_was_written(
    tx: Transaction, run_id: str, delivery: tuple[dict[LogStream, bytes], list[list[LogFrame]]]
) -> None:
    streams, batches = delivery
    for _ in _undone(tx):
        have = LogOffsets()
        for batch in batches:
            before, have = have, append(tx, run_id, 0, batch).offsets
            assert (have.stdout, have.stderr) >= (before.stdout, before.stderr)
        for stream, at in ((_OUT, have.stdout), (_ERR, have.stderr)):
            kept = read_stream(tx, run_id, 0, stream, offset=0, limit=10**9)
            assert kept == streams[stream][:at]
        # The agent goes on from what the receipt says, until all is there.
        rest = [_frame(_OUT, have.stdout, streams[_OUT][have.stdout :]), _frame(_ERR, 0, streams[_ERR])]
        offsets = append(tx, run_id, 0, rest).offsets
        assert (offsets.stdout, offsets.stderr) == (len(streams[_OUT]), len(streams[_ERR]))
        assert read_stream(tx, run_id, 0, _OUT, offset=0, limit=10**9) == streams[_OUT]
        assert read_stream(tx, run_id, 0, _ERR, offset=0, limit=10**9) == streams[_ERR]
        assert len(_text(tx, run_id)) == sum(map(len, streams.values()))


@_property
@given(
    pieces=st.lists(st.tuples(st.sampled_from(LogStream), st.binary(min_size=1, max_size=9)), max_size=8),
    offset=st.integers(0, 80),
    limit=st.integers(1, 80),
)
def test_any_reading_is_a_slice_of_the_whole(
    tx: Transaction, run_id: str, pieces: list[tuple[LogStream, bytes]], offset: int, limit: int
) -> None:
    for _ in _undone(tx):
        at = dict.fromkeys(LogStream, 0)
        for stream, data in pieces:
            append(tx, run_id, 0, [_frame(stream, at[stream], data)])
            at[stream] += len(data)
        whole = b"".join(data for _, data in pieces)
        assert _text(tx, run_id) == whole
        assert _text(tx, run_id, offset, limit) == whole[offset : offset + limit]
        for stream in LogStream:
            alone = b"".join(data for each, data in pieces if each is stream)
            assert read_stream(tx, run_id, 0, stream, offset=offset, limit=limit) == alone[offset : offset + limit]
        chunks = read(tx, run_id, 0, offset=offset, limit=limit)
        assert all(a.end == b.start for a, b in pairwise(chunks))


def test_streams_stand_in_the_order_of_their_arrival(tx: Transaction, run_id: str) -> None:
    append(tx, run_id, 0, [_frame(_OUT, 0, b"one "), _frame(_ERR, 0, b"two "), _frame(_OUT, 4, b"three")])
    assert [(chunk.stream, chunk.data) for chunk in read(tx, run_id, 0, offset=0, limit=99)] == [
        (_OUT, b"one "),
        (_ERR, b"two "),
        (_OUT, b"three"),
    ]


def test_a_gap_is_refused_by_asking_for_what_is_missing(tx: Transaction, run_id: str) -> None:
    append(tx, run_id, 0, [_frame(_OUT, 0, b"abc")])
    receipt = append(tx, run_id, 0, [_frame(_OUT, 4, b"e")])
    assert receipt.offsets == LogOffsets(stdout=3)
    assert _text(tx, run_id) == b"abc"


@pytest.mark.parametrize(
    ("parts", "kept", "truncated"),
    [
        ([b"0123456789"], b"0123456789", False),
        ([b"0123456789A"], b"0123456789" + logs._NOTICE, True),
        ([b"0123456789", b"A"], b"0123456789" + logs._NOTICE, True),
        ([b"0123456789", b"A", b"B"], b"0123456789" + logs._NOTICE, True),
        ([b"01234", b"56789ABC", b"DEF"], b"0123456789" + logs._NOTICE, True),
    ],
)
def test_a_log_over_the_limit_ends_with_one_line_that_says_so_and_is_counted_on(
    tx: Transaction, run_id: str, small_limit: int, parts: list[bytes], kept: bytes, *, truncated: bool
) -> None:
    start = 0
    for part in parts:
        receipt = append(tx, run_id, 0, [_frame(_OUT, start, part)])
        start += len(part)
        assert receipt.offsets.stdout == start
    assert receipt.truncated is truncated
    assert (start > small_limit) is truncated
    assert _text(tx, run_id) == kept


def test_a_limit_reached_inside_one_batch_keeps_what_came_first(tx: Transaction, run_id: str, small_limit: int) -> None:
    append(tx, run_id, 0, [_frame(_OUT, 0, b"0123"), _frame(_ERR, 0, b"4567"), _frame(_OUT, 4, b"89AB")])
    assert _text(tx, run_id)[:small_limit] == b"0123456789"
    append(tx, run_id, 0, [_frame(_ERR, 4, b"more")])
    assert _text(tx, run_id) == b"0123456789" + logs._NOTICE
