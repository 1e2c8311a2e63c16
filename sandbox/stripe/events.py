"""Events over HTTP, and the endpoints that are told of them."""

from sandbox.stripe.calls import Call, Route, nothing_else
from sandbox.stripe.identity import new_id, random_text
from sandbox.stripe.listing import listed
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.store import Where, field_is
from sandbox.stripe.world import World

_MOST_ENDPOINTS = 16
_NOT_DELIVERED = "(select event from deliveries where state <> 'delivered')"


def retrieve(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("event", call.names["event"])


def list_all(world: World, call: Call) -> Object:
    params = call.params
    only, types = params.text("type"), params.texts("types")
    conditions = [] if only is None else [_of_type(only)]
    if types:
        marks = " or ".join(_of_type(one).sql for one in types)
        values = tuple(value for one in types for value in _of_type(one).values)
        conditions.append(Where(sql=f"({marks})", values=values))
    delivered = params.flag("delivery_success")
    if delivered is not None:
        conditions.append(Where(sql=f"id {'not ' if delivered else ''}in {_NOT_DELIVERED}"))
    return listed(world, call, "event", *conditions)


def _of_type(type: str) -> Where:
    """`invoice.paid`, or all that begin alike: `invoice.*`."""
    if not type.endswith("*"):
        return field_is("type", type)
    start = type.removesuffix("*")
    return Where(sql="substr(json_extract(body, '$.type'), 1, ?) = ?", values=(len(start), start))


def create_endpoint(world: World, call: Call) -> Object:
    """The only answer that shows its secret."""
    params = call.params
    url, types = params.required("url"), params.texts("enabled_events")
    if not types:
        raise params.lacks("enabled_events")
    description, metadata = params.text("description"), params.metadata()
    params.ignore("connect", "api_version")
    params.finish()
    if len(world.store.find("webhook_endpoint")) >= _MOST_ENDPOINTS:
        raise invalid("url", f"There can be {_MOST_ENDPOINTS} webhook endpoints.")
    secret = f"whsec_{random_text(32)}"
    endpoint = add_endpoint(world, url, types, secret=secret) | {"description": description, "metadata": metadata}
    return {**world.store.put(endpoint), "secret": secret}


def add_endpoint(world: World, url: str, types: list[str], *, secret: str) -> Object:
    """Raises: `Refusal`."""
    if not url.startswith(("http://", "https://")):
        raise invalid("url", "Invalid URL: an explicit scheme (such as https) must be provided.", "url_invalid")
    endpoint: Object = {
        "id": new_id("we"),
        "object": "webhook_endpoint",
        "api_version": None,
        "application": None,
        "created": world.now,
        "description": None,
        "enabled_events": types,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }
    return world.store.add(endpoint, secret=secret)


def retrieve_endpoint(world: World, call: Call) -> Object:
    nothing_else(call)
    return world.get("webhook_endpoint", call.names["endpoint"])


def update_endpoint(world: World, call: Call) -> Object:
    params = call.params
    endpoint = world.get("webhook_endpoint", call.names["endpoint"])
    disabled = params.flag("disabled")
    endpoint |= {
        "url": params.text("url") or endpoint["url"],
        "enabled_events": params.texts("enabled_events") or endpoint["enabled_events"],
        "metadata": params.metadata(endpoint["metadata"]),
    }
    if params.has("description"):
        endpoint["description"] = params.text("description")
    if disabled is not None:
        endpoint["status"] = "disabled" if disabled else "enabled"
    params.finish()
    return world.store.put(endpoint)


def delete_endpoint(world: World, call: Call) -> Object:
    nothing_else(call)
    endpoint = world.get("webhook_endpoint", call.names["endpoint"])
    world.mailbox.drop_endpoint(endpoint["id"])
    world.store.drop(endpoint["id"])
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def list_endpoints(world: World, call: Call) -> Object:
    return listed(world, call, "webhook_endpoint")


ROUTES: list[Route] = [
    ("GET", "/v1/events", list_all),
    ("GET", "/v1/events/{event}", retrieve),
    ("POST", "/v1/webhook_endpoints", create_endpoint),
    ("GET", "/v1/webhook_endpoints", list_endpoints),
    ("GET", "/v1/webhook_endpoints/{endpoint}", retrieve_endpoint),
    ("POST", "/v1/webhook_endpoints/{endpoint}", update_endpoint),
    ("DELETE", "/v1/webhook_endpoints/{endpoint}", delete_endpoint),
]
