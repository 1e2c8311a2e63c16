"""An object as it is shown: with the short lists inside it, what depends on the time, and what `expand[]` asks for."""

from collections.abc import Iterable

from sandbox.stripe.mailbox import Mailbox
from sandbox.stripe.refusals import Object, invalid
from sandbox.stripe.store import Store

_INLINE = 10
_DEEPEST = 4


class Renderer:
    """`now` is the server's time. Whoever renders has the world's turn."""

    def __init__(self, store: Store, mailbox: Mailbox, now: int) -> None:
        self._store = store
        self._mailbox = mailbox
        self._now = now

    def shown(self, body: Object) -> Object:
        if body.get("deleted") or "lines" in body:
            return body
        return {**body, **self._moving(body["object"], body["id"], body)}

    def _moving(self, kind: str, id: str, body: Object) -> Object:
        """The fields that are not kept with the object."""
        if kind == "invoice":
            return {"lines": self._inline(id, "line_item", f"/v1/invoices/{id}/lines")}
        if kind == "credit_note":
            return {"lines": self._inline(id, "credit_note_line_item", f"/v1/credit_notes/{id}/lines")}
        if kind == "charge":
            return {"refunds": self._inline(id, "refund", f"/v1/charges/{id}/refunds", newest_first=True)}
        if kind == "balance_transaction":
            return {"status": "available" if body["available_on"] <= self._now else "pending"}
        return {"pending_webhooks": self._mailbox.pending(id)} if kind == "event" else {}

    def expanded(self, body: Object, paths: Iterable[str]) -> Object:
        """Raises: `Refusal` for what cannot be expanded."""
        for path in paths:
            parts = path.split(".")
            if len([part for part in parts if part != "data"]) > _DEEPEST:
                raise invalid("expand", f"You cannot expand more than {_DEEPEST} levels of a property: {path}")
            self._expand(body, parts, path)
        return body

    def _expand(self, at: object, parts: list[str], path: str) -> None:
        if isinstance(at, list):
            for one in at:
                self._expand(one, parts, path)
            return
        if not parts or at is None:
            return
        if not isinstance(at, dict):
            raise _not_expandable(path)
        name, rest = parts[0], parts[1:]
        at[name] = self._opened(at, name, path)
        self._expand(at[name], rest, path)

    def _opened(self, at: Object, name: str, path: str) -> object:
        value = at.get(name)
        if name == "payments" and at.get("object") == "invoice" and value is None:
            return self._inline(at["id"], "invoice_payment", "/v1/invoice_payments")
        if name not in at:
            raise _not_expandable(path)
        if isinstance(value, list):
            return [self._object(one, path) if isinstance(one, str) else one for one in value]
        return self._object(value, path) if isinstance(value, str) else value

    def _object(self, id: str, path: str) -> Object:
        found = self._store.get(id)
        if found is None:
            raise _not_expandable(path)
        return self.shown(found)

    def _inline(self, parent: str, kind: str, url: str, *, newest_first: bool = False) -> Object:
        rows = self._store.children(parent, kind)
        if newest_first:
            rows.reverse()
        return {"object": "list", "data": rows[:_INLINE], "has_more": len(rows) > _INLINE, "url": url}


def _not_expandable(path: str) -> Exception:
    return invalid("expand", f"This property cannot be expanded ({path}).")
