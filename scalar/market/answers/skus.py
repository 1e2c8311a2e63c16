"""Kinds of machines, what is known of them, and how many can be bought when."""

from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field

from scalar.market.answers.fields import Answer, Moment, Schedule


def _value(held: object) -> Any:
    """Of `{"value": ..., "display_value": ...}`, what it is."""
    if isinstance(held, dict):
        if held.get("value") is None:
            raise ValueError("is a property without a value")
        return held["value"]
    return held


Text = Annotated[str | None, BeforeValidator(_value)]
Number = Annotated[int | None, BeforeValidator(_value)]
Flag = Annotated[bool | None, BeforeValidator(_value)]


class Sku(Answer):
    """A kind of machine. None: the market doesn't say."""

    id: str
    alias: str
    """For people: it may change."""
    region: Text = None
    availability_zone: Text = None
    accelerator: Text = None
    form_factor: Text = None
    rdma_type: Text = None
    num_accelerators: Number = None
    num_vcpus: Number = None
    memory_bytes: Number = Field(default=None, validation_alias="memory")
    local_storage_bytes: Number = Field(default=None, validation_alias="local_storage")
    supports_public_ipv4: Flag = None

    @property
    def properties(self) -> dict[str, str | int | bool]:
        """All that the market says of it, by the market's names, as requirements use them."""
        told = self.model_dump(exclude={"id", "alias", "memory_bytes", "local_storage_bytes"})
        told |= {"memory": self.memory_bytes, "local_storage": self.local_storage_bytes}
        return {name: value for name, value in told.items() if value is not None}


class Availability(Answer):
    sku: str = Field(validation_alias=AliasPath("instance_sku", "id"))
    schedule: Schedule
    """Nodes that can be bought."""


class _PropertyKey(Answer):
    name: str
    display_name: str


class _PropertyValue(Answer):
    name: str
    display_name: str
    deprecated_at: Moment | None = None


class PropertyDefinition(Answer):
    """A property that requirements may name, and its values."""

    key: _PropertyKey
    values: tuple[_PropertyValue, ...]
