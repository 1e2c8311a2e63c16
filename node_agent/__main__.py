"""`python -m node_agent`: settings, signals, exit codes."""

import argparse
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from threading import Thread
from types import FrameType

import structlog
from pydantic import ValidationError
from pydantic_settings import CliSettingsSource

from node_agent import gpus, machine
from node_agent.agent import Agent
from node_agent.docker_runtime import DockerRuntime, engine_answers
from node_agent.enrolment import Enrolment, StateDirectory, enrol, persist
from node_agent.errors import AlreadyRunning, CredentialRefused, NameTaken
from node_agent.gateway import Api
from node_agent.process_runtime import ProcessRuntime, has_tasks
from node_agent.runtime import ContainerRuntime, ContainerState
from node_agent.settings import EXAMPLES, Settings
from node_agent.spool import Spool
from scalar.protocol import Gpu, NodeFacts, RuntimeKind

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_START_OVER_SECONDS = 2.0
_PROCESSES = "processes"

_log = structlog.get_logger()


def main() -> int:
    _log_to_stderr()
    try:
        settings = _settings()
        state = StateDirectory(settings.state_dir)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            sys.stderr.write(f"--{str(problem['loc'][0]).replace('_', '-')}: {problem['msg']}\n")
        return 2
    except AlreadyRunning as error:
        sys.stderr.write(f"{error}\n")
        return 3
    for number in _SIGNALS:
        signal.signal(number, _exit)
    try:
        _serve(settings, state)
    except (CredentialRefused, NameTaken) as error:
        _log.error("not let in", problem=str(error))
        return 2
    return 0


def _settings() -> Settings:
    parser = argparse.ArgumentParser(
        "python -m node_agent", description=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source: CliSettingsSource[argparse.ArgumentParser] = CliSettingsSource(
        Settings, root_parser=parser, cli_parse_args=True, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return Settings(_cli_settings_source=source)  # type: ignore[call-arg]


def _serve(settings: Settings, state: StateDirectory) -> None:
    """Enrols and works until a signal. Raises `CredentialRefused`, `NameTaken`."""
    kind = _runtime_kind(settings, state)
    _log.info("agent starts", runtime=kind.notice, version=machine.agent_version())
    found = gpus.discovered() if settings.gpus is None else gpus.declared(settings.gpus, settings.gpu_type)
    enrolment = enrol(state, settings.api_url, settings.join_token, _facts(settings, kind, found))
    enrolment = _clear_previous(enrolment, state, found)
    agent = Agent(
        api=Api(settings.api_url, enrolment.credential),
        runtime=_runtime(enrolment.node_id, kind, state, found),
        spool=Spool(state.path / "spool.sqlite"),
        boot_id=machine.boot_id(),
        alive_interval=timedelta(seconds=settings.alive_interval_seconds),
    )
    _on_signal(partial(agent.leave, settings.on_exit))
    try:
        agent.run()
    except CredentialRefused:
        if settings.join_token is None:
            raise
        _log.warning("the node's credential is refused: starting over")
        time.sleep(_START_OVER_SECONDS)
        # As a new process, so that no thread goes on for a node that is no more.
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - itself, as it was started


def _on_signal(leave: Callable[[], None]) -> None:
    """Calls `leave` in a thread: a handler interrupts the main thread, which may hold the lock that it needs."""
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno())
    for number in _SIGNALS:
        signal.signal(number, lambda _number, _frame: None)

    def listen() -> None:
        with heard, told:
            while heard.recv(1):
                leave()

    Thread(target=listen, name="signals", daemon=True).start()


def _exit(_number: int, _frame: FrameType | None) -> None:
    """Before there is an agent there is nothing to leave."""
    raise SystemExit(0)


def _runtime_kind(settings: Settings, state: StateDirectory) -> RuntimeKind:
    if settings.runtime != "auto":
        return RuntimeKind(settings.runtime)
    known = state.load()
    if known and known.runtime is RuntimeKind.DOCKER:
        return RuntimeKind.DOCKER
    # What runs as a process could be neither seen nor stopped by a node of containers.
    if has_tasks(state.path / _PROCESSES):
        return RuntimeKind.PROCESS
    return RuntimeKind.DOCKER if engine_answers() else RuntimeKind.PROCESS


def _runtime(node_id: str, kind: RuntimeKind, state: StateDirectory, found: list[Gpu]) -> ContainerRuntime:
    """Waits for the engine as long as it takes."""
    if kind is RuntimeKind.PROCESS:
        return ProcessRuntime(node_id=node_id, directory=state.path / _PROCESSES)
    return persist("find the container engine", lambda: DockerRuntime(node_id=node_id, gpus=found))


def _facts(settings: Settings, kind: RuntimeKind, found: list[Gpu]) -> NodeFacts:
    memory = settings.memory_gib * 2**30 if settings.memory_gib else machine.memory_bytes()
    return NodeFacts(
        name=settings.name,
        gpus=found,
        cpus=settings.cpus or machine.cpu_count(),
        memory_bytes=int(memory),
        runtime=kind,
        agent_version=machine.agent_version(),
        boot_id=machine.boot_id(),
        address=settings.address,
    )


def _clear_previous(enrolment: Enrolment, state: StateDirectory, found: list[Gpu]) -> Enrolment:
    """Ends what ran under a node id that this machine has lost: nobody pays for it, and its GPUs are offered anew."""
    for node_id in enrolment.previous_node_ids:
        runtime = _runtime(node_id, enrolment.runtime, state, found)
        persist("clear the containers of an earlier node id", partial(_clear, runtime))
    cleared = enrolment.model_copy(update={"previous_node_ids": ()})
    if cleared != enrolment:
        state.save(cleared)
    return cleared


def _clear(runtime: ContainerRuntime) -> None:
    for container in runtime.containers():
        if container.state is ContainerState.RUNNING:
            runtime.stop(container.id, container.stop_grace_seconds)
        runtime.remove(container.id)


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main())
