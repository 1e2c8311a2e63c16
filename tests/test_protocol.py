"""What agents and the API say to each other: round trips, and what never shows."""

import base64
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from scalar.protocol import (
    DesiredTask,
    JoinReply,
    LogBatch,
    LogFrame,
    NodeFacts,
    ReportBatch,
    RuntimeKind,
    TaskEnded,
    Want,
)
from tests.made_up import NOON, a_run, alive, ended, facts, running, starting


@given(st.binary(max_size=200))
def test_any_bytes_survive_the_way_to_the_api(raw: bytes) -> None:
    frame = LogFrame(stream="stderr", start=7, data=base64.b64encode(raw))
    batch = LogBatch(run_id="run_1", rank=0, token=SecretStr("t"), frames=[frame])
    assert LogBatch.model_validate_json(batch.model_dump_json()).frames[0].data == raw


@pytest.mark.parametrize("report", [starting(a_run()), running(a_run()), alive(a_run()), ended(a_run())])
def test_a_report_reads_back_as_what_it_was(report: TaskEnded) -> None:
    assert ReportBatch.model_validate_json(ReportBatch(reports=[report]).model_dump_json()).reports == [report]


def test_secrets_go_over_the_wire_and_nowhere_else() -> None:
    task = DesiredTask(
        run_id="run_1",
        rank=0,
        token=SecretStr("tok-en"),
        job_id="job_1",
        organisation_id="org_1",
        want=Want.RUN,
        image="busybox",
        env={"PASSWORD": SecretStr("hunter2")},
        gpus=[0],
        cpus=1,
        memory_bytes=1,
    )
    reply = JoinReply(node_id="node_1", credential=SecretStr("sk_node"))
    for message, secrets in ((task, ("tok-en", "hunter2")), (reply, ("sk_node",))):
        for secret in secrets:
            assert secret in message.model_dump_json()
            assert secret not in repr(message)
            assert secret not in str(message.model_dump())


def test_a_newer_peer_may_send_more_than_this_one_knows() -> None:
    assert NodeFacts.model_validate({**facts().model_dump(), "colour": "green"}) == facts()


@pytest.mark.parametrize(
    "changes",
    [
        {"at": datetime(2026, 11, 21, 12)},  # noqa: DTZ001 - it is what must be refused
        {"rank": -1},
        {"ending": "evaporated"},
        {"message": "x" * 2001},
    ],
)
def test_a_report_that_says_nonsense_is_refused(changes: dict[str, object]) -> None:
    good = ended(a_run(), at=NOON).model_dump()
    TaskEnded.model_validate(good)
    with pytest.raises(ValidationError):
        TaskEnded.model_validate({**good, **changes})


def test_a_message_from_a_container_may_hold_any_character_and_can_be_stored() -> None:
    assert "\x00" not in str(ended(a_run(), message="a\x00b").message)
    assert "\x00" not in str(starting(a_run(), detail="a\x00b").detail)


def test_what_a_machine_says_of_itself_can_be_stored() -> None:
    assert facts("al\x00pha", boot_id="\x00").name == "al\N{REPLACEMENT CHARACTER}pha"


def test_the_process_runtime_says_what_it_is_wherever_it_is_shown() -> None:
    assert "development only" in RuntimeKind.PROCESS.notice
    assert "development" not in RuntimeKind.DOCKER.notice
