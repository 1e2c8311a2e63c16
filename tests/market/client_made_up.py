"""A client of a scripted market, with a clock that only moves when the client waits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from scalar.market.calls import Call
from scalar.market.sfcompute import SfCompute
from tests.scripted_server import Scripted, ScriptedServer, scripted_server

TOKEN = "sk_live_0123456789abcdefghij"


@dataclass(kw_only=True)
class Scene:
    """`waits`: what the client slept. `calls`: what it measured."""

    server: ScriptedServer
    market: SfCompute
    waits: list[float]
    calls: list[Call]
    clock: "Clock"

    @property
    def lines(self) -> list[str]:
        return [seen.line for seen in self.server.seen]

    @property
    def outcomes(self) -> list[str]:
        return [str(call.outcome) for call in self.calls]


@dataclass(kw_only=True)
class Clock:
    now: float = 1000.0
    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def read(self) -> float:
        return self.now


@contextmanager
def a_scene(
    *answers: Scripted,
    token: Callable[[], SecretStr] = lambda: SecretStr(TOKEN),
    url: str | None = None,
    **settings: Any,
) -> Iterator[Scene]:
    clock, calls = Clock(), []
    with scripted_server() as server:
        server.answers(*answers)
        with SfCompute(
            url or server.url,
            token,
            **{"observe": calls.append, "timeout": 5.0, **settings},
            sleep=clock.sleep,
            clock=clock.read,
            random=lambda: 0.5,
        ) as market:
            yield Scene(server=server, market=market, waits=clock.waits, calls=calls, clock=clock)
