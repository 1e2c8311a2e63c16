"""Every answer that the market's published schema allows is one that the client reads: the barest and the fullest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scalar.market import answers
from scalar.market.answers import Listed, Page, nothing, reader

SCHEMA = Path(__file__).parents[3] / "shared" / "reference" / "sfcompute-preview-v2.openapi.json"

pytestmark = pytest.mark.skipif(not SCHEMA.is_file(), reason="the market's schema is not part of this repository")

READ = {
    ("get", "/me"): answers.Account,
    ("post", "/orders"): answers.MarketOrder,
    ("get", "/orders"): Page[answers.MarketOrder],
    ("get", "/orders/{id}"): answers.MarketOrder,
    ("post", "/order_preview"): answers.Previewed,
    ("get", "/orderbook/quote"): answers.BookQuote,
    ("get", "/orderbook/depth"): answers.BookDepth,
    ("get", "/orderbook/windows"): Page[answers.BookWindow],
    ("get", "/orderbook/fills"): Page[answers.PublicFill],
    ("get", "/workspaces"): Listed[answers.Workspace],
    ("post", "/pools"): answers.Pool,
    ("get", "/pools"): Page[answers.Pool],
    ("get", "/pools/{id}"): answers.Pool,
    ("get", "/images"): Page[answers.Image],
    ("get", "/images/{id}"): answers.Image,
    ("post", "/instances"): answers.Instance,
    ("get", "/instances"): Page[answers.Instance],
    ("patch", "/instances"): Listed[answers.Instance],
    ("get", "/instances/{id}"): answers.Instance,
    ("post", "/instances/{id}/replace"): answers.Instance,
    ("get", "/instances/{id}/ssh"): answers.SshInfo,
    ("get", "/instances/{id}/logs"): Listed[answers.LogChunk],
    ("get", "/instance_skus"): Page[answers.Sku],
    ("get", "/instance_skus/availability"): Page[answers.Availability],
    ("get", "/instance_sku_property_catalog"): Page[answers.PropertyDefinition],
    ("post", "/procurements"): answers.Procurement,
    ("get", "/procurements"): Page[answers.Procurement],
    ("get", "/procurements/{id}"): answers.Procurement,
    ("patch", "/procurements/{id}"): answers.Procurement,
}


class Examples:
    """Values that a schema allows. `full`: with every optional field; else without, and null where that may be.

    `branch`: which of several alternatives.
    """

    def __init__(self, document: dict[str, Any], *, full: bool, branch: int = 0) -> None:
        self.components = document["components"]["schemas"]
        self.full = full
        self.branch = branch
        self.seconds = 1_795_262_400

    def of(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self._named(schema["$ref"].rsplit("/", 1)[-1])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][self.branch % len(schema["enum"])]
        if "allOf" in schema:
            return {name: value for part in schema["allOf"] for name, value in self.of(part).items()}
        if "oneOf" in schema:
            return self._one(schema["oneOf"])
        return self._typed(schema)

    def _named(self, name: str) -> Any:
        match name:
            case "Schedule":
                return [{"start_at": self.seconds, "end_at": self.seconds + 3600, "node_count": 2}]
            case "UnixEpoch":
                return self.seconds
            case "DollarsPerNodeHour":
                return "12.340020"
        return self.of(self.components[name])

    def _one(self, choices: list[dict[str, Any]]) -> Any:
        real = [choice for choice in choices if choice.get("type") != "null"]
        if len(real) < len(choices) and not self.full:
            return None
        return self.of(real[self.branch % len(real)])

    def _typed(self, schema: dict[str, Any]) -> Any:
        types = schema.get("type", "object")
        kind = types if isinstance(types, str) else ("null" if not self.full else types[0])
        match kind:
            case "null":
                return None
            case "object":
                return self._object(schema)
            case "array":
                return [self.of(schema["items"])] if self.full or self.branch else []
            case "integer":
                return schema.get("example", schema.get("minimum", 3))
            case "boolean":
                return True
            case "string":
                return self._text(schema)
        raise AssertionError(kind)

    def _object(self, schema: dict[str, Any]) -> dict[str, Any]:
        required = schema.get("required", [])
        fields = schema.get("properties", {})
        made = {name: self.of(field) for name, field in fields.items() if self.full or name in required}
        more = schema.get("additionalProperties")
        return {"isku_1": self.of(more), **made} if isinstance(more, dict) and self.full else made

    def _text(self, schema: dict[str, Any]) -> str:
        if schema.get("format") == "byte":
            return "aGk="
        return str(schema.get("example") or (schema.get("examples") or ["text-1"])[0])


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text())


def answer_of(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    said = document["paths"][f"/preview/v2{path}"][method]["responses"]
    (success,) = [answer for status, answer in said.items() if status.startswith("2")]
    return success["content"]["application/json"]["schema"]


@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
@pytest.mark.parametrize(
    ("call", "kind"), READ.items(), ids=lambda value: " ".join(value) if type(value) is tuple else ""
)
def test_an_answer_of_the_schemas_is_read(
    document: dict[str, Any], call: tuple[str, str], kind: type[Any], full: bool, branch: int
) -> None:
    example = Examples(document, full=full, branch=branch).of(answer_of(document, *call))
    read = reader(kind)(json.dumps(example).encode())
    if isinstance(read, Page | Listed):
        assert len(read.data) == len(example["data"])
    elif "id" in example:
        assert read.id == example["id"]


@pytest.mark.parametrize("name", ["NotFoundError", "UnprocessableEntityError", "ConflictError", "PaymentRequiredError"])
def test_a_refusal_of_the_schemas_is_read(document: dict[str, Any], name: str) -> None:
    example = Examples(document, full=True).of({"$ref": f"#/components/schemas/{name}"})
    error = answers.refusal(422, json.dumps(example).encode())
    assert error.type == example["error"]["type"]
    assert len(error.details) == len(example["error"].get("details", []))


def test_every_path_that_the_client_asks_for_is_in_the_schema(document: dict[str, Any]) -> None:
    source = Path(answers.__file__).parents[1] / "sfcompute.py"
    asked = set(re.findall(r'f?"(/[a-z_]+[^"]*)"', source.read_text())) - {"/v1", "/balances", "/transactions"}
    known = {re.sub(r"\{\w+\}", "{}", path.removeprefix("/preview/v2")) for path in document["paths"]}
    assert len(asked) > 20
    assert {re.sub(r"\{[^}]*\}", "{}", path) for path in asked} <= known


def test_what_has_no_content_in_the_schema_is_read_as_done() -> None:
    assert nothing(b"") is None
