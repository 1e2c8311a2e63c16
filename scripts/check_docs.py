"""Holds the docs to the code: what `make check` says about README.md, CONTRIBUTING.md and docs/.

- a relative link leads to a file that is there, and to a heading that is there
- a `scalar …` command in a shell example parses: the command and each option exist
- an endpoint (`POST /v1/…`) that is named exists in the API
- a `make` target, a `SCALAR_…` setting and a path in backticks that look like ours exist
- a JSON body given to `/v1/jobs` or `/v1/orders` is one that the API would take
"""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import typer.main
from fastapi.routing import APIRoute
from pydantic import BaseModel

from node_agent.settings import Settings as AgentSettings
from scalar.billing.invoice_settings import InvoiceSettings
from scalar.billing.settings import BillingSettings
from scalar.billing.stripe_settings import DunningSettings, StripeSettings
from scalar.market.settings import MarketSettings
from scalar.planning.settings import PlanSettings
from scalar.settings import Settings
from scalar.webhooks.settings import WebhookSettings
from scalar_api.app import create_app
from scalar_api.cli import app as cli
from scalar_api.market_views import OrderBody
from scalar_api.views import JobSubmission

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ENDPOINT = re.compile(r"\b(GET|POST|PUT|DELETE) (/(?:v1|healthz|readyz|metrics)[\w/{}\-]*)")
_SETTING = re.compile(r"\b(SCALAR(?:_AGENT)?_[A-Z_]+)\b")
_OWN_SETTINGS = {
    "SCALAR_API_URL", "SCALAR_API_KEY", "SCALAR_DATA", "SCALAR_UP_DB", "SCALAR_REQUIRE_DOCKER",
    "SCALAR_REQUIRE_BROWSER", "SCALAR_PICTURES", "SCALAR_TEST_DATABASE_URL", "SCALAR_JOB_ID", "SCALAR_RUN_ID",
    "SCALAR_NODE_RANK", "SCALAR_GPU_INDICES", "SCALAR_NODES", "SCALAR_BENCH_TRIES",
}  # fmt: skip


def main() -> None:
    faults = [f"{page.relative_to(ROOT)}: {fault}" for page in PAGES for fault in faults_of(page)]
    print("\n".join(faults) or f"{len(PAGES)} pages hold")
    sys.exit(bool(faults))


def faults_of(page: Path) -> Iterator[str]:
    text = page.read_text()
    yield from _links(page, text)
    yield from _endpoints(text)
    yield from _settings(text)
    for language, block in _FENCE.findall(text):
        if language in ("sh", "console", "bash"):
            yield from _commands(block)
        if language == "json" and '"resources"' in block:
            yield from _body(block, JobSubmission)
        if language == "json" and '"side"' in block:
            yield from _body(block, OrderBody)


def _links(page: Path, text: str) -> Iterator[str]:
    for path, anchor in _LINK.findall(text):
        target = (page.parent / path) if path else page
        if not target.exists():
            yield f"the link to {path} leads nowhere"
        elif anchor and target.suffix == ".md" and anchor not in _anchors(target):
            yield f"{path or page.name} has no heading #{anchor}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _endpoints(text: str) -> Iterator[str]:
    known = {(method, re.sub(r"\{\w+\}", "{}", route.path)) for route in _routes() for method in route.methods}
    for method, path in _ENDPOINT.findall(text):
        plain = re.sub(r"\{\w+\}|/(?:job|node|run)_\w+", lambda m: "/{}" if m[0].startswith("/") else "{}", path)
        if (method, plain.rstrip("/")) not in known:
            yield f"there is no {method} {path}"


def _routes() -> list[APIRoute]:
    paths = create_app(Settings()).openapi()["paths"]
    return [
        APIRoute(path, lambda: None, methods=[method.upper() for method in methods]) for path, methods in paths.items()
    ]


def _settings(text: str) -> Iterator[str]:
    known = _OWN_SETTINGS | {
        (field.alias or f"{settings.model_config['env_prefix']}{name}").upper()
        for settings in (
            Settings,
            AgentSettings,
            MarketSettings,
            PlanSettings,
            BillingSettings,
            InvoiceSettings,
            WebhookSettings,
            StripeSettings,
            DunningSettings,
        )
        for name, field in settings.model_fields.items()
    }
    for name in sorted(set(_SETTING.findall(text))):
        if name.rstrip("_") not in known and not name.endswith("_"):
            yield f"there is no setting {name}"


def _commands(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        command = line.strip().removeprefix("$ ")
        if re.match(r"^(\.venv/bin/)?scalar\s", command):
            yield from _scalar(shlex.split(command, comments=True)[1:])
        target = re.match(r"^make ([a-z-]+)", command)
        if target and not re.search(rf"^{target[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE):
            yield f"there is no make target {target[1]}"


def _scalar(words: list[str]) -> Iterator[str]:
    words = words[: words.index("|")] if "|" in words else words
    try:
        _resolve(typer.main.get_command(cli), list(words))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the example is what is said
        yield f"`scalar {' '.join(words)}`: {getattr(error, 'message', error)}"


def _resolve(command, words: list[str]) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - click's or typer's own
    """Down to the command that the words name; its options are then parsed, and nothing is run."""
    while hasattr(command, "commands") and words != ["--help"]:
        if not words or words[0] not in command.commands:
            raise ValueError(f"there is no command {words[:1]}")
        command = command.commands[words.pop(0)]
    if words != ["--help"]:
        command.make_context(command.name, words)


def _body(block: str, kind: type[BaseModel]) -> Iterator[str]:
    try:
        kind.model_validate(json.loads(block))
    except ValueError as error:
        yield f"a body is not valid: {str(error)[:300]}"


if __name__ == "__main__":
    main()
