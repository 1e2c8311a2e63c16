"""How Scalar reaches Stripe (`SCALAR_STRIPE_*`), and how it collects (`SCALAR_BILLING_*`): from the environment."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from scalar.errors import InvalidRequest


class StripeSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SCALAR_STRIPE_", env_file=".env", extra="ignore", frozen=True)

    api_key: SecretStr | None = Field(default=None, description="A secret key, live or test; better: api_key_file.")
    api_key_file: Path | None = Field(default=None, description="A file with the secret key.")
    webhook_secret: SecretStr | None = Field(
        default=None, description="The webhook endpoint's signing secret, whsec_…; better: webhook_secret_file."
    )
    webhook_secret_file: Path | None = Field(
        default=None, description="A file with the signing secret; two lines while it is being changed."
    )
    api_base: str | None = Field(default=None, description="Where Stripe is, if it is a stand-in.")

    @property
    def configured(self) -> bool:
        """Without a key nothing is asked of Stripe, and everything else works."""
        return self.api_key is not None or self.api_key_file is not None

    def read_key(self) -> SecretStr:
        """Raises: `InvalidRequest` where there is none."""
        found = _read(self.api_key_file, "Stripe's key") if self.api_key_file else self.api_key
        if found is None:
            raise InvalidRequest("Set SCALAR_STRIPE_API_KEY_FILE (or SCALAR_STRIPE_API_KEY) to use Stripe.")
        return found

    def read_webhook_secrets(self) -> list[SecretStr]:
        """Any of them may have signed; none: webhooks are not taken. Raises: `InvalidRequest`."""
        if self.webhook_secret_file is not None:
            text = _read(self.webhook_secret_file, "Stripe's webhook secret").get_secret_value()
            return [SecretStr(line.strip()) for line in text.splitlines() if line.strip()]
        return [self.webhook_secret] if self.webhook_secret else []


class DunningSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SCALAR_BILLING_", env_file=".env", extra="ignore", frozen=True)

    dunning_days: tuple[int, ...] = Field(
        default=(1, 3, 5, 7), description="Days from each failed try to collect an invoice to the next one."
    )
    after_dunning: Literal["leave_open", "uncollectible"] = Field(
        default="leave_open", description="What becomes of an invoice when the last try has failed."
    )

    @property
    def waits(self) -> tuple[timedelta, ...]:
        return tuple(timedelta(days=days) for days in self.dunning_days)


def _read(path: Path, what: str) -> SecretStr:
    try:
        return SecretStr(path.read_text().strip())
    except OSError as error:
        raise InvalidRequest(f"{what} can't be read: {error.strerror}.") from error
