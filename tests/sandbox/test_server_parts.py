"""The server's parts that need no server: prices, rules, clocks, pages, numbers."""

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.market import options, settings
from sandbox.market.clock import Anchor, Clock
from sandbox.market.faults import MEANINGS, Fault, Faults
from sandbox.market.paging import PageQuery, page
from sandbox.market.prices import HOUR, PriceProcess, recorded
from sandbox.market.refusals import Refusal
from sandbox.market.rules import Rules
from sandbox.market.settings import ServerRules, UnknownRule
from sandbox.market.skus import DEFAULT_SKUS, matching, parsed_requirements
from sandbox.market.wire import Span, cents, dollars, per_minute, steps

DAY = 24 * HOUR


def test_a_price_is_a_function_of_seed_and_time_that_returns_to_its_level() -> None:
    process = PriceProcess(seed="a", level=2.0)
    hours = [process.at(1_793_577_600 + hour * HOUR) for hour in range(26 * 168)]
    assert 1.8 < mean(hours) < 2.2
    assert min(hours) > 0.8
    assert max(hours) < 5
    assert max(hours) - min(hours) > 0.4
    assert process.at(1_793_577_600) == PriceProcess(seed="a", level=2.0).at(1_793_577_600 + HOUR - 1)
    assert process.at(1_793_577_600) != PriceProcess(seed="b", level=2.0).at(1_793_577_600)


