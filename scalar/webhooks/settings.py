"""How webhooks are sent, from the environment (`SCALAR_WEBHOOKS_*`) and `.env`."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class WebhookSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SCALAR_WEBHOOKS_", env_file=".env", extra="ignore", frozen=True)

    allow_private: bool = Field(
        default=False, description="Send to private and loopback addresses too, and over http: development only."
    )
    signing_key: SecretStr = Field(
        default=SecretStr(""),
        description="What endpoints' secrets are made with: without it the database alone knows them. The same for the"
        " API and Dagster.",
    )

    @property
    def key(self) -> bytes:
        return self.signing_key.get_secret_value().encode()
