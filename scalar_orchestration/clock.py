"""The time, where a door needs it; rules are given it."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)
