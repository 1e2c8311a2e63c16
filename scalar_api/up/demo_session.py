"""A demo week, as a person sees it: what starts, the week as it goes by, where to look, and the end of it all."""

from rich.markup import escape

from scalar.errors import ScalarError
from scalar_api.up.demo import DemoPlatform, Played
from scalar_api.up.errors import UpError
from scalar_api.up.platform import Options
from scalar_api.up.session import InterruptedSession, console, progress_lines, stop_platform, stop_signals, tell_restart


def run(options: Options, played: Played, *, again: bool, once: bool) -> int:
    """Until Ctrl-C, or with `once` until the week was played; the exit code. `again`: in place of an earlier demo."""
    stop = stop_signals()
    platform = DemoPlatform(options, played, progress_lines(), tell_restart)
    code = 0
    try:
        if again:
            platform.folder.remove()
        platform.start()
        _what_it_is(platform)
        for line in platform.play():
            console.out(line)
        if not once:
            console.print(f"\n[bold]It stays up[/bold] until Ctrl-C: look at {platform.dagster_url}", soft_wrap=True)
            stop.wait()
    except InterruptedSession:
        code = 130 if once else 0
    except (UpError, ScalarError) as error:
        console.print(f"\n[red]scalar demo:[/red] {escape(str(error))}", soft_wrap=True)
        code = 1
    finally:
        stop_platform(platform)
    return code


def _what_it_is(platform: DemoPlatform) -> None:
    console.print(
        "\nEvery asset, sensor, plan and order is the platform's own, on a sandbox market. The clock, the customers,"
        "\nthe weeks before and the agents of machines are played. Plans look ahead, and spend play money within caps."
        f"\n  Dagster    {platform.dagster_url}   (assets, runs, plans and pictures as the week goes by)"
        f"\n  logs       {platform.folder.logs}/\n",
        soft_wrap=True,
    )
