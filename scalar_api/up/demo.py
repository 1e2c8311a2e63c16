"""What a demo week needs of a platform: Postgres, a market whose clock stands still, and Dagster to look at.

    Postgres ─► migrations ─► code server, market (manual clock) ─► webserver ─► the player, a process of its own

Neither the API nor Dagster's daemon: they live by the wall's clock, and the week is played by another.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import IO

from scalar.database import Database
from scalar.migrations import migrate
from scalar_api.up.errors import UpError
from scalar_api.up.platform import Options, Platform, Step, inherited, is_up
from scalar_api.up.ports import free_port, refuse_taken
from scalar_api.up.process import Service, die_with_parent

MARKET_BEFORE = timedelta(days=28)
"""So long has the market traded when the week begins: its prices have a past."""
CAPS = {"ORDER": 1000, "APPROVAL_ABOVE": 1000, "HOUR": 2000, "DAY": 6000, "TOTAL": 60_000}
_BALANCE = 100_000
_BOOT_SECONDS = 300
_AT_ITS_END = 2.0
_PATIENCE = 300.0
"""A demo is watched, maybe on a machine that is busy: nothing here is in a hurry."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """What is played, and how long."""

    start: datetime
    days: int = 7
    seed: int = 1
    weeks_before: int = 8
    forecast_days: int = 8


def last_week(now: datetime) -> datetime:
    """The Monday of the last week that has been over for a day: what is left to do after it is past, too."""
    monday = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=now.weekday() + 7)
    return monday if now - monday >= timedelta(days=8) else monday - timedelta(days=7)


class DemoPlatform(Platform):
    """Started for one demo; `play` after that, once."""

    def __init__(
        self,
        options: Options,
        played: Played,
        progress: Callable[[Step], None],
        restarted: Callable[[str, int | None], None],
    ) -> None:
        super().__init__(options, progress, restarted)
        self.played = played

    def start(self) -> None:
        """Raises: `UpError` with what to do about it."""
        refuse_taken(self.options.dagster_port, "Dagster's webserver", "--dagster-port")
        if self.folder.postgres.exists():
            raise UpError(
                f"{self.folder.root} holds an earlier demo. Have it replaced with --again (make: AGAIN=1), or give this"
                " one another folder with --data (make: DATA=…)."
            )
        self.folder.open()
        self._market_port = free_port()
        self._start_postgres()
        self._prepare()
        code_port = free_port()
        self._write_dagster_home(code_port)
        self._launch([self._market(), replace(self._code_server(code_port), ready_within=_PATIENCE)])
        self._wait_for("market", "code-server")
        self._launch([replace(self._webserver(), ready_within=_PATIENCE)])
        self._wait_for("webserver")

    def play(self) -> Iterator[str]:
        """What the player says, line by line. Raises: `UpError` where it fails."""
        self._progress(Step("player", f"the week from {self.played.start:%A %d %B %Y}"))
        log = self.folder.logs / "player.log"
        with log.open("w") as errors, self._player(errors) as player:
            try:
                assert player.stdout is not None  # noqa: S101 - it is a pipe
                for line in player.stdout:
                    yield line.rstrip("\n")
            except BaseException:
                _kill(player)
                raise
        if player.returncode:
            words = "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-15:])
            raise UpError(f"The player ended with exit code {player.returncode}. The end of its log, {log}:\n{words}")

    def _prepare(self) -> None:
        with Database(self._database_url, application="scalar-demo") as database:
            applied = migrate(database)
            with database.transaction() as tx:
                # Tens of thousands of small commits; what a power cut loses is played again.
                tx.execute("alter role current_user set synchronous_commit = off")
        self._progress(Step("migrations", f"{len(applied)} applied"))

    def _player(self, errors: IO[str]) -> subprocess.Popen[str]:
        played = self.played
        argv = [sys.executable, "-m", "scalar_orchestration.demo", "--start", f"{played.start:%Y-%m-%d}"]
        argv += ["--days", str(played.days), "--seed", str(played.seed)]
        argv += ["--weeks-before", str(played.weeks_before), "--forecast-days", str(played.forecast_days)]
        return subprocess.Popen(  # noqa: S603 - our own command
            argv,
            env=self._dagster_env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no other way to ask for it
        )

    def _market(self) -> Service:
        begins = self.played.start - MARKET_BEFORE
        argv = [sys.executable, "-m", "sandbox.market", "--data", str(self.folder.market)]
        argv += ["--port", str(self._market_port), "--clock", "manual", "--start", f"{begins:%Y-%m-%dT%H:%MZ}"]
        argv += ["--machines", "none", "--balance", str(_BALANCE), "--rule", f"boot_seconds={_BOOT_SECONDS}"]
        return Service(
            name="market",
            argv=argv,
            env=inherited(),
            ready=lambda: is_up(f"{self.market_url}/sandbox/clock"),
            stop_within=30,
        )

    def _env(self) -> dict[str, str]:
        """Play money, with caps that a week can reach; and the policy that looks ahead."""
        return {
            **inherited(),
            "SCALAR_DATABASE_URL": self._database_url,
            "SCALAR_DAGSTER_PUBLIC_URL": self.dagster_url,
            "SCALAR_MARKET_URL": self.market_url,
            "SCALAR_MARKET_TOKEN_FILE": str(self.folder.market / "token"),
            "SCALAR_MARKET_PROCESS_RUNTIME": "true",
            "SCALAR_MARKET_DRY_RUN": "false",
            "SCALAR_PLAN_POLICY": "optimal",
            "SCALAR_PLAN_MAX_NODES": "24",
            "SCALAR_PLAN_EXTEND_BEFORE_MINUTES": "35",
            **{_cap(name): str(dollars) for name, dollars in CAPS.items()},
        }


def _kill(player: subprocess.Popen[str]) -> None:
    """Dagster takes a SIGTERM for the end of one run, and the player would play on."""
    player.terminate()
    try:
        player.wait(_AT_ITS_END)
    except subprocess.TimeoutExpired:
        player.kill()


def _cap(name: str) -> str:
    return f"SCALAR_MARKET_{name}" if name == "APPROVAL_ABOVE" else f"SCALAR_MARKET_MAX_{name}"
