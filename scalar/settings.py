"""Settings of the control plane, from the environment (`SCALAR_*`) and `.env`. See `.env.example`."""

from functools import cache

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SCALAR_", env_file=".env", extra="ignore")

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://localhost/scalar"),
        description="Any Postgres 15 or newer; a transaction pooler will do.",
    )
    listen_url: SecretStr | None = Field(
        default=None, description="A direct connection for LISTEN, where database_url is a transaction pooler."
    )
    dagster_url: str | None = Field(
        default=None, description="Dagster's webserver, asked to start runs at once; without it the sensor starts them."
    )
    dagster_public_url: str | None = Field(default=None, description="Where people open Dagster, for links.")

    @property
    def direct_url(self) -> str:
        return (self.listen_url or self.database_url).get_secret_value()


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
