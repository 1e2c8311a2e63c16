"""`python -m scalar_orchestration.demo`: plays a week on the platform that the environment describes.

Its sandbox market's clock has to stand still, some weeks before that week: it remembers the trades of thirty days.
Exit codes: 0 it was played, 1 a run of Dagster's failed.
"""

import argparse
import sys
from datetime import UTC, datetime

from scalar_orchestration.demo.playing import Plot, opened


def main() -> int:
    given = _arguments()
    plot = Plot(
        start=given.start,
        hours=given.days * 24,
        weeks_before=given.weeks_before,
        forecast_days=given.forecast_days,
        seed=given.seed,
    )
    with opened(plot, _say) as demo:
        played = demo.play()
    _say(f"\n{played.runs} runs of Dagster's, {len(played.failed)} of them failed")
    for each in played.failed:
        _say(f"  {each}")
    return 1 if played.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scalar_orchestration.demo", description=__doc__)
    parser.add_argument("--start", type=_midnight, required=True, help="a day long past, as 2026-11-09")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--weeks-before", type=int, default=8, help="of demand, made up")
    parser.add_argument("--forecast-days", type=int, default=8, help="of these, with forecasts that are scored")
    parser.add_argument("--seed", type=int, default=1, help="of the customers")
    return parser.parse_args()


def _midnight(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
