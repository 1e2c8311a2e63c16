"""The hosted invoice page: what the customer owes, and a choice of test cards to pay it with."""

from html import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sandbox.stripe import form
from sandbox.stripe.cards import CARDS
from sandbox.stripe.control_api import pay_as_customer
from sandbox.stripe.refusals import Object, Refusal, missing
from sandbox.stripe.world import World

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Invoice {number}</title>
<body style="font:16px/1.5 system-ui;max-width:32em;margin:4em auto;padding:0 1em">
<h1>Invoice {number}</h1><p>{customer}</p><table style="width:100%">{lines}</table>
<p><b>{status}</b>: ${due} due, ${paid} paid</p>{problem}{form}</body></html>"""
_LINE = "<tr><td>{}</td><td align=right>${}</td></tr>"
_FORM = """<form method="post"><select name="card">{cards}</select> <button>Pay</button></form>"""


def routes(world: World) -> list[Route]:
    def show(request: Request) -> Response:
        return _page(world, request.path_params["secret"])

    async def pay(request: Request) -> Response:
        card = str(form.parse((await request.body()).decode()).get("card", "pm_card_visa"))
        return await run_in_threadpool(_paid, world, request.path_params["secret"], card)

    return [
        Route("/i/{secret}", show, methods=["GET"]),
        Route("/i/{secret}/pdf", show, methods=["GET"]),
        Route("/i/{secret}", pay, methods=["POST"]),
    ]


def _paid(world: World, secret: str, card: str) -> HTMLResponse:
    with world.turn():
        invoice = _invoice(world, secret)
    try:
        pay_as_customer(world, invoice["id"], card)
    except Refusal as refusal:
        return _page(world, secret, str(refusal))
    return _page(world, secret)


def _invoice(world: World, secret: str) -> Object:
    """Raises: `Refusal` 404."""
    found = world.store.by_hidden("page", secret)
    if found is None:
        raise missing("invoice", secret)
    return found


def _page(world: World, secret: str, problem: str = "") -> HTMLResponse:
    with world.turn():
        invoice = _invoice(world, secret)
        lines = world.store.children(invoice["id"], "line_item")
    text = _PAGE.format(
        number=escape(invoice["number"]),
        customer=escape(invoice["customer_name"] or invoice["customer"]),
        lines="".join(_LINE.format(escape(line["description"] or ""), _dollars(line["amount"])) for line in lines),
        status=escape(invoice["status"]),
        due=_dollars(invoice["amount_remaining"]),
        paid=_dollars(invoice["amount_paid"]),
        problem=f"<p role=alert>{escape(problem)}</p>" if problem else "",
        form=_form() if invoice["status"] in {"open", "uncollectible"} else "",
    )
    return HTMLResponse(text)


def _form() -> str:
    return _FORM.format(cards="".join(f"<option>pm_card_{card.token}</option>" for card in CARDS))


def _dollars(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"
