"""Who is asking."""

from dataclasses import dataclass
from datetime import datetime

from scalar.accounts.keys import Role


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The bearer of an API key."""

    key_id: str
    prefix: str
    role: Role
    organisation_id: str | None
    node_id: str | None

    @property
    def actor(self) -> str:
        """How the audit log names it."""
        return f"{self.role}:{self.node_id or self.prefix}"


@dataclass(frozen=True, kw_only=True)
class Organisation:
    id: str
    name: str
    max_gpus: int | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What may be shown of a key after it was made."""

    id: str
    prefix: str
    role: Role
    name: str
    organisation_id: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
