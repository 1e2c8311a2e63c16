"""What a sandbox needs before it serves: arguments that are understood, the folder to itself, and a secret."""

import argparse
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import IO


def loopback(text: str) -> str:
    try:
        loops = text == "localhost" or ip_address(text).is_loopback
    except ValueError:
        loops = False
    if not loops:
        raise argparse.ArgumentTypeError(f"{text} is not a loopback address, and /sandbox asks nobody for a secret")
    return text


def moment(text: str) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 2026-11-02T00:00Z") from error
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The file's; made, for the owner of the file alone, where there is none yet. Raises: OSError."""
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    secret = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secret + "\n")
    part.replace(path)
    return secret


def only_one(path: Path, name: str) -> IO[str]:
    """Held as long as the process lives. Raises: OSError where another has it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OSError(f"another sandbox {name} runs on {path.parent}") from error
    return file
