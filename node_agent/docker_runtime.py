"""Containers on this machine's Docker engine. The only module that imports docker."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any

import structlog
from docker import APIClient, auth
from docker.errors import (
    APIError,
    DockerException,
    ImageNotFound,
    NotFound,
    create_api_error_from_http_exception,
)
from docker.types import CancellableStream, DeviceRequest, LogConfig
from docker.utils import kwargs_from_env, parse_repository_tag
from requests import HTTPError, Response

from node_agent import docker_answers as answers
from node_agent.docker_log import DockerLog
from node_agent.docker_pull import DockerPull
from node_agent.errors import ContainerGone, EngineError, EngineUnavailable, StartFailed
from node_agent.runtime import Container, ContainerState, Output
from scalar.protocol import DesiredTask, Gpu, RuntimeKind, TaskEnding

_PULL_TRIES = 3
_PULL_SILENCE_SECONDS = 120.0
_ANSWER_SECONDS = 60
_LOG_TO_FILE = LogConfig(type=LogConfig.types.JSON, config={"max-size": "64m", "max-file": "16"})

_log = structlog.get_logger()


def engine_answers() -> bool:
    """Whether a Docker engine answers on this machine (or at DOCKER_HOST)."""
    try:
        return bool(_client(timeout=5).ping())
    except (DockerException, OSError):
        return False


class DockerRuntime:
    """The containers that carry this node's id as a label. Raises `EngineUnavailable` where no engine answers."""

    kind = RuntimeKind.DOCKER

    def __init__(
        self,
        *,
        node_id: str,
        gpus: Sequence[Gpu],
        pull_pause_seconds: float = 2.0,
        pull_silence_seconds: float = _PULL_SILENCE_SECONDS,
    ) -> None:
        self._node_id = node_id
        self._gpus: Mapping[int, Gpu] = {gpu.index: gpu for gpu in gpus}
        self._pull_pause_seconds = pull_pause_seconds
        self._pull_silence_seconds = pull_silence_seconds
        self._ended: dict[str, Container] = {}
        self._with_init = True
        with _engine():
            self._docker = _client(timeout=_ANSWER_SECONDS)
            self._engine_cpus = float(self._docker.info()["NCPU"])

    def containers(self) -> list[Container]:
        with _engine():
            mine = {"label": [f"{answers.LABEL_NODE}={self._node_id}"]}
            listed = [entry["Id"] for entry in self._docker.containers(all=True, filters=mine)]
            seen = [self._ended.get(container_id) or self._inspect(container_id) for container_id in listed]
        present = [container for container in seen if container]
        # Nothing about an ended container changes any more, and there may be many that wait for the API.
        self._ended = {each.id: each for each in present if each.state is ContainerState.EXITED}
        return present

    def fetch_image(self, image: str, cancelled: Event) -> None:
        with _engine():
            if self._is_local(image):
                return
        for failures in range(1, _PULL_TRIES + 1):
            trouble = self._pull(image, cancelled)
            if trouble is None or cancelled.is_set():
                return
            if answers.image_is_missing(trouble):
                raise StartFailed(TaskEnding.IMAGE_NOT_FOUND, f"{image}: {trouble}"[:2000])
            _log.warning("image pull failed", image=image, failures=failures, problem=trouble)
            if failures < _PULL_TRIES and cancelled.wait(self._pull_pause_seconds * 2 ** (failures - 1)):
                return
        raise StartFailed(TaskEnding.IMAGE_UNAVAILABLE, f"{image}: {trouble}"[:2000])

    def create(self, task: DesiredTask) -> None:
        with _engine(answers.start_failure):
            try:
                created = self._create(task)
            except APIError as error:
                if error.status_code == 409 and self._is_mine(task):
                    return
                raise
            if limit := answers.discarded_limit(created.get("Warnings") or []):
                self._docker.remove_container(created["Id"], v=True, force=True)
                raise StartFailed(TaskEnding.START_FAILED, f"This node's engine can't limit a container: {limit}")

    def start(self, task: DesiredTask) -> None:
        with _engine(answers.start_failure):
            try:
                self._docker.start(_name(task))
            except APIError as error:
                if not self._with_init or "docker-init" not in _explanation(error):
                    raise
                _log.warning("this engine has no docker-init: containers go without")
                self._with_init = False
                self._docker.remove_container(_name(task), v=True, force=True)
                self._create(task)
                self._docker.start(_name(task))

    def stop(self, container_id: str, grace_seconds: int) -> None:
        with _engine(), suppress(NotFound):
            self._docker.stop(container_id, timeout=grace_seconds)

    def remove(self, container_id: str) -> None:
        with _engine(), suppress(NotFound):
            self._docker.remove_container(container_id, v=True, force=True)

    def output(self, container_id: str, *, follow: bool) -> Output:
        return DockerLog(open_log=partial(self._open_log, container_id), cut=_cut, follow=follow)

    def ended(self, container_id: str, within_seconds: float) -> bool:
        try:
            self._docker.wait(container_id, timeout=within_seconds)  # type: ignore[arg-type]
        except NotFound as error:
            raise ContainerGone(container_id) from error
        except (DockerException, OSError):
            return False
        return True

    def close(self) -> None:
        """Lets go of the engine's socket."""
        self._docker.close()

    def _open_log(self, container_id: str, query: dict[str, str | int]) -> Response:
        # docker-py's own `logs` either blocks to the end or forgets which stream a piece belongs to.
        url = f"{self._docker.base_url}/v{self._docker.api_version}/containers/{container_id}/logs"
        with _engine():
            response = self._docker.get(
                url,
                params={"stdout": 1, "stderr": 1, "timestamps": 1, **query},
                stream=True,
                # Between two lines of a log there may be days.
                timeout=(_ANSWER_SECONDS, None),
            )
            if response.status_code == 404:
                response.close()
                raise ContainerGone(container_id)
            response.raise_for_status()
        return response

    def _inspect(self, container_id: str) -> Container | None:
        try:
            seen = answers.container_from(self._docker.inspect_container(container_id))
            if seen is None or seen.exit_code not in (126, 127):
                return seen
            last_words = self._docker.logs(container_id, stdout=False, stderr=True, tail=5)
        except NotFound:
            return None
        return replace(seen, command_missing=answers.missing_command(seen.exit_code, last_words))

    def _create(self, task: DesiredTask) -> dict[str, Any]:
        created: dict[str, Any] = self._docker.create_container(
            task.image,
            name=_name(task),
            entrypoint=task.command,
            # As in Kubernetes: a new entrypoint drops the image's CMD as well (the engine does that itself).
            command=task.args,
            environment=self._environment(task),
            labels=self._labels(task),
            host_config=self._docker.create_host_config(
                # A CPU count above the machine's is refused; all of the machine is no less a limit.
                nano_cpus=int(min(task.cpus, self._engine_cpus) * 1_000_000_000),
                mem_limit=task.memory_bytes,
                memswap_limit=task.memory_bytes,
                # 64 MiB of /dev/shm, the engine's default, breaks data loaders and NCCL; it counts as memory anyway.
                shm_size=max(task.memory_bytes // 2, 64 * 1024 * 1024),
                pids_limit=task.max_processes,
                init=self._with_init,
                log_config=_LOG_TO_FILE,
                security_opt=["no-new-privileges"],
                device_requests=self._devices(task),
            ),
        )
        return created

    def _labels(self, task: DesiredTask) -> dict[str, str]:
        return {
            answers.LABEL_RUN: task.run_id,
            answers.LABEL_RANK: str(task.rank),
            answers.LABEL_JOB: task.job_id,
            answers.LABEL_NODE: self._node_id,
            answers.LABEL_GRACE: str(task.stop_grace_seconds),
        }

    def _environment(self, task: DesiredTask) -> dict[str, str]:
        uuids = self._uuids(task)
        return {
            **{name: value.get_secret_value() for name, value in task.env.items()},
            "SCALAR_JOB_ID": task.job_id,
            "SCALAR_RUN_ID": task.run_id,
            "SCALAR_NODE_RANK": str(task.rank),
            "SCALAR_GPU_INDICES": ",".join(map(str, task.gpus)),
            # Where NVIDIA's runtime is the default one this variable alone opens GPUs, and images set it to "all".
            "NVIDIA_VISIBLE_DEVICES": ",".join(uuids) or "void",
        }

    def _devices(self, task: DesiredTask) -> list[DeviceRequest]:
        uuids = self._uuids(task)
        return [DeviceRequest(device_ids=uuids, capabilities=[["gpu"]])] if uuids else []

    def _uuids(self, task: DesiredTask) -> list[str]:
        assigned = (self._gpus.get(index) for index in task.gpus)
        return [gpu.uuid for gpu in assigned if gpu and gpu.uuid]

    def _is_mine(self, task: DesiredTask) -> bool:
        labels = self._docker.inspect_container(_name(task))["Config"]["Labels"] or {}
        return bool(labels.get(answers.LABEL_NODE) == self._node_id)

    def _is_local(self, image: str) -> bool:
        try:
            self._docker.inspect_image(image)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return False
        except APIError as error:
            if not error.is_client_error():
                raise
            raise StartFailed(TaskEnding.IMAGE_NOT_FOUND, f"{image}: {_explanation(error)}") from error
        return True

    def _pull(self, image: str, cancelled: Event) -> str | None:
        """None: done (or cancelled). Otherwise what went wrong, in the engine's words."""
        pull = DockerPull(open_pull=partial(self._open_pull, image), cut=_cut)
        try:
            for step in pull.steps(cancelled=cancelled, silence_seconds=self._pull_silence_seconds):
                if "error" in step:
                    return str(step["error"])
        except TimeoutError as error:
            return str(error)
        except APIError as error:
            return _explanation(error)
        except OSError as error:
            raise EngineUnavailable(str(error)) from error
        except DockerException as error:
            raise StartFailed(TaskEnding.IMAGE_NOT_FOUND, f"{image}: {error}"[:2000]) from error
        return None

    def _open_pull(self, image: str) -> Response:
        # docker-py's own `pull` waits for ever, and keeps the response to itself.
        repository, tag = parse_repository_tag(image)
        registry, _ = auth.resolve_repository_name(repository)
        credential = auth.get_config_header(self._docker, registry)
        response = self._docker.post(
            f"{self._docker.base_url}/v{self._docker.api_version}/images/create",
            params={"fromImage": repository, "tag": tag or "latest"},
            headers={"X-Registry-Auth": credential} if credential else {},
            stream=True,
            # Longer than whoever waits does: this only ends the thread of a pull that was given up unanswered.
            timeout=(_ANSWER_SECONDS, self._pull_silence_seconds + _ANSWER_SECONDS),
        )
        try:
            response.raise_for_status()
        except HTTPError as error:
            create_api_error_from_http_exception(error)
        return response


def _cut(response: Response) -> None:
    # docker-py knows how to wake a thread that reads from the engine's socket; it fails where the stream has ended.
    with suppress(DockerException, OSError, AttributeError):
        CancellableStream(iter(()), response).close()


def _client(*, timeout: int) -> APIClient:
    """On this machine's socket, or wherever DOCKER_HOST points to."""
    return APIClient(version="auto", timeout=timeout, **kwargs_from_env())


@contextmanager
def _engine(refused: Callable[[str], EngineError] = EngineUnavailable) -> Iterator[None]:
    """Errors of docker-py as ours; `refused` makes one of what the engine says when it won't."""
    try:
        yield
    except NotFound as error:
        raise ContainerGone(_explanation(error)) from error
    except APIError as error:
        explanation = _explanation(error)
        raise (EngineUnavailable if answers.engine_is_ill(explanation) else refused)(explanation) from error
    except (DockerException, OSError) as error:
        raise EngineUnavailable(str(error)) from error


def _explanation(error: APIError) -> str:
    return str(error.explanation or error)


def _name(task: DesiredTask) -> str:
    """Unique on the engine, which so refuses a second container for the same task."""
    return f"scalar-{task.run_id}-{task.rank}"
