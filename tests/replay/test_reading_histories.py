"""Histories from files."""

import gzip
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from histories import START, an_arrival, at

from scalar.errors import InvalidRequest
from scalar.jobs.model import Tier
from scalar.replay.history import offered, read_history, shaped

JOBS = """timestamp,duration,num_gpus,cluster
2026-08-31T23:30:00,7200,8,a
2026-09-01T01:00:00,3600,16,a
2026-09-01T00:30:00,1800,3,a
2026-09-01T02:00:00,0,8,a
2026-09-03T00:00:00,60,1,a
"""


def a_file(folder: Path, text: str, name: str = "jobs.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read(path: Path, **more):
    return read_history(path, start=START, end=at(24), price=Decimal("16.8"), **more)


def test_jobs_of_the_window_by_time_and_what_was_wanted_before(tmp_path):
    history = read(a_file(tmp_path, JOBS))
    assert [(each.at, each.gpus, each.nodes, each.seconds) for each in history.arrivals] == [
        (at(0.5), 3, 1, 1800.0),
        (at(1), 8, 2, 3600.0),
    ]
    assert history.earlier[-1] == pytest.approx(4.0)
    assert history.prices == {START: Decimal("16.8")}


def test_a_share_of_them_is_flex_and_due(tmp_path):
    history = read(a_file(tmp_path, JOBS), flex_share=0.5, slack=timedelta(hours=3))
    flex = [each for each in history.arrivals if each.tier is Tier.FLEX]
    assert len(flex) == 1
    assert flex[0].deadline == flex[0].at + timedelta(seconds=flex[0].seconds, hours=3)


def test_prices_of_another_time_are_moved(tmp_path):
    prices = a_file(tmp_path, "ts,mean\n2025-10-19 21:00:00+00:00,2.1\n2025-10-19 22:00:00+00:00,\n", "prices.csv")
    assert read(a_file(tmp_path, JOBS), prices=prices).prices == {START: Decimal("16.8")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timestamp,duration\n", "lacks the column"),
        ("timestamp,duration,num_gpus\nnoon,1,1\n", "line 2: timestamp: 'noon' is no time"),
        ("timestamp,duration,num_gpus\n2017-10-02,1,1\n2017-10-02,long,1\n", "line 3: duration: 'long' is no number"),
        ("timestamp,duration,num_gpus\n2017-10-02,nan,1\n", "'nan' is no number of seconds"),
        ("timestamp,duration,num_gpus\n2017-10-02,1e300,1\n", "ten years at most"),
        ("timestamp,duration,num_gpus\n2017-10-02,1\n", "num_gpus: '' is no whole number"),
        ("timestamp,duration,num_gpus\n9999-12-31,1,1\n", "'9999-12-31' is no time of the years 1970 to 2199"),
        ("timestamp,duration,num_gpus,tier\n2017-10-02,1,1,slow\n", "tier: 'slow' is none of fast, flex"),
        ("timestamp,duration,num_gpus,deadline\n2017-10-02,1,1,soon\n", "deadline: 'soon' is no time"),
    ],
)
def test_what_cannot_be_read_says_why_and_where(tmp_path, text, said):
    with pytest.raises(InvalidRequest, match=said):
        read(a_file(tmp_path, text))


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.csv.gz"])
def test_a_file_of_something_else_is_no_csv(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(128, 256)))
    with pytest.raises(InvalidRequest, match="can't be read as a CSV"):
        read(tmp_path / name)


def test_what_took_no_time_is_left_out_whatever_else_its_row_says(tmp_path):
    rows = "timestamp,duration,num_gpus\n2026-09-01T01:00:00,0,\n2026-09-01T01:00:00,-inf,x\n2026-09-01T02:00:00,60,0\n"
    assert read(a_file(tmp_path, rows)).arrivals == ()


def test_half_a_file_is_not_taken_for_the_whole(tmp_path):
    rows = (f"2026-09-01T{number % 24:02}:00:00,{number},1" for number in range(1, 5000))
    whole = gzip.compress("\n".join(["timestamp,duration,num_gpus", *rows]).encode())
    (tmp_path / "jobs.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequest, match="can't be read as a CSV"):
        read(tmp_path / "jobs.csv.gz")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidRequest, match="no such file"):
        read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("price", ["cheap", "nan", "-1", "0", "1e30"])
def test_what_is_no_price_is_refused(tmp_path, price):
    prices = a_file(tmp_path, f"ts,mean\n2017-10-02,{price}\n", "prices.csv")
    with pytest.raises(InvalidRequest, match=f"line 2: mean: '{price}' is no price"):
        read(a_file(tmp_path, JOBS), prices=prices)


def test_large_jobs_take_whole_nodes():
    assert [shaped(gpus, 8) for gpus in (0, 1, 8, 9, 128)] == [(1, 1), (1, 1), (8, 1), (8, 2), (8, 16)]


def test_offered_hours_add_up():
    jobs = [an_arrival("a", 0.25, runs=1.5, gpus=4), an_arrival("b", 2.75, runs=0.5, gpus=2)]
    assert offered(jobs, START, at(4)).tolist() == pytest.approx([3.0, 3.0, 0.5, 0.5])
