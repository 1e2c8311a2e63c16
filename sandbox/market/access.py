"""Who asks: a bearer token, and the customer it acts for."""

from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Request

from sandbox.market.refusals import Refusal
from sandbox.market.resources import Token
from sandbox.market.world import World


def the_world(request: Request) -> World:
    world: World = request.app.state.world
    return world


def authenticated(request: Request) -> Token:
    """Raises: `Refusal` 401."""
    world = the_world(request)
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Refusal(401, "missing authentication token")
    token = world.shelves.tokens.get(sha256(secret.strip().encode()).hexdigest())
    if token is None:
        raise Refusal(401, "invalid authentication token")
    if token.expires_at is not None and token.expires_at <= world.clock.now():
        raise Refusal(401, "the authentication token has expired")
    return token


TheWorld = Annotated[World, Depends(the_world)]
Caller = Annotated[Token, Depends(authenticated)]
