"""Signatures, and the program in the docs that verifies them."""

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scalar.webhooks import signing

_PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
_BODY = b'{"type":"job.succeeded"}'


def test_a_signature_is_that_of_the_standards_example():
    """From the specification of Standard Webhooks."""
    secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = signing.signature(
        base64.b64decode(secret), id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_secrets_make_two_signatures_newest_first():
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    headers = signing.signed_headers([b"new", b"old"], id="evt_1", at=at, body=_BODY)
    assert headers["webhook-timestamp"] == "1795262400"
    assert headers["webhook-signature"].split(" ") == [
        signing.signature(secret, id="evt_1", timestamp=1795262400, body=_BODY) for secret in (b"new", b"old")
    ]


def test_a_secret_needs_both_the_seed_and_the_platforms_key():
    seed = signing.new_seed()
    assert signing.secret_of(seed, b"key") == signing.secret_of(seed, b"key")
    different = {
        signing.secret_of(seed, b"key"),
        signing.secret_of(seed, b""),
        signing.secret_of(b"x" * 32, b"key"),
        seed,
    }
    assert len(different) == 4
    assert len(signing.secret_of(seed, b"")) == 32
    assert signing.key_check(b"key") != signing.key_check(b"")


@pytest.fixture(scope="module")
def verify():
    """The function of the docs' snippet, as a customer would paste it."""
    (snippet,) = [
        block for block in re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL) if "def verify" in block
    ]
    names: dict = {}
    exec(compile(snippet, "docs/webhooks.md", "exec"), names)
    return names["verify"]


def _sent(secret, *, age=timedelta(), body=_BODY, former=()):
    return signing.signed_headers([secret, *former], id="evt_1", at=datetime.now(UTC) - age, body=body)


def test_the_docs_program_takes_what_we_send(verify):
    secret = signing.secret_of(signing.new_seed(), b"")
    assert verify(signing.shown(secret), _sent(secret), _BODY) == {"type": "job.succeeded"}


def test_the_docs_program_takes_either_secret_during_a_rotation(verify):
    new, old = (signing.secret_of(signing.new_seed(), b"") for _ in range(2))
    sent = _sent(new, former=[old])
    assert verify(signing.shown(new), sent, _BODY) == verify(signing.shown(old), sent, _BODY)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers, body: (headers, body + b" "),
        lambda headers, body: ({**headers, "webhook-id": "evt_2"}, body),
        lambda headers, body: ({**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}, body),
        lambda headers, body: ({**headers, "webhook-signature": "v1,AAAA"}, body),
        lambda headers, body: ({**headers, "webhook-signature": ""}, body),
        lambda headers, body: (
            {**headers, "webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")},
            body,
        ),
        lambda _, body: (_sent(b"somebody else's"), body),
        lambda _, body: (_sent(b"s" * 32, age=timedelta(minutes=6)), body),
        lambda _, body: (_sent(b"s" * 32, age=-timedelta(minutes=6)), body),
    ],
)
def test_the_docs_program_refuses_what_is_not_ours_or_old(verify, spoil):
    headers, body = spoil(_sent(b"s" * 32), _BODY)
    with pytest.raises(ValueError, match="webhook"):
        verify(signing.shown(b"s" * 32), headers, body)
