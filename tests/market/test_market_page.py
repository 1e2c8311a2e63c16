"""docs/market.md holds to the code: each setting with its default, each finding, each state."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from scalar.market.model import OrderState
from scalar.market.reconciling import Kind
from scalar.market.settings import MarketSettings

_PAGE = (Path(__file__).parents[2] / "docs" / "market.md").read_text()


@pytest.mark.parametrize("name", MarketSettings.model_fields)
def test_a_setting_is_told_with_its_default(name: str) -> None:
    row = re.search(rf"^\| `SCALAR_MARKET_{name.upper()}` \| `?([^|`]*?)`? \|", _PAGE, re.MULTILINE)
    assert row, name
    default = MarketSettings.model_fields[name].default
    if isinstance(default, Decimal):
        assert Decimal(row[1]) == default
    else:
        assert row[1].strip() == str(default).lower() or row[1].strip() == default


@pytest.mark.parametrize("kind", Kind)
def test_a_finding_is_told_with_what_to_do(kind: Kind) -> None:
    assert re.search(rf"^\| `{kind}` \| [^|]+ \| [^|]+ \|$", _PAGE, re.MULTILINE)


@pytest.mark.parametrize("state", OrderState)
def test_a_state_is_drawn(state: OrderState) -> None:
    assert state.value in _PAGE
