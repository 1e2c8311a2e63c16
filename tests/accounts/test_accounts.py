"""Organisations, keys and the audit log."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.errors import CheckViolation

from scalar.accounts import store
from scalar.accounts.keys import Role, key_hash, looks_like_a_key, new_key
from scalar.database import Transaction
from scalar.errors import Conflict
from tests.made_up import NOON, an_organisation


@pytest.mark.parametrize("kind", [*Role, "join"])
def test_a_new_key_looks_like_one_and_is_like_no_other(kind: str) -> None:
    keys = [new_key(kind) for _ in range(50)]
    assert all(looks_like_a_key(key.secret) and key.secret.startswith(f"sk_{kind}_{key.prefix}_") for key in keys)
    assert len({key.secret for key in keys}) == 50


def test_a_key_never_shows_its_secret() -> None:
    key = new_key(Role.CUSTOMER)
    assert key.secret not in repr(key)
    assert key.secret not in str(key)


@given(st.text(max_size=60))
def test_other_text_does_not_look_like_a_key(text: str) -> None:
    assert not looks_like_a_key(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1],
        lambda secret: secret + "a",
        lambda secret: secret.upper(),
        lambda secret: secret.replace("customer", "admin"),
        lambda secret: " " + secret,
    ],
)
def test_a_misspelled_key_does_not_look_like_one(change: object) -> None:
    assert not looks_like_a_key(change(new_key(Role.CUSTOMER).secret))  # type: ignore[operator]


def test_only_the_hash_of_a_key_is_stored(tx: Transaction) -> None:
    key = new_key(Role.OPERATOR)
    store.create_key(tx, key, Role.OPERATOR, name="mine")
    row = str(tx.execute("select to_jsonb(k)::text as row from api_keys k").fetchone())
    assert key.prefix in row
    assert key.secret.rsplit("_", 1)[1] not in row


def test_a_key_leads_to_its_bearer_until_it_is_revoked_or_over_its_time(tx: Transaction) -> None:
    organisation = an_organisation(tx)
    key, over = new_key(Role.CUSTOMER), NOON + timedelta(days=1)
    store.create_key(tx, key, Role.CUSTOMER, name="n", organisation_id=organisation.id, expires_at=over)
    who = store.principal(tx, key.hash, NOON)
    assert who is not None
    assert (who.role, who.organisation_id, who.actor) == (Role.CUSTOMER, organisation.id, f"customer:{key.prefix}")
    assert store.principal(tx, key.hash, over - timedelta(microseconds=1)) == who
    assert store.principal(tx, key.hash, over) is None
    assert store.principal(tx, key_hash(key.secret + "x"), NOON) is None
    assert store.revoke_key(tx, key.prefix, NOON)
    assert store.principal(tx, key.hash, NOON) is None
    assert not store.revoke_key(tx, key.prefix, NOON)


@pytest.mark.parametrize(("role", "name"), [(Role.CUSTOMER, "n"), (Role.NODE, "n"), (Role.OPERATOR, "")])
def test_a_key_that_belongs_to_nobody_is_refused(tx: Transaction, role: Role, name: str) -> None:
    with pytest.raises(CheckViolation), tx.transaction():
        store.create_key(tx, new_key(role), role, name=name)


def test_keys_of_people_are_listed_and_those_of_nodes_are_not(tx: Transaction) -> None:
    store.create_key(tx, new_key(Role.OPERATOR), Role.OPERATOR, name="ops")
    tx.execute(
        """insert into nodes (id, name, gpus, gpu_type, cpus, memory_bytes, runtime, agent_version, boot_id)
           values ('node_1', 'alpha', 1, 'H100', 1, 1, 'docker', '1', 'b')"""
    )
    node_key = new_key(Role.NODE)
    store.create_key(tx, node_key, Role.NODE, name="alpha", node_id="node_1")
    assert [key.name for key in store.keys(tx)] == ["ops"]
    store.revoke_keys_of_node(tx, "node_1", NOON)
    assert store.principal(tx, node_key.hash, NOON) is None


def test_names_and_addresses_are_one_of_a_kind(tx: Transaction) -> None:
    organisation = an_organisation(tx, "acme")
    with pytest.raises(Conflict, match="'acme' already"), tx.transaction():
        an_organisation(tx, "acme")
    store.create_user(tx, organisation.id, "a@acme.example")
    with pytest.raises(Conflict, match="is a user already"), tx.transaction():
        store.create_user(tx, organisation.id, "a@acme.example")
    assert store.organisation_named(tx, "acme") == organisation
    assert store.organisation_named(tx, "other") is None
    assert store.organisations(tx) == [organisation]
