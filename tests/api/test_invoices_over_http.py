"""Usage, invoices and months of the books over HTTP and from the command line."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from scalar.accounts import store as accounts
from scalar.accounts.trail import trail
from scalar.billing import crediting
from scalar.billing import invoice_store as store
from scalar.billing.credit_notes import Correction
from scalar.billing.invoice_model import Invoice
from scalar.billing.invoice_settings import InvoiceSettings
from scalar_api.printing.csv import csv_of
from scalar_api.printing.document import document
from scalar_api.printing.formats import Format, wanted
from scalar_api.printing.html import html
from scalar_api.printing.pdf import pdf
from tests.api.calls import assert_problem
from tests.api.conftest import Api
from tests.billing.billed import DOLLAR, FEBRUARY, JANUARY, a_job_with_a_run, at, draft, opened, use
from tests.made_up import a_key

SCALAR = Path(sys.executable).parent / "scalar"
NASTY = "=HYPERLINK(\"http://evil\")<script>alert('x')</script>"


@dataclass
class Tenant:
    id: str
    job: str
    client: httpx.Client


def a_tenant(api: Api, name: str = "acme", job_name: str = "train") -> Tenant:
    with api.database.transaction() as tx:
        org = accounts.create_organisation(tx, name)
        key, key_id = a_key(tx, organisation_id=org.id)
        job = a_job_with_a_run(tx, (org.id, key_id), name=job_name)
    return Tenant(org.id, job, api.client(key.secret))


def a_month(api: Api, tenant: Tenant, *, month: int = 1, open_it: bool = True) -> Invoice:
    """$10 of usage, of which $2 were lost."""
    with api.database.transaction() as tx:
        use(tx, tenant.job, at(month, 5), 10_004_900)
        use(tx, tenant.job, at(month, 6), -2 * DOLLAR)
        when = JANUARY if month == 1 else FEBRUARY
        invoice = opened(tx, tenant.id, when) if open_it else draft(tx, tenant.id, when)
    assert invoice is not None
    return invoice


def test_an_invoice_as_json(api: Api) -> None:
    tenant = a_tenant(api)
    invoice = a_month(api, tenant)
    for name in (invoice.id, invoice.number):
        body = tenant.client.get(f"/v1/invoices/{name}").raise_for_status().json()
        assert (body["number"], body["month"], body["state"]) == ("INV-2026-0001", "2026-01", "open")
        assert (body["subtotal"], body["total"], body["due"], body["outstanding"]) == ("8.00", "8.00", "8.00", "8.00")
        assert body["bill_to"] == {"name": "acme"}
        usage, credit = body["lines"]
        assert (usage["exact"], usage["amount"], usage["gpu_seconds"]) == ("10.004900", "10.00", "10004.900000")
        assert (usage["unit_price"], usage["job_id"], usage["tier"]) == ("3.600000", tenant.job, "fast")
        assert (credit["kind"], credit["amount"]) == ("credit", "-2.00")
        assert body["credit_notes"] == []


def test_a_list_has_pages_and_filters(api: Api) -> None:
    tenant = a_tenant(api)
    january, february = a_month(api, tenant), a_month(api, tenant, month=2, open_it=False)
    page = tenant.client.get("/v1/invoices", params={"limit": 1}).json()
    assert [each["id"] for each in page["data"]] == [february.id]
    rest = tenant.client.get("/v1/invoices", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert ([each["id"] for each in rest["data"]], rest["next_cursor"]) == ([january.id], None)
    drafts = tenant.client.get("/v1/invoices", params={"state": "draft"}).json()["data"]
    assert [(each["id"], each["number"]) for each in drafts] == [(february.id, None)]
    assert len(tenant.client.get("/v1/invoices", params={"month": "2026-01"}).json()["data"]) == 1
    assert_problem(tenant.client.get("/v1/invoices", params={"month": "2026-99"}), 422, "invalid-request")


def test_nobody_sees_anothers(api: Api) -> None:
    mine, other = a_tenant(api), a_tenant(api, "other")
    invoice = a_month(api, mine)
    for name in (invoice.id, str(invoice.number)):
        for form in Format:
            found = other.client.get(f"/v1/invoices/{name}", params={"format": form.value})
            assert_problem(found, 404, "not-found")
    assert other.client.get("/v1/invoices").json()["data"] == []
    assert other.client.get("/v1/usage", params={"start": "2026-01-01", "end": "2026-01-31"}).json()["data"] == []
    for path in ("/v1/invoices", "/v1/usage"):
        for whose in (mine.id, "acme", "nobody"):
            assert_problem(other.client.get(path, params={"organisation": whose}), 403, "forbidden")
    operator = api.operator()
    assert [each["id"] for each in operator.get("/v1/invoices").json()["data"]] == [invoice.id]
    assert operator.get("/v1/invoices", params={"organisation": "other"}).json()["data"] == []
    assert_problem(operator.get("/v1/invoices", params={"organisation": "nobody"}), 404, "not-found")


def test_only_operators_change_something(api: Api) -> None:
    tenant = a_tenant(api)
    invoice = a_month(api, tenant)
    reason = {"reason": "test"}
    for path, body in (
        (f"/v1/invoices/{invoice.id}/open", None),
        (f"/v1/invoices/{invoice.id}/void", reason),
        (f"/v1/invoices/{invoice.id}/uncollectible", reason),
        (f"/v1/invoices/{invoice.id}/credit-notes", {**reason, "lines": [{"line": 1, "amount": "0"}]}),
        ("/v1/periods/2026-01/close", None),
        ("/v1/periods/2026-01/reopen", reason),
        ("/v1/tax-rates", {"country": "DE", "name": "VAT", "percent": "19", "effective_from": "2026-01-01"}),
    ):
        assert_problem(tenant.client.post(path, json=body), 403, "forbidden")
        assert_problem(api.client().post(path, json=body), 401, "not-authenticated")
    for path in ("/v1/periods", "/v1/tax-rates"):
        assert_problem(tenant.client.get(path), 403, "forbidden")


@pytest.mark.parametrize(
    ("query", "accept", "media"),
    [
        ({}, None, "application/json"),
        ({}, "*/*", "application/json"),
        ({}, "text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ({}, "application/pdf", "application/pdf"),
        ({}, "text/csv;q=0.2, application/pdf;q=0.9", "application/pdf"),
        ({"format": "csv"}, "text/html", "text/csv; charset=utf-8"),
    ],
)
def test_the_form_is_the_callers_to_choose(shared_api: Api, query, accept, media: str) -> None:
    tenant = a_tenant(shared_api, f"acme {query} {accept}")
    invoice = a_month(shared_api, tenant)
    headers = {"Accept": accept} if accept else {}
    answer = tenant.client.get(f"/v1/invoices/{invoice.id}", params=query, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)


def test_a_form_that_is_not_offered_is_refused(api: Api) -> None:
    tenant = a_tenant(api)
    for path in ("/v1/invoices", "/v1/usage"):
        assert_problem(tenant.client.get(path, params={"format": "pdf"}), 422, "invalid-request")
    assert wanted(None, "text/html;q=0, text/csv;q=nonsense", tuple(Format)) is Format.JSON


def test_lines_as_csv_are_no_formulas(api: Api) -> None:
    tenant = a_tenant(api, job_name=NASTY)
    invoice = a_month(api, tenant)
    text = tenant.client.get(f"/v1/invoices/{invoice.id}", params={"format": "csv"}).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["invoice"], row["amount"], row["exact"]) for row in rows] == [
        ("INV-2026-0001", "10.00", "10.004900"),
        ("INV-2026-0001", "-2.00", "-2.000000"),
    ]
    assert rows[0]["description"].startswith("'=HYPERLINK")
    listed = list(csv.DictReader(io.StringIO(tenant.client.get("/v1/invoices", params={"format": "csv"}).text)))
    assert [(row["number"], row["total"], row["state"]) for row in listed] == [("INV-2026-0001", "8.00", "open")]


def test_csv_leaves_numbers_as_they_are() -> None:
    assert csv_of(["a", "b"], [[-1.5, "@x"], [Decimal("-2.00"), 'say "x", y']]) == (
        'a,b\r\n-1.5,\'@x\r\n-2.00,"say ""x"", y"\r\n'
    )


def test_the_page_says_what_json_says_and_runs_nothing(api: Api) -> None:
    tenant = a_tenant(api, job_name=NASTY)
    invoice = a_month(api, tenant)
    answer = tenant.client.get(f"/v1/invoices/{invoice.id}", headers={"Accept": "text/html"})
    page = answer.text
    for text in ("INV-2026-0001", "January 2026", "10,004.9", "$3.60", "$10.00", "-$2.00", "$8.00", "acme"):
        assert text in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http://evil", "").replace("http-equiv", "")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_pdf_can_be_opened_whatever_the_names(api: Api, tmp_path: Path) -> None:
    name = "Ølsen & Søn, 東京 Škoda مرحبا 🚀"
    tenant = a_tenant(api, name, job_name=name)
    invoice = a_month(api, tenant)
    answer = tenant.client.get(f"/v1/invoices/{invoice.id}", params={"format": "pdf"})
    assert answer.content.startswith(b"%PDF-")
    assert answer.headers["content-disposition"] == 'inline; filename="INV-2026-0001.pdf"'
    again = tenant.client.get(f"/v1/invoices/{invoice.id}", params={"format": "pdf"})
    assert again.content == answer.content
    with api.database.transaction() as tx:
        doc = document(invoice, store.lines(tx, invoice.id), [], InvoiceSettings(_env_file=None))
    assert pdf(doc, fonts=tmp_path).startswith(b"%PDF-")


def test_a_credit_note_over_http(api: Api) -> None:
    tenant, operator = a_tenant(api), api.operator()
    invoice = a_month(api, tenant)
    path = f"/v1/invoices/{invoice.id}/credit-notes"
    body = {"reason": "The node was slow", "lines": [{"line": 1, "gpu_seconds": "5002.45"}]}
    first = operator.post(path, json=body, headers={"Idempotency-Key": "k1"})
    assert first.status_code == 201
    note = first.json()
    assert (note["number"], note["total"], note["off_due"], note["to_wallet"]) == (
        "CN-2026-0001",
        "5.00",
        "5.00",
        "0.00",
    )
    (line,) = note["lines"]
    assert (line["amount_before"], line["amount_after"], line["difference"]) == ("10.00", "5.00", "-5.00")
    assert operator.post(path, json=body, headers={"Idempotency-Key": "k1"}).json() == note
    other = operator.post(path, json={**body, "reason": "x"}, headers={"Idempotency-Key": "k1"})
    assert_problem(other, 409, "idempotency-conflict")
    for wrong in (
        {"reason": "x", "lines": []},
        {"reason": "x", "lines": [{"line": 1}]},
        {"reason": "x", "lines": [{"line": 1, "amount": "1", "gpu_seconds": "1"}]},
        {"reason": "x", "lines": [{"line": 1, "amount": "1"}, {"line": 1, "amount": "2"}]},
        {"reason": "x", "lines": [{"line": 1, "amount": "-1"}]},
        {"reason": "x", "lines": [{"line": 1, "amount": "0.001"}]},
        {"reason": "x", "lines": [{"line": 1, "amount": "1000"}]},
        {"reason": "x", "lines": [{"line": 2, "amount": "0"}]},
    ):
        assert_problem(operator.post(path, json=wrong), 422, "invalid-request")
    seen = tenant.client.get(f"/v1/invoices/{invoice.id}").json()
    assert (seen["total"], seen["credited"], seen["outstanding"]) == ("8.00", "5.00", "3.00")
    assert [each["number"] for each in seen["credit_notes"]] == ["CN-2026-0001"]
    page = tenant.client.get(f"/v1/invoices/{invoice.id}", params={"format": "html"}).text
    for text in ("CN-2026-0001", "The node was slow", "10,004.9 s, $10.00", "5,002.45 s, $5.00", "Left to pay"):
        assert text in page


def test_open_void_and_write_off_over_http(api: Api) -> None:
    tenant, operator = a_tenant(api), api.operator()
    made = a_month(api, tenant, open_it=False)
    path = f"/v1/invoices/{made.id}"
    assert_problem(operator.post(f"{path}/void", json={"reason": "x"}), 409, "illegal-move")
    opened_ = operator.post(f"{path}/open").raise_for_status().json()
    assert (opened_["state"], opened_["number"]) == ("open", "INV-2026-0001")
    assert operator.post(f"{path}/open").json() == opened_
    assert_problem(operator.post(f"{path}/void", json={}), 422, "invalid-request")
    assert operator.post(f"{path}/void", json={"reason": "test"}).json()["state"] == "void"
    assert_problem(operator.post(f"{path}/open"), 409, "illegal-move")
    assert_problem(operator.post("/v1/invoices/inv_none/open"), 404, "not-found")
    second = a_month(api, tenant, month=2)
    lost = operator.post(f"/v1/invoices/{second.id}/uncollectible", json={"reason": "bankrupt"}).json()
    assert (lost["state"], lost["outstanding"]) == ("uncollectible", "8.00")


def test_a_transfer_is_entered_over_http_and_by_command(api: Api, scalar) -> None:
    tenant, operator = a_tenant(api), api.operator()
    invoice = a_month(api, tenant)
    path = f"/v1/invoices/{invoice.id}/payments"
    body = {"amount": "3.00", "note": "Wire 17"}
    for client in (operator, operator):
        answer = client.post(path, json=body, headers={"Idempotency-Key": "wire-17"})
        assert (answer.status_code, answer.json()["state"], answer.json()["outstanding"]) == (201, "open", "5.00")
    other = operator.post(path, json={"amount": "4.00"}, headers={"Idempotency-Key": "wire-17"})
    assert_problem(other, 409, "idempotency-conflict")
    assert_problem(operator.post(path, json={"amount": "5.01"}), 409, "conflict")
    assert_problem(operator.post("/v1/invoices/inv_none/payments", json=body), 404, "not-found")
    assert_problem(tenant.client.post(path, json=body), 403, "forbidden")
    for wrong in ({}, {"amount": "0"}, {"amount": "1.001"}, {"amount": "-1"}):
        assert_problem(operator.post(path, json=wrong), 422, "invalid-request")
    done = scalar("invoices", "paid", str(invoice.number), "5", "--note", "The rest")
    assert (done.returncode, done.stdout) == (0, "INV-2026-0001 is paid: $0.00 left to pay.\n")
    seen = tenant.client.get(path).raise_for_status().json()
    assert [(each["amount"], each["note"]) for each in seen["transfers"]] == [("3.00", "Wire 17"), ("5.00", "The rest")]


def test_a_month_is_closed_and_reopened_over_http(api: Api) -> None:
    tenant, operator = a_tenant(api), api.operator()
    made = a_month(api, tenant, open_it=False)
    refused = assert_problem(operator.post("/v1/periods/2026-01/close"), 409, "conflict")
    assert refused["reasons"] == ["1 draft(s) are left"]
    operator.post(f"/v1/invoices/{made.id}/open").raise_for_status()
    closed = operator.post("/v1/periods/2026-01/close").raise_for_status().json()
    assert (closed["month"], closed["revenue"], closed["invoiced"], closed["unpaid"]) == (
        "2026-01",
        "10.004900",
        "8.00",
        "8.00",
    )
    assert closed["closed_by"].startswith("operator:")
    assert operator.get("/v1/periods").json()["data"][-1] == closed
    assert_problem(operator.post("/v1/periods/2026-13/close"), 422, "invalid-request")
    assert_problem(operator.post("/v1/periods/2026-01/reopen", json={}), 422, "invalid-request")
    again = operator.post("/v1/periods/2026-01/reopen", json={"reason": "late"}).json()
    assert again["closed_at"] is None
    assert_problem(operator.post("/v1/periods/2026-01/reopen", json={"reason": "late"}), 404, "not-found")
    with api.database.transaction() as tx:
        assert [deed.action for deed in trail(tx, "2026-01")] == ["period.close", "period.reopen"]


def test_balances_are_added_up_anew_over_http_and_by_command(api: Api, scalar) -> None:
    tenant, operator = a_tenant(api), api.operator()
    a_month(api, tenant)
    with api.database.transaction() as tx:
        tx.execute("update ledger_balances set amount = 0 where account = 'revenue'")
    assert_problem(tenant.client.post("/v1/balances/rebuild"), 403, "forbidden")
    changed = operator.post("/v1/balances/rebuild").raise_for_status().json()["changed"]
    assert changed == [{"account": "revenue", "was": "0.000000", "now": "-10.004900"}]
    done = scalar("periods", "rebuild-balances")
    assert (done.returncode, done.stdout) == (0, "Every balance was what its entries add up to.\n")
    with api.database.transaction() as tx:
        assert [deed.details for deed in trail(tx, "ledger")] == [
            {"changed": {"revenue": {"is": -10_004_900, "was": 0}}},
            {"changed": {}},
        ]


def test_tax_rates_are_entered_once(api: Api) -> None:
    operator = api.operator()
    rate = {"country": "US", "region": "TX", "name": "Sales tax", "percent": "8.25", "effective_from": "2026-01-01"}
    assert operator.post("/v1/tax-rates", json=rate).status_code == 201
    assert_problem(operator.post("/v1/tax-rates", json=rate), 409, "conflict")
    assert [each["percent"] for each in operator.get("/v1/tax-rates").json()["data"]] == ["8.2500"]
    assert_problem(operator.post("/v1/tax-rates", json={**rate, "country": "usa"}), 422, "invalid-request")


def test_usage_is_grouped_as_it_is_asked_for(api: Api) -> None:
    tenant = a_tenant(api)
    a_month(api, tenant)
    january = {"start": "2026-01-01", "end": "2026-01-31"}
    body = tenant.client.get("/v1/usage", params=january).raise_for_status().json()
    assert (body["gpu_seconds"], body["amount"]) == ("10004.900000", "8.004900")
    assert [(row["day"], row["usage"], row["credits"]) for row in body["data"]] == [
        ("2026-01-05", "10.004900", "0.000000"),
        ("2026-01-06", "0.000000", "-2.000000"),
    ]
    assert {(row["job_id"], row["job_name"], row["gpu_type"]) for row in body["data"]} == {
        (tenant.job, "train", "H100")
    }
    (row,) = tenant.client.get("/v1/usage", params={**january, "by": "tier"}).json()["data"]
    assert (row["tier"], row["job_id"], row["amount"]) == ("fast", None, "8.004900")
    (key,) = tenant.client.get("/v1/usage", params={**january, "by": ["key", "project"]}).json()["data"]
    assert key["key_id"].startswith("key_")
    day = tenant.client.get("/v1/usage", params={"start": "2026-01-05", "end": "2026-01-05"}).json()
    assert day["amount"] == "10.004900"
    for wrong in ({"start": "2026-02-01", "end": "2026-01-01"}, {"start": "2020-01-01"}, {"by": "colour"}):
        assert_problem(tenant.client.get("/v1/usage", params=wrong), 422, "invalid-request")


def test_usage_as_csv(api: Api) -> None:
    tenant = a_tenant(api)
    a_month(api, tenant)
    query = {"start": "2026-01-01", "end": "2026-01-31"}
    answer = tenant.client.get("/v1/usage", params=query, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-disposition"] == 'attachment; filename="usage-2026-01-01-2026-01-31.csv"'
    assert [(row["day"], row["amount"]) for row in rows] == [("2026-01-05", "10.004900"), ("2026-01-06", "-2.000000")]


def test_the_same_invoice_is_the_same_page(api: Api) -> None:
    tenant = a_tenant(api)
    invoice = a_month(api, tenant)
    with api.database.transaction() as tx:
        crediting.credit(tx, invoice.id, [Correction(position=1, cents=500)], reason="Slow", actor="test", now=at(2, 5))
        lines, notes = store.lines(tx, invoice.id), crediting.notes_of(tx, invoice.id)
        found = store.invoice(tx, invoice.id)
    settings = InvoiceSettings(_env_file=None, issuer_name="Scalar GmbH", issuer_lines=["1 Main St", "VAT DE1"])
    first, second = (document(found, lines, notes, settings) for _ in range(2))
    assert (html(first), pdf(first)) == (html(second), pdf(second))
    assert first.printed_for == at(2, 5)
    assert "VAT DE1" in html(first)


@pytest.fixture
def scalar(api: Api) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command, with an operator's key."""
    key = api.operator().headers["authorization"].removeprefix("Bearer ")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCALAR_")}
        return subprocess.run(
            [SCALAR, *arguments],
            env={**inherited, "SCALAR_API_URL": api.url, "SCALAR_API_KEY": key, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_the_command_line(scalar, api: Api, tmp_path: Path) -> None:
    tenant = a_tenant(api)
    made = a_month(api, tenant, open_it=False)
    assert "draft" in scalar("invoices").stdout
    assert "INV-2026-0001 is open: $8.00 due." in scalar("invoices", "open", made.id).stdout
    shown = scalar("invoices", "show", "INV-2026-0001").stdout
    assert "train: H100, fast" in shown
    assert "$8.00 by 20" in shown
    page = tmp_path / "page.pdf"
    assert scalar("invoices", "show", "INV-2026-0001", "--format", "pdf", "-o", str(page)).returncode == 0
    assert page.read_bytes().startswith(b"%PDF-")
    noted = scalar("invoices", "credit", "INV-2026-0001", "--reason", "Slow", "--line", "1=5.00")
    assert "$5.00 given back: $5.00 off what was due, $0.00 to the wallet." in noted.stdout
    assert scalar("invoices", "credit", "INV-2026-0001", "--reason", "x", "--line", "what").returncode == 2
    used = scalar("usage", "--start", "2026-01-01", "--end", "2026-01-31", "--by", "tier")
    assert "2.78 GPU-hours, $8.0049" in used.stdout
    as_json = json.loads(scalar("usage", "--start", "2026-01-01", "--end", "2026-01-31", "--json").stdout)
    assert as_json["amount"] == "8.004900"
    table = scalar("usage", "--start", "2026-01-01", "--end", "2026-01-31", "--csv").stdout
    assert table.startswith("organisation_id,day,job_id")
    assert "2026-01 is closed." in scalar("periods", "close", "2026-01").stdout
    assert "closed by operator:" in scalar("periods").stdout
    assert "is open again" in scalar("periods", "reopen", "2026-01", "--reason", "late").stdout
    refused = scalar("invoices", "void", "INV-2026-0001", "--reason", "test")
    assert (refused.returncode, "credit note" in refused.stderr) == (3, True)
