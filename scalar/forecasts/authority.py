"""How far a plan may go on a forecast's word: skill sets authority, by rule: pure.

The gain is by how much a forecast's error was below that of the best naive copy over the last four weeks.

| gain | coverage of the 90 % band | limit price | order size | horizon |
| --- | --- | --- | --- | --- |
| 10 % or more | 80 % or more | all | all | 168 h |
| 3 % or more | 70 % or more | all | half | 72 h |
| 0 or more | 60 % or more | 0.95 | a quarter | 24 h |
| below, or fewer than 72 hours scored | any | 0.9 | a quarter | 6 h |

Nobody plans a week ahead on a forecast that yesterday's copy would have beaten, nor on a band that doesn't hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from scalar.forecasts.skill import Skill


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Factors of the planner's limit price and order size, and how many hours ahead it may buy."""

    limit_price: Decimal
    order_size: Decimal
    horizon_hours: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Step:
    gain: float
    coverage: float
    limit_price: Decimal
    order_size: Decimal
    horizon_hours: int


FEWEST_HOURS = 72
STEPS: Sequence[Step] = (
    Step(gain=0.10, coverage=0.8, limit_price=Decimal(1), order_size=Decimal(1), horizon_hours=168),
    Step(gain=0.03, coverage=0.7, limit_price=Decimal(1), order_size=Decimal("0.5"), horizon_hours=72),
    Step(gain=0.0, coverage=0.6, limit_price=Decimal("0.95"), order_size=Decimal("0.25"), horizon_hours=24),
)
_LEAST = Step(gain=float("-inf"), coverage=0.0, limit_price=Decimal("0.9"), order_size=Decimal("0.25"), horizon_hours=6)


def authority(skill: Skill | None) -> Authority:
    if skill is None or skill.hours < FEWEST_HOURS:
        hours = skill.hours if skill else 0
        return _given(_LEAST, f"only {hours} of {FEWEST_HOURS} hours are scored")
    right = skill.mase == 0 and skill.naive == 0
    gain = 1.0 if right else round(skill.gain, 6)
    said = f"error {gain:.0%} below the naive copy's, {skill.coverage:.0%} within the 90 % band"
    if gain < 0:
        said = f"error {-gain:.0%} above the naive copy's, {skill.coverage:.0%} within the 90 % band"
    for step in STEPS:
        if gain >= step.gain and skill.coverage >= step.coverage:
            return _given(step, said)
    return _given(_LEAST, said)


def _given(step: Step, why: str) -> Authority:
    return Authority(
        limit_price=step.limit_price, order_size=step.order_size, horizon_hours=step.horizon_hours, why=why
    )
