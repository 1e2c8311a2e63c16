"""How billing behaves, from the environment (`SCALAR_BILLING_*`) and `.env`."""

from datetime import timedelta
from functools import cache

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class BillingSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SCALAR_BILLING_", env_file=".env", extra="ignore", frozen=True)

    hold_minutes: int = Field(
        default=60, ge=1, le=30 * 1440, description="What a job without max_runtime_seconds is held for at first."
    )

    @property
    def hold(self) -> timedelta:
        return timedelta(minutes=self.hold_minutes)


@cache
def billing_settings() -> BillingSettings:
    """The settings of this process, read once."""
    return BillingSettings()
