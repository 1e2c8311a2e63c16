"""`python -m sandbox.market`: options, the token, the server. Exit codes: 0 stopped by a signal, 2 wrong options."""

import logging
import os
import signal
import sys
from hashlib import sha256

from sandbox.market import options
from sandbox.market.opening import new_token
from sandbox.market.server import serve
from sandbox.market.settings import UnknownRule
from sandbox.market.world import CUSTOMER, World
from sandbox.starting import kept_secret

_TOKEN_VARIABLE = "SANDBOX_MARKET_TOKEN"  # noqa: S105 - its name, not its value


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    given = options.parse()
    try:
        world = World(given)
        secret = os.environ.pop(_TOKEN_VARIABLE, "") or kept_secret(given.token_file or given.data / "token", new_token)
    except (UnknownRule, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _let_in(world, secret)
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server stops at the signal, and then sends it again to whoever handled it before.
        signal.signal(number, lambda *_: None)
    try:
        serve(world, host=given.host, port=given.port, port_file=given.port_file)
    except OSError as error:
        sys.stderr.write(f"{given.host}:{given.port}: {error}\n")
        return 2
    return 0


def _let_in(world: World, secret: str) -> None:
    with world.turn():
        if world.shelves.tokens.get(sha256(secret.encode()).hexdigest()) is None:
            world.new_token(CUSTOMER, secret, "default", None)


if __name__ == "__main__":
    sys.exit(main())
