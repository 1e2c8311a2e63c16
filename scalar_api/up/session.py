"""A session of `scalar up`, as a person sees it: what starts, the sample job, where to look, and the end of it all."""

import errno
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from scalar.errors import ScalarError
from scalar_api.up.errors import UpError
from scalar_api.up.platform import Options, Platform, Step
from scalar_api.up.purchase import watch_purchase
from scalar_api.up.sample import SampleResult, run_sample, runtime_of

console = Console(highlight=False)


def run(options: Options, *, sample: bool, once: bool) -> int:
    """Until Ctrl-C, or with `once` until the sample job has ended; the exit code."""
    stop = stop_signals()
    progress = progress_lines()
    platform = Platform(options, progress, tell_restart)
    code = 0
    try:
        platform.start()
        node = watch_purchase(platform, progress) if options.market else runtime_of(platform)
        _say_runtime(node)
        if sample or once:
            _sample(platform, docker=node["runtime"] == "docker")
        if not once:
            _where_to_look(platform)
            stop.wait()
    except InterruptedSession:
        code = 130 if once else 0
    except (UpError, ScalarError) as error:
        console.print(f"\n[red]scalar up:[/red] {escape(str(error))}", soft_wrap=True)
        code = 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        console.print("\n[red]scalar up:[/red] the disk is full: free some space and start again. Nothing is lost.")
        code = 1
    finally:
        stop_platform(platform)
    return code


class InterruptedSession(Exception):
    """Ctrl-C while it was starting or while the sample job ran."""


class _Stop:
    """Set by the first SIGINT or SIGTERM; until somebody waits for it, the signal interrupts what is going on."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._stopping = False

    def wait(self) -> None:
        try:
            while not self._event.wait(3600):
                pass
        except InterruptedSession:
            return

    def signalled(self, *_: object) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._event.set()
        raise InterruptedSession


def stop_signals() -> _Stop:
    stop = _Stop()
    signal.signal(signal.SIGINT, stop.signalled)
    signal.signal(signal.SIGTERM, stop.signalled)
    return stop


def progress_lines() -> Callable[[Step], None]:
    began = time.monotonic()

    def tell(step: Step) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  [bold]{step.name}[/bold]  {step.detail}")

    return tell


def tell_restart(name: str, code: int | None) -> None:
    how = "" if code is None else f" (exit code {code})"
    console.print(f"[yellow]{name} ended by itself{how} and is started again.[/yellow]")


def _say_runtime(node: dict[str, object]) -> None:
    console.print(f"\nnode [bold]{node['name']}[/bold]: {node['gpus']} declared GPUs, runtime {node['runtime_notice']}")


def _sample(platform: Platform, *, docker: bool) -> None:
    console.print("\n[bold]A sample job[/bold], submitted over REST as a customer would:\n")
    result = run_sample(platform, docker=docker, write=lambda line: console.out(f"  | {line}"))
    console.print(_summary(result), soft_wrap=True)


def _summary(result: SampleResult) -> str:
    return (
        f"\n[green]{result.job_id} succeeded.[/green]"
        f"\n  waited   {result.waited_seconds:.2f} s   from submission to the container's start"
        f"\n  ran      {result.ran_seconds:.2f} s"
        f"\n  metered  {result.gpu_seconds:.2f} GPU seconds"
        + (f"\n  node     bought for {result.price_paid}" if result.price_paid else "")
        + f"\n  cost     {result.cost}"
        + f"\n  margin   {result.margin}"
        + (f"\n  Dagster  {result.dagster_url}" if result.dagster_url else "")
    )


def _where_to_look(platform: Platform) -> None:
    scalar = Path(sys.executable).parent / "scalar"
    shown = scalar.relative_to(Path.cwd()) if scalar.is_relative_to(Path.cwd()) else scalar
    console.print(
        f"\n[bold]Up.[/bold] Ctrl-C stops everything; the data stays in {platform.folder.root}."
        f"\n  API docs   {platform.api_url}/docs"
        f"\n  Dagster    {platform.dagster_url}"
        f"\n  logs       {platform.folder.logs}/"
        f"\n  a job      {shown} submit --follow busybox:1.37 -- echo hello"
        f"\n  jobs       {shown} ps" + (f"\n  market     {shown} market status" if platform.options.market else ""),
        soft_wrap=True,
    )


def stop_platform(platform: Platform) -> None:
    """A second Ctrl-C changes nothing: what was begun is ended in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    console.print()
    platform.stop()
    console.print("stopped")
