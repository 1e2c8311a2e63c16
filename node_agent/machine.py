"""What this machine is, apart from its GPUs."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def cpu_count() -> float:
    return float(os.cpu_count() or 1)


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def boot_id() -> str:
    """Another one after each restart of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return "unknown"


def agent_version() -> str:
    try:
        return version("scalar-platform")
    except PackageNotFoundError:
        return "unpackaged"
