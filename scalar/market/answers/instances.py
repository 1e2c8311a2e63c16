"""Machines and the images that they boot."""

from pydantic import AliasChoices, AliasPath, Field

from scalar.market.answers.fields import Answer, Base64, Count, Moment, Open, Tags


class InstanceStatus(Open):
    """awaiting_allocation ──► running ──► terminated; failed: by a fault of its hardware"""

    AWAITING_ALLOCATION = "awaiting_allocation"
    RUNNING = "running"
    """Allocated: it boots for minutes before SSH answers."""
    TERMINATED = "terminated"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """It will not run again. A status that we don't know has not ended."""
        return self in (InstanceStatus.TERMINATED, InstanceStatus.FAILED)


class Priority(Open):
    """Who loses its machine first when a pool has fewer nodes than instances."""

    YIELD = "yield"
    NORMAL = "normal"
    PREFERRED = "preferred"
    CRITICAL = "critical"


class Instance(Answer):
    id: str
    name: str
    pool_id: str = Field(validation_alias=AliasChoices(AliasPath("pool", "id"), AliasPath("capacity", "id")))
    sku: str = Field(validation_alias=AliasPath("instance_sku", "id"))
    status: InstanceStatus
    created_at: Moment
    updated_at: Moment
    image: str = Field(validation_alias=AliasPath("image", "id"))
    """The id of its image."""
    tags: Tags = Field(default_factory=dict)
    priority: Priority | None = Field(default=None, validation_alias="priority_level")
    public_ip: str | None = None


class SshHostKey(Answer):
    key_type: str
    key: str
    """Base64, as in `known_hosts`."""


class SshInfo(Answer):
    hostname: str
    port: Count
    host_keys: tuple[SshHostKey, ...]
    keys_updated_at: Moment | None = Field(default=None, validation_alias="last_successful_key_update_at")


class LogChunk(Answer):
    """A piece of a machine's console."""

    seqnum: Count
    at: Moment = Field(validation_alias="timestamp_realtime")
    """By the machine's own clock."""
    data: Base64


class ImageStatus(Open):
    """started ──► uploading ──► completed | failed; completed ◄──► revoked"""

    STARTED = "started"
    UPLOADING = "uploading"
    COMPLETED = "completed"
    FAILED = "failed"
    REVOKED = "revoked"


class Image(Answer):
    id: str
    name: str
    status: ImageStatus = Field(validation_alias="upload_status")
    workspace_id: str
    created_at: Moment
