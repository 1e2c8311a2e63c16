"""How the agent becomes a node of the API: its state directory, its credential, and what it tells about itself."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import BaseModel, SecretStr, ValidationError

from node_agent.backoff import Backoff
from node_agent.errors import (
    AlreadyRunning,
    ApiRejected,
    ApiUnavailable,
    ApiUnreachable,
    CredentialRefused,
    EngineError,
    NameTaken,
)
from node_agent.gateway import Api
from scalar.protocol import JoinReply, JoinRequest, NodeFacts, RuntimeKind, Secret

_log = structlog.get_logger()

Answer = TypeVar("Answer")


class Enrolment(BaseModel, frozen=True):
    """What the state directory remembers of who this node is."""

    node_id: str
    credential: Secret
    runtime: RuntimeKind
    """So that a node of containers never turns into one of bare processes because its engine was slow to start."""
    previous_node_ids: tuple[str, ...] = ()
    """Whose containers may still be here: nobody asks for them any more."""


class StateDirectory:
    """Held by one agent at a time, for as long as its process lives. Raises `AlreadyRunning`."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (self.path / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another agent uses {self.path}: stop it, or give this one its own --state-dir"
            raise AlreadyRunning(message) from error

    def load(self) -> Enrolment | None:
        try:
            return Enrolment.model_validate_json((self.path / "credential.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            _log.error("the credential file can't be read: as if there were none", path=str(self.path))
            return None

    def save(self, enrolment: Enrolment) -> None:
        unfinished = self.path / "credential.unfinished"
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(enrolment.model_dump_json())
            file.flush()
            os.fsync(descriptor)
        unfinished.replace(self.path / "credential.json")


def enrol(state: StateDirectory, api_url: str, join_token: SecretStr | None, facts: NodeFacts) -> Enrolment:
    """The credential kept from earlier if it is still good, else a new one. Waits for the API as long as it takes.

    Raises `CredentialRefused` or `NameTaken` where there is no way in.
    """
    known = state.load()
    if known:
        try:
            api = Api(api_url, known.credential)
            persist("tell the API what this node is", lambda: api.tell_facts(facts))
        except CredentialRefused:
            _log.warning("the node's credential is refused", node_id=known.node_id)
        else:
            return _remembered(state, known, facts.runtime)
    if join_token is None:
        raise CredentialRefused(
            "the API refused this node's credential" if known else "this node has no credential yet: give a join token"
        )
    return _join(state, Api(api_url, join_token), facts, known)


def persist(what: str, attempt: Callable[[], Answer]) -> Answer:
    """Tries until it succeeds. Raises what trying again can't mend."""
    backoff = Backoff()
    while True:
        try:
            return attempt()
        except (ApiUnavailable, ApiRejected, EngineError) as problem:
            seconds = backoff.next()
            _log.warning("trying again", what=what, problem=str(problem), in_seconds=round(seconds, 1))
            time.sleep(seconds)


def _remembered(state: StateDirectory, known: Enrolment, runtime: RuntimeKind) -> Enrolment:
    """With the runtime that it has grown into: of processes to containers, never back."""
    if runtime is known.runtime or runtime is not RuntimeKind.DOCKER:
        return known
    grown = known.model_copy(update={"runtime": runtime})
    state.save(grown)
    return grown


class _JoinAttempt:
    """Asks to join, and knows whether an earlier try may have gone through without this node's hearing of it."""

    def __init__(self, api: Api, request: JoinRequest) -> None:
        self._api = api
        self._request = request
        self._maybe_joined = False

    def __call__(self) -> JoinReply:
        try:
            return self._api.join(self._request)
        except ApiUnreachable:
            raise
        except ApiUnavailable:
            self._maybe_joined = True
            raise

    @property
    def advice(self) -> str:
        if not self._maybe_joined:
            return ""
        return (
            " An earlier try got no answer, and may have used up the token and left a node that nobody runs:"
            f" ask for a new join token, mark the node named {self._request.facts.name!r} gone, then start again."
        )


def _join(state: StateDirectory, api: Api, facts: NodeFacts, known: Enrolment | None) -> Enrolment:
    attempt = _JoinAttempt(api, JoinRequest(facts=facts))
    try:
        reply = persist("join", attempt)
    except CredentialRefused as error:
        raise CredentialRefused(f"the API refused the join token: {error}{attempt.advice}") from error
    except NameTaken as error:
        raise NameTaken(f"{error}{attempt.advice}") from error
    previous = {*known.previous_node_ids, known.node_id} if known else set()
    enrolment = Enrolment(
        node_id=reply.node_id,
        credential=reply.credential,
        runtime=facts.runtime,
        previous_node_ids=tuple(sorted(previous - {reply.node_id})),
    )
    state.save(enrolment)
    _log.info("joined", node_id=reply.node_id)
    return enrolment
