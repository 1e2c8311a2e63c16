"""`scalar admin`: what is done with the database itself, before there is a key for anything else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import typer

from scalar.accounts import store
from scalar.accounts.keys import Role, new_key
from scalar.database import Database
from scalar.errors import ScalarError
from scalar.migrations import migrate as apply
from scalar.settings import settings
from scalar_api.cli import show as view
from scalar_api.cli.client import fail

_Answer = TypeVar("_Answer")

app = typer.Typer(
    no_args_is_help=True,
    help="Set up the database and its first keys. Needs `SCALAR_DATABASE_URL`.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe to run at any time, by anyone, at once."""
    with _database() as database:
        applied = _refusable(lambda: apply(database))
    view.console.print("\n".join(f"applied {name}" for name in applied) or "up to date")


@app.command()
def create_organisation(
    name: Annotated[str, typer.Argument(help="Its name: shown to people.")],
    max_gpus: Annotated[int | None, typer.Option(help="GPUs in use at one time; no limit, if left out.")] = None,
) -> None:
    """Make an organisation; its id is printed."""
    with _database() as database:
        print(_refusable(lambda: _create_organisation(database, name, max_gpus)))


@app.command()
def create_key(
    role: Annotated[Role, typer.Option(help="`customer` or `operator`.")],
    organisation: Annotated[str | None, typer.Option(help="Its name; for a customer's key.")] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "admin",
    days: Annotated[int | None, typer.Option(help="Valid for so long; for ever, if left out.")] = None,
) -> None:
    """Make an API key. It is shown once: only a hash of it is kept."""
    if role is Role.NODE:
        fail("a node gets its key when it joins: `scalar join-token`.", 2)
    with _database() as database:
        print(_refusable(lambda: _create_key(database, role, organisation, name, days)))


@app.command()
def keys() -> None:
    """List the keys by their prefixes."""
    with _database() as database, database.transaction() as tx:
        found = store.keys(tx)
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
            for key in found
        ),
        empty="No keys yet: `scalar admin create-key` makes one.",
    )


@app.command()
def revoke_key(prefix: Annotated[str, typer.Argument(help="As `scalar admin keys` shows it.")]) -> None:
    """End a key at once."""
    with _database() as database, database.transaction() as tx:
        revoked = store.revoke_key(tx, prefix, datetime.now(UTC))
        if revoked:
            store.audit(tx, "admin", "key.revoke", prefix)
    if not revoked:
        fail(f"there is no valid key with the prefix {prefix}.", 3)
    view.console.print(f"{prefix} is revoked.")


def _create_organisation(database: Database, name: str, max_gpus: int | None) -> str:
    with database.transaction() as tx:
        organisation = store.create_organisation(tx, name, max_gpus=max_gpus)
        store.audit(tx, "admin", "organisation.create", organisation.id, name=name)
    return organisation.id


def _create_key(database: Database, role: Role, organisation: str | None, name: str, days: int | None) -> str:
    key = new_key(role)
    with database.transaction() as tx:
        found = store.organisation_named(tx, organisation) if organisation else None
        if organisation and found is None:
            fail(f"there is no organisation named {organisation!r}.", 3)
        if role is Role.CUSTOMER and found is None:
            fail("a customer's key belongs to an organisation: --organisation NAME.", 2)
        expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
        made = store.create_key(
            tx, key, role, name=name, organisation_id=found.id if found else None, expires_at=expires_at
        )
        store.audit(tx, "admin", "key.create", made.id, prefix=key.prefix, role=role)
    return key.secret


def _database() -> Database:
    return Database(settings().database_url.get_secret_value(), application="scalar-admin")


def _refusable(act: Callable[[], _Answer]) -> _Answer:
    """What `act` answers; or the end of the command, with the reason."""
    try:
        return act()
    except ScalarError as error:
        fail(error.message, 3)
