"""The first organisation, its customer's key, an operator's key: made once, kept in the data folder."""

from datetime import UTC, datetime, timedelta

from scalar.accounts import store
from scalar.accounts.keys import Role, key_hash, new_key
from scalar.capacity.fleet import mark_gone, new_join_token
from scalar.capacity.store import nodes
from scalar.database import Database, Lock, Transaction, lock
from scalar_api.up.folder import Credentials, DataFolder

ORGANISATION = "demo"


def ensure_credentials(database: Database, folder: DataFolder, api_url: str) -> Credentials:
    """The keys of the data folder, if the database still knows them; else new ones."""
    known = folder.read_credentials()
    with database.transaction() as tx:
        lock(tx, Lock.BOOTSTRAP)
        if known is not None and _valid(tx, known.customer_key) and _valid(tx, known.operator_key):
            credentials = Credentials(
                api_url=api_url,
                organisation=known.organisation,
                customer_key=known.customer_key,
                operator_key=known.operator_key,
            )
        else:
            credentials = _create(tx, api_url)
    folder.write_credentials(credentials)
    return credentials


def join_token(database: Database) -> str:
    """For the agent of this machine, should it have to join."""
    with database.transaction() as tx:
        now = datetime.now(UTC)
        return new_join_token(tx, actor="scalar up", uses=1, lifetime=timedelta(hours=1), now=now).secret


def forget_node(database: Database, name: str) -> None:
    """The agent of this machine has no credential: a node of its name was never told, or its state was removed."""
    with database.transaction() as tx:
        for node in nodes(tx):
            if node.name == name:
                mark_gone(tx, node.id, "scalar up", datetime.now(UTC))


def _create(tx: Transaction, api_url: str) -> Credentials:
    organisation = store.organisation_named(tx, ORGANISATION) or store.create_organisation(tx, ORGANISATION)
    customer, operator = new_key(Role.CUSTOMER), new_key(Role.OPERATOR)
    store.create_key(tx, customer, Role.CUSTOMER, name="scalar up", organisation_id=organisation.id)
    store.create_key(tx, operator, Role.OPERATOR, name="scalar up")
    store.audit(tx, "scalar up", "key.create", organisation.id, prefixes=[customer.prefix, operator.prefix])
    return Credentials(
        api_url=api_url,
        organisation=organisation.name,
        customer_key=customer.secret,
        operator_key=operator.secret,
    )


def _valid(tx: Transaction, secret: str) -> bool:
    return store.principal(tx, key_hash(secret), datetime.now(UTC)) is not None