def test_recorded_prices_carry_gaps_forward_and_repeat_in_whole_weeks(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    rows = [f"2026-11-{2 + hour // 24:02d} {hour % 24:02d}:00:00+00:00,,{hour}.0" for hour in range(200)]
    rows[5] = "2026-11-02 05:00:00+00:00,,"
    file.write_text("ts,min,mean\n" + "\n".join(rows))
    prices = recorded(file)
    start = prices.times[0]
    assert prices.at(start + 4 * HOUR) == prices.at(start + 5 * HOUR + 60) == 4.0
    assert prices.at(start + 3 * HOUR + 7 * DAY) == prices.at(start + 3 * HOUR - 7 * DAY) == 3.0
    file.write_text("ts,mean\n")
    with pytest.raises(ValueError, match="no row with a price"):
        recorded(file)


def test_a_clock_runs_is_moved_and_never_goes_back() -> None:
    wall = [1000.0]
    clock = Clock(Anchor(wall=1000.0, market=0.0, speed=10.0), lambda: wall[0])
    wall[0] = 1006.0
    assert clock.now() == 60.0
    clock.move(40)
    assert clock.now() == 100.0
    wall[0] = 900.0
    assert clock.now() == 100.0
    with pytest.raises(ValueError, match="forward"):
        clock.move(-1)


def test_rules_come_from_a_file_and_assignments_and_each_has_a_meaning(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('execution = "midpoint"\nfill_latency = 2\nfee_bps = 7\n')
    engine, server = settings.read(file, ["fee_bps=9", "repeat_fills=true"])
    assert (engine.execution, engine.fee_bps) == ("midpoint", 9)
    assert (server.fill_latency, server.repeat_fills) == (2.0, True)
    rows = settings.explained(Rules(), ServerRules())
    assert {row["name"] for row in rows} >= {"windows", "execution", "fill_latency", "amount_sign"}
    assert not [row["name"] for row in rows if not row["meaning"]]


@pytest.mark.parametrize(
    "assignment", ["nonsense=1", "execution=best", "fill_latency=-1", "repeat_fills=2", "fee_bps", "id=x"]
)
def test_a_rule_that_is_none_is_refused(assignment: str) -> None:
    with pytest.raises(UnknownRule):
        settings.read(None, [assignment])


@pytest.mark.parametrize(
    "arguments",
    [["--host", "0.0.0.0"], ["--host", "example.com"], ["--speed", "0"], ["--tick", "90"], ["--start", "noon"]],
)
def test_wrong_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--data", "x", *arguments])
    assert arguments[0] in capsys.readouterr().err


def test_help_shows_how_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--help"])
    assert "python -m sandbox.market --data /tmp/market" in capsys.readouterr().out


@given(st.integers(min_value=0, max_value=10**9))
def test_a_price_survives_the_wire(price: int) -> None:
    assert per_minute(dollars(price)) == price


def test_prices_and_cents_are_rounded_as_said() -> None:
    assert dollars(per_minute("1.500000")) == "1.500000"
    assert dollars(per_minute("1.000031")) == "1.000020"
    assert (cents(25_000, "half_up"), cents(25_000, "half_even"), cents(-25_000, "half_up")) == (3, 2, -3)


def test_a_schedules_ends_may_be_left_out() -> None:
    entries = [
        Span(start_at=0, node_count=2),
        Span(start_at=60, end_at=120, node_count=1),
        Span(start_at=120, node_count=0),
    ]
    assert steps(entries, "f") == ((0, 60, 2), (60, 120, 1))
    with pytest.raises(Refusal):
        steps([Span(start_at=0, node_count=2)], "f")


def test_requirements_are_read_and_matched_whatever_their_case() -> None:
    wanted = parsed_requirements("accelerator:h100,H200;num_accelerators:eq:8")
    assert wanted == {"accelerator": ["h100", "H200"], "num_accelerators": ["8"]}
    assert len(matching(DEFAULT_SKUS, wanted)) == 2
    assert [sku.alias for sku in matching(DEFAULT_SKUS, {"id": ["clus_sea3h100"]})] == ["sea-3-h100"]
    for text in ("accelerator", "a:gt:1"):
        with pytest.raises(Refusal):
            parsed_requirements(text)
    with pytest.raises(Refusal):
        matching(DEFAULT_SKUS, {"colour": ["red"]})


@given(
    st.lists(st.integers(min_value=0, max_value=50), unique=True),
    st.lists(st.integers(min_value=51, max_value=99), unique=True, max_size=8),
    st.integers(min_value=1, max_value=7),
    st.booleans(),
)
def test_pages_give_every_row_once_whatever_comes_in_between(
    rows: Sequence[int], newcomers: list[int], limit: int, newest_first: bool
) -> None:
    seen: list[int] = []
    cursor: str | None = None
    present = list(rows)
    while True:
        query = PageQuery(limit=limit, starting_after=cursor, ending_before=None)
        found = page(present, query, prefix="xc", key=lambda row: (row,), newest_first=newest_first)
        seen += found.rows
        if not found.has_more:
            break
        cursor = found.cursor
        present += newcomers[:1]
        newcomers = newcomers[1:]
    assert len(seen) == len(set(seen))
    assert set(rows) <= set(seen)
    assert seen == sorted(seen, reverse=newest_first)


def test_a_page_can_be_turned_back_and_a_false_cursor_is_refused() -> None:
    def ask(**query: Any) -> list[int]:
        asked = PageQuery(**{"limit": 2, "starting_after": None, "ending_before": None, **query})
        return list(page([1, 2, 3, 4, 5], asked, prefix="xc", key=lambda row: (row,)).rows)

    third = page(
        [1, 2, 3], PageQuery(limit=3, starting_after=None, ending_before=None), prefix="xc", key=lambda r: (r,)
    )
    assert ask(ending_before=third.cursor) == [1, 2]
    assert ask(starting_after=third.cursor) == [4, 5]
    for wrong in ("yc_WzFd", "xc_%", "xc_WyJhIl0"):
        with pytest.raises(Refusal):
            ask(starting_after=wrong)


def test_faults_are_counted_end_and_are_drawn_from_the_seed() -> None:
    def hits(seed: str) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault(id="", kind="html", probability=0.5, path="/orders", until=100.0))
        return [bool(faults.hitting(("html",), now, method="GET", path="/v/orders")) for now in range(120)]

    drawn = hits("a")
    assert drawn == hits("a") != hits("b")
    assert not any(drawn[100:])
    assert 20 < sum(drawn) < 80


def test_the_docs_tell_every_fault_in_the_servers_own_words() -> None:
    text = (Path(options.__file__).parents[2] / "docs" / "sandbox.md").read_text()
    for kind, meaning in MEANINGS.items():
        assert f"| `{kind}` | {meaning} |" in text
    named = set(re.findall(r"`([a-z_]+)(?:=\w+)?`", text.partition("## Rules")[2].partition("## Faults")[0]))
    assert named <= {row["name"] for row in settings.explained(Rules(), ServerRules())} | {"pending"}
