"""The kinds of hardware on sale, and how they are asked for.

Requirements map a property to the values that will do; all must hold, none is anything. In a query they are
`key[:op]:value[,value]` triples joined by `;`, as in `accelerator:H100;num_accelerators:8`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sandbox.market.refusals import invalid

GIB = 1024**3

_TITLES = {
    "region": "Where the hardware stands",
    "availability_zone": "An independent failure domain within a region",
    "accelerator": "The accelerator's model",
    "form_factor": "The accelerator's physical form",
    "rdma_type": "The network between nodes",
    "num_accelerators": "Accelerators per node",
    "num_vcpus": "Virtual CPUs per node",
    "memory": "Memory per node, in bytes",
    "local_storage": "Local storage per node, in bytes",
    "supports_public_ipv4": "Whether a node can have a public address",
}


@dataclass(frozen=True, kw_only=True)
class Sku:
    id: str
    alias: str
    region: str
    availability_zone: str
    accelerator: str
    form_factor: str
    rdma_type: str
    num_accelerators: int
    num_vcpus: int
    memory: int
    local_storage: int
    supports_public_ipv4: bool
    dollars_per_gpu_hour: float
    """The level its price returns to; not shown to anybody."""

    def properties(self) -> dict[str, str | int | bool]:
        return {key: getattr(self, key) for key in PROPERTIES}

    def satisfies(self, requirements: Mapping[str, Sequence[str]]) -> bool:
        return all(self._is_one_of(key, allowed) for key, allowed in requirements.items())

    def _is_one_of(self, key: str, allowed: Sequence[str]) -> bool:
        if key in {"id", "instance_sku"}:
            return self.id in {sku_id(value) for value in allowed}
        own = getattr(self, key) if key in PROPERTIES else None
        return not allowed or as_text(own) in {value.lower() for value in allowed}


PROPERTIES = tuple(_TITLES)

DEFAULT_SKUS = (
    Sku(
        id="isku_sea3h100",
        alias="sea-3-h100",
        region="us-west",
        availability_zone="sea-3",
        accelerator="H100",
        form_factor="sxm",
        rdma_type="infiniband",
        num_accelerators=8,
        num_vcpus=192,
        memory=1800 * GIB,
        local_storage=24_000 * GIB,
        supports_public_ipv4=False,
        dollars_per_gpu_hour=2.0,
    ),
    Sku(
        id="isku_iad12h200",
        alias="iad-12-h200",
        region="us-east",
        availability_zone="iad-12",
        accelerator="H200",
        form_factor="sxm",
        rdma_type="infiniband",
        num_accelerators=8,
        num_vcpus=192,
        memory=1800 * GIB,
        local_storage=24_000 * GIB,
        supports_public_ipv4=False,
        dollars_per_gpu_hour=2.6,
    ),
)


def sku_id(text: str) -> str:
    """The canonical form: the older prefix `clus_` is read, never written."""
    return "isku_" + text.removeprefix("clus_") if text.startswith("clus_") else text


def matching(skus: Iterable[Sku], requirements: Mapping[str, Sequence[str]]) -> list[Sku]:
    """In the order of their ids. Raises: `Refusal` for a property that nobody knows."""
    for key in requirements:
        if key not in PROPERTIES and key not in {"id", "instance_sku"}:
            raise invalid("requirements", f"{key} is not a property of instance SKUs")
    return sorted((sku for sku in skus if sku.satisfies(requirements)), key=lambda sku: sku.id)


def parsed_requirements(text: str | None) -> dict[str, list[str]]:
    """Raises: `Refusal` where a triple isn't one."""
    wanted: dict[str, list[str]] = {}
    for triple in filter(None, (text or "").split(";")):
        parts = triple.split(":")
        if len(parts) not in {2, 3} or (len(parts) == 3 and parts[1] not in {"eq", "in"}):
            raise invalid("requirements", f"{triple!r} is not key:value or key:eq:value")
        wanted.setdefault(parts[0], []).extend(filter(None, parts[-1].split(",")))
    return wanted


def catalog(skus: Iterable[Sku]) -> list[tuple[str, str, list[str]]]:
    """Each property, what it says, and the values that occur."""
    known = list(skus)
    return [
        (key, title, sorted({as_text(getattr(sku, key), fold=False) for sku in known}))
        for key, title in _TITLES.items()
    ]


def as_text(value: object, *, fold: bool = True) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.lower() if fold else text
