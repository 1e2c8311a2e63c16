from hypothesis import given
from hypothesis import strategies as st

from node_agent.log_batch import MOST_FRAMES, OpenBatch
from scalar.protocol import LOG_BATCH_BYTES, LogStream

OUT, ERR = LogStream


def test_neighbours_of_one_stream_become_one_frame():
    batch = OpenBatch()
    batch.take(OUT, 10, b"ab")
    batch.take(OUT, 12, b"cd")
    batch.take(ERR, 0, b"x")
    batch.take(OUT, 14, b"e")
    assert [(frame.stream, frame.start, frame.data) for frame in batch.frames()] == [
        (OUT, 10, b"abcd"),
        (ERR, 0, b"x"),
        (OUT, 14, b"e"),
    ]


def test_a_batch_takes_no_more_than_it_may_carry():
    batch = OpenBatch()
    assert batch.take(OUT, 0, b"x" * (LOG_BATCH_BYTES + 5)) == LOG_BATCH_BYTES
    assert batch.full
    assert batch.take(OUT, LOG_BATCH_BYTES, b"x") == 0


def test_a_batch_has_no_more_frames_than_it_may():
    batch = OpenBatch()
    for start in range(MOST_FRAMES):
        batch.take(LogStream.STDOUT if start % 2 else LogStream.STDERR, start, b"x")
    assert batch.full
    assert batch.take(ERR, 5, b"y") == 0


@given(st.lists(st.tuples(st.sampled_from(LogStream), st.binary(min_size=1, max_size=50)), max_size=40))
def test_every_byte_stands_at_its_place(pieces):
    batch, position, written = OpenBatch(), dict.fromkeys(LogStream, 0), dict.fromkeys(LogStream, b"")
    for stream, data in pieces:
        position[stream] += batch.take(stream, position[stream], data)
        written[stream] += data
    for frame in batch.frames():
        assert written[frame.stream][frame.start : frame.start + len(frame.data)] == frame.data
    assert sum(len(frame.data) for frame in batch.frames()) == sum(map(len, written.values()))
