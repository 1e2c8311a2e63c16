"""Whose things a caller sees: a customer its own organisation's, an operator one's or everybody's."""

from typing import Annotated

from fastapi import Query

from scalar.accounts import store as accounts
from scalar.accounts.model import Organisation, Principal
from scalar.database import Transaction
from scalar.errors import Forbidden, NotFound

OrganisationQuery = Annotated[str | None, Query(max_length=100, description="For operators: its id or name.")]


def seen_by(tx: Transaction, caller: Principal, named: str | None) -> str | None:
    """The id of the organisation; None: every one. Raises: `Forbidden`, `NotFound`."""
    own = caller.organisation_id
    if named is None or named == own:
        return own
    found = accounts.organisation_called(tx, named)
    if own is not None and (found is None or found.id != own):
        raise Forbidden("A customer's key sees its own organisation.")
    return _existing(found, named).id


def id_of_organisation(tx: Transaction, named: str) -> str:
    """Of the organisation with this id or name. Raises: `NotFound`."""
    return _existing(accounts.organisation_called(tx, named), named).id


def _existing(found: Organisation | None, named: str) -> Organisation:
    if found is None:
        raise NotFound(f"There is no organisation {named!r}.")
    return found
