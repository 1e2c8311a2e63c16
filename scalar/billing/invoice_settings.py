"""How invoices are made, from the environment (`SCALAR_BILLING_*`) and `.env`."""

from datetime import date, datetime, timedelta
from functools import cache

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from scalar.billing.months import end_of


class InvoiceSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SCALAR_BILLING_", env_file=".env", extra="ignore", frozen=True)

    invoice_after_days: int = Field(
        default=2, ge=0, le=60, description="Invoices of a month are opened so many days after it, late usage and all."
    )
    due_days: int = Field(default=14, ge=0, le=365, description="An invoice is due so many days after it was opened.")
    issuer_name: str = Field(default="Scalar", description="Who an invoice is from.")
    issuer_lines: list[str] = Field(
        default_factory=list, description='Its address and tax number, line by line: ["1 Main St", "VAT DE1234"].'
    )

    def opens_at(self, month: date) -> datetime:
        """When a month's invoices are opened without being asked to."""
        return end_of(month) + timedelta(days=self.invoice_after_days)

    @property
    def due_in(self) -> timedelta:
        return timedelta(days=self.due_days)


@cache
def invoice_settings() -> InvoiceSettings:
    """The settings of this process, read once."""
    return InvoiceSettings()
