"""The data folder (`.scalar/`): what stands where in it, and one platform at a time."""

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from scalar_api.up.errors import UpError

_LEAST_FREE = 1024**3


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What `scalar up` made for the user of this machine; the command line finds it here."""

    api_url: str
    organisation: str
    customer_key: str = field(repr=False)
    operator_key: str = field(repr=False)


class DataFolder:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._lock: IO[str] | None = None

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def dagster_home(self) -> Path:
        return self.root / "dagster"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def agent(self) -> Path:
        return self.root / "agent"

    @property
    def market(self) -> Path:
        return self.root / "market"

    @property
    def stripe(self) -> Path:
        return self.root / "stripe"

    @property
    def credentials_file(self) -> Path:
        return self.root / "credentials.json"

    def open(self) -> None:
        """Make what is missing and keep everybody else out. Raises: `UpError`."""
        try:
            for folder in (self.root, self.dagster_home, self.logs, self.agent, self.market, self.stripe):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.root / "lock").open("a+")
        except OSError as error:
            raise UpError(f"The data folder {self.root} can't be written: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UpError(
                f"Scalar is already running with the data folder {self.root}. Stop it (Ctrl-C where it runs), or give"
                " this one another folder with --data."
            ) from error
        free = shutil.disk_usage(self.root).free
        if free < _LEAST_FREE:
            raise UpError(
                f"The disk that holds {self.root} has {free // 1024**2} MiB left, and Postgres needs at least"
                f" {_LEAST_FREE // 1024**2} MiB to start safely. Free some space, or use --data on another disk."
            )

    def remove(self) -> None:
        """All that stands where Scalar puts it; nothing else that is there. Raises: `UpError` where one is running."""
        if not self.root.exists():
            return
        self.open()
        self.close()
        for path in (self.postgres, self.dagster_home, self.logs, self.agent, self.market, self.stripe):
            shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Let another platform have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read_credentials(self) -> Credentials | None:
        """None where there are none, or they can't be read: then they are made anew."""
        try:
            return Credentials(**json.loads(self.credentials_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write_credentials(self, credentials: Credentials) -> None:
        """Readable by this user alone; whole or not at all."""
        half = self.credentials_file.with_suffix(".half")
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(credentials), file)
        half.replace(self.credentials_file)
