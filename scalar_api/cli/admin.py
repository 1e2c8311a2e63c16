"""`scalar admin`: what is done with the database itself, before there is a key for anything else."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from scalar.accounts.keys import Role
from scalar.errors import InvalidRequest, ScalarError
from scalar_api.cli import show as view
from scalar_api.cli.client import fail

if TYPE_CHECKING:
    from scalar.database import Database

_Answer = TypeVar("_Answer")

app = typer.Typer(
    no_args_is_help=True,
    help="Set up the database and its first keys. Needs `SCALAR_DATABASE_URL`.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe to run at any time, by anyone, at once."""
    from scalar_api import admin  # noqa: PLC0415 - Postgres' driver takes half a second, which no other command is to pay

    applied = _done(admin.migrate)
    view.console.print("\n".join(f"applied {name}" for name in applied) or "up to date")


@app.command()
def create_organisation(
    name: Annotated[str, typer.Argument(help="Its name: shown to people.")],
    max_gpus: Annotated[int | None, typer.Option(help="GPUs in use at one time; no limit, if left out.")] = None,
) -> None:
    """Make an organisation; its id is printed."""
    from scalar_api import admin  # noqa: PLC0415 - see migrate

    print(_done(lambda database: admin.create_organisation(database, name, max_gpus)))


@app.command()
def create_key(
    role: Annotated[Role, typer.Option(help="`customer` or `operator`.")],
    organisation: Annotated[str | None, typer.Option(help="Its name; for a customer's key.")] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "admin",
    days: Annotated[int | None, typer.Option(help="Valid for so long; for ever, if left out.")] = None,
) -> None:
    """Make an API key. It is shown once: only a hash of it is kept."""
    from scalar_api import admin  # noqa: PLC0415 - see migrate

    print(_done(lambda database: admin.create_key(database, role, organisation, name, days)))


@app.command()
def keys() -> None:
    """List the keys by their prefixes."""
    from scalar_api import admin  # noqa: PLC0415 - see migrate

    view.table(
        ["PREFIX", "ROLE", "NAME", "ORGANISATION", "CREATED", "STATE"],
        (
            [
                key.prefix,
                key.role,
                view.plain(key.name),
                key.organisation_id,
                f"{key.created_at:%Y-%m-%d}",
                "revoked" if key.revoked_at else "valid",
            ]
            for key in _done(admin.keys)
        ),
        empty="No keys yet: `scalar admin create-key` makes one.",
    )


@app.command()
def revoke_key(prefix: Annotated[str, typer.Argument(help="As `scalar admin keys` shows it.")]) -> None:
    """End a key at once."""
    from scalar_api import admin  # noqa: PLC0415 - see migrate

    _done(lambda database: admin.revoke_key(database, prefix))
    view.console.print(f"{prefix} is revoked.")


def _done(act: "Callable[[Database], _Answer]") -> _Answer:
    """What `act` answers; or the end of the command, with the reason."""
    from scalar_api.admin import open_database  # noqa: PLC0415 - see migrate

    try:
        with open_database() as database:
            return act(database)
    except InvalidRequest as error:
        fail(error.message, 2)
    except ScalarError as error:
        fail(error.message, 3)
