"""Which processes are alive, from /proc. Pids are given again: only with its start time is one an identity."""

from pathlib import Path

_STATE, _SESSION, _START_TICKS = 0, 3, 19
_OVER = frozenset("ZX")


def has_pid(pid: int, start_ticks: int) -> bool:
    """Whether the process that has this pid is alive (a zombie isn't) and the one that started then."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] not in _OVER and int(fields[_START_TICKS]) == start_ticks


def session_members(session: int) -> list[int]:
    """Pids of the live processes of one session."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    found = ((pid, _stat(pid)) for pid in pids)
    return [pid for pid, seen in found if seen and int(seen[_SESSION]) == session and seen[_STATE] not in _OVER]


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the name, which may itself hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
