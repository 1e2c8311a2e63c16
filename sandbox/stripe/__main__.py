"""`python -m sandbox.stripe`: options, the key, the server. Exit codes: 0 stopped by a signal, 2 wrong options."""

import logging
import os
import signal
import sys
from functools import partial

from sandbox.starting import kept_secret
from sandbox.stripe import collecting, events, options, refunds, settling
from sandbox.stripe.identity import new_secret
from sandbox.stripe.options import Options
from sandbox.stripe.refusals import Refusal
from sandbox.stripe.server import serve
from sandbox.stripe.world import Deed, World

_ENDPOINT = "endpoint of the command line"
_KEY_VARIABLE = "SANDBOX_STRIPE_KEY"
_DEEDS: dict[str, Deed] = {
    "finalize": collecting.finalize_when_due,
    "collect": collecting.collect,
    "settle_refund": refunds.settle,
    "overdue": settling.become_overdue,
}


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    given = options.parse()
    try:
        world = World(given, _DEEDS)
        key = os.environ.pop(_KEY_VARIABLE, "") or kept_secret(
            given.key_file or given.data / "key", partial(new_secret, "sk_test")
        )
        _tell(world, given)
    except (OSError, Refusal) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server stops at the signal, and then sends it again to whoever handled it before.
        signal.signal(number, lambda *_: None)
    try:
        serve(world, key, host=given.host, port=given.port, port_file=given.port_file)
    except OSError as error:
        sys.stderr.write(f"{given.host}:{given.port}: {error}\n")
        return 2
    return 0


def _tell(world: World, given: Options) -> None:
    """The endpoint of the command line: made the first time, and moved where the next start names another address."""
    if given.webhook_url is None:
        return
    secret = kept_secret(given.webhook_secret_file or given.data / "webhook_secret", partial(new_secret, "whsec"))
    with world.turn():
        made = world.store.fact(_ENDPOINT)
        endpoint = world.store.get(made["id"]) if made else None
        if endpoint is None:
            endpoint = events.add_endpoint(world, given.webhook_url, ["*"], secret=secret)
            world.store.set_fact(_ENDPOINT, {"id": endpoint["id"]})
        elif endpoint["url"] != given.webhook_url:
            world.store.put({**endpoint, "url": given.webhook_url})
        world.store.hide(endpoint["id"], secret=secret)


if __name__ == "__main__":
    sys.exit(main())
