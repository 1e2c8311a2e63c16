"""Shows a container's output in Dagster's UI: read from Scalar's log at each look, kept only there.

Assets' own output goes to files, as with `LocalComputeLogManager`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster._core.storage.cloud_storage_compute_log_manager import PollingComputeLogSubscriptionManager
from dagster._core.storage.compute_log_manager import (
    CapturedLogMetadata,
    CapturedLogSubscription,
    ComputeIOType,
)
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData

from scalar.jobs import logs, store
from scalar.protocol import LogStream
from scalar.settings import settings
from scalar_orchestration.resources import shared_database
from scalar_orchestration.run_events import rank_of

_READ_AT_ONCE = 4 * 1024 * 1024
_STREAMS = {ComputeIOType.STDOUT: LogStream.STDOUT, ComputeIOType.STDERR: LogStream.STDERR}


class ScalarComputeLogManager(LocalComputeLogManager):
    """Log keys are `[dagster run id, "compute_logs", file key]`; a container's file key names its rank."""

    def __init__(self, base_dir: str, **more: Any) -> None:
        super().__init__(base_dir, **more)
        self._polling = PollingComputeLogSubscriptionManager(self)  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "ScalarComputeLogManager":
        return cls(inst_data=inst_data, **config_value)

    def get_log_data_for_type(
        self, log_key: Sequence[str], io_type: ComputeIOType, offset: int | None = 0, max_bytes: int | None = None
    ) -> tuple[bytes | None, int]:
        rank = rank_of(log_key[-1])
        if rank is None:
            return super().get_log_data_for_type(log_key, io_type, offset, max_bytes)  # type: ignore[no-any-return]
        data = _read(log_key[0], rank, _STREAMS[io_type], offset or 0, max_bytes or _READ_AT_ONCE)
        return data, (offset or 0) + len(data)

    def is_capture_complete(self, log_key: Sequence[str]) -> bool:
        """A container's log is whole once its run has ended: the last byte comes before the report of the end."""
        if rank_of(log_key[-1]) is None:
            return super().is_capture_complete(log_key)
        with _database().transaction() as tx:
            run = store.run_of_dagster(tx, log_key[0])
        return run is None or run.state.ended

    def get_log_metadata(self, log_key: Sequence[str]) -> CapturedLogMetadata:
        """A container's output stands in no file until somebody downloads it."""
        if rank_of(log_key[-1]) is None:
            return super().get_log_metadata(log_key)
        out, err = (
            self.get_captured_log_download_url(log_key, each)  # type: ignore[no-untyped-call]
            for each in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        return CapturedLogMetadata(stdout_download_url=out, stderr_download_url=err)

    def get_captured_local_path(self, log_key: Sequence[str], extension: str, partial: bool = False) -> str:
        """For a download: the file is written anew from the log."""
        path = str(super().get_captured_local_path(log_key, extension, partial=partial))
        rank = rank_of(log_key[-1])
        if rank is not None and extension in ("out", "err") and not partial:
            _write(Path(path), log_key[0], rank, LogStream.STDOUT if extension == "out" else LogStream.STDERR)
        return path

    def subscribe(self, log_key: Sequence[str], cursor: str | None = None) -> CapturedLogSubscription:
        if rank_of(log_key[-1]) is None:
            return super().subscribe(log_key, cursor)
        subscription = CapturedLogSubscription(self, log_key, cursor)
        self._polling.add_subscription(subscription)
        return subscription

    def unsubscribe(self, subscription: CapturedLogSubscription) -> None:
        if rank_of(subscription.log_key[-1]) is None:
            super().unsubscribe(subscription)  # type: ignore[no-untyped-call]
        else:
            self._polling.remove_subscription(subscription)

    def dispose(self) -> None:
        self._polling.dispose()
        super().dispose()


def _read(dagster_run_id: str, rank: int, stream: LogStream, offset: int, limit: int) -> bytes:
    with _database().transaction() as tx:
        run = store.run_of_dagster(tx, dagster_run_id)
        return logs.read_stream(tx, run.id, rank, stream, offset=offset, limit=limit) if run else b""


def _write(path: Path, dagster_run_id: str, rank: int, stream: LogStream) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while data := _read(dagster_run_id, rank, stream, file.tell(), _READ_AT_ONCE):
            file.write(data)


def _database() -> Any:
    return shared_database(settings().database_url.get_secret_value())
