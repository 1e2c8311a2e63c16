"""What a start needs before there is a market: the folder to itself, the customer's token, prices."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from sandbox.market.options import Options
from sandbox.market.prices import PriceProcess, PriceSource, recorded
from sandbox.market.resources import new_id
from sandbox.market.skus import Sku


def price_sources(skus: dict[str, Sku], options: Options) -> dict[str, PriceSource]:
    """Raises: ValueError for a CSV of no SKU, or without prices."""
    given = {name.lower(): path for name, path in options.prices}
    found: dict[str, PriceSource] = {}
    for sku in skus.values():
        named = {sku.id.lower(), sku.alias.lower(), sku.accelerator.lower()} & given.keys()
        if named:
            found[sku.id] = recorded(given.pop(named.pop()))
        else:
            found[sku.id] = PriceProcess(seed=f"{options.seed}:{sku.id}", level=sku.dollars_per_gpu_hour)
    if given:
        raise ValueError(f"prices of no SKU that is traded here: {', '.join(given)}")
    return found


def token_of(path: Path) -> str:
    """The customer's token; made, for the owner of the file alone, where there is none yet. Raises: OSError."""
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    secret = "sk_live_" + new_id("x")[2:] + new_id("x")[2:]
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
        raise OSError(f"another sandbox market runs on {path.parent}") from error
    return file
