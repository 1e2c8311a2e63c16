"""Ids and secrets as Stripe's look, and what a start needs before there is a server: the folder to itself, the key."""

import fcntl
import os
import secrets
import string
from contextlib import suppress
from pathlib import Path
from typing import IO

_LETTERS = string.ascii_letters + string.digits
API_VERSION = "2026-10-28.endive"
ACCOUNT = "acct_1Sandbox00000000"


def new_id(prefix: str) -> str:
    return f"{prefix}_{random_text(24)}"


def random_text(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def kept_secret(path: Path, prefix: str) -> str:
    """The file's; made, for the owner of the file alone, where there is none yet. Raises: OSError."""
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    secret = f"{prefix}_{random_text(32)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secret + "\n")
    part.replace(path)
    return secret


def only_one(path: Path) -> IO[str]:
    """Held as long as the process lives. Raises: OSError where another has it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OSError(f"another sandbox Stripe runs on {path.parent}") from error
    return file
