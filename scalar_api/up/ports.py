"""TCP ports of this machine."""

import random
import socket
from contextlib import suppress

from scalar_api.up.errors import UpError

_BELOW_THE_EPHEMERAL = range(20_000, 32_000)


def refuse_taken(port: int, what: str, option: str) -> None:
    """Raises: `UpError` where something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UpError(
                f"Port {port} of 127.0.0.1 is taken, and {what} needs it. Stop what uses it"
                f" (`ss -ltnp 'sport = :{port}'` shows it), or choose another port with {option}."
            ) from error


def free_port() -> int:
    """One that nothing has, below those that the kernel gives to outgoing connections: nobody takes it meanwhile.

    Raises: `UpError` where none is found.
    """
    for port in random.sample(_BELOW_THE_EPHEMERAL, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise UpError("No TCP port of 127.0.0.1 is free.")


def answers(port: int) -> bool:
    """Whether something accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
