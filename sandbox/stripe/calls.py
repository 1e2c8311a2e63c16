"""A request as a resource sees it, and the routes of which the API is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.stripe.form import Params
from sandbox.stripe.refusals import Object
from sandbox.stripe.world import World


@dataclass(frozen=True, kw_only=True)
class Call:
    """`names` are what stands in the address, as {"customer": "cus_1"}."""

    path: str
    names: Mapping[str, str]
    params: Params


Handler = Callable[[World, Call], Object]
Route = tuple[str, str, Handler]
"""Method, address with names in braces, and who answers."""


def nothing_else(call: Call) -> None:
    """For what takes no parameters. Raises: `Refusal`."""
    call.params.finish()


def text_fields(body: Object, params: Params, *names: str) -> None:
    """Those that were given; an empty one is taken away."""
    for name in names:
        if params.has(name):
            body[name] = params.text(name)


def address(params: Params | None) -> Any:
    if params is None:
        return None
    return {name: params.text(name) for name in ("city", "country", "line1", "line2", "postal_code", "state")}
