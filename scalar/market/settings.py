"""How Scalar reaches the market and how far it may go there, from the environment (`SCALAR_MARKET_*`) and `.env`."""

from decimal import Decimal
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from scalar.errors import InvalidRequest
from scalar.market.guards import Caps


class MarketSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SCALAR_MARKET_", env_file=".env", extra="ignore", frozen=True)

    url: str | None = Field(default=None, description="https://api.sfcompute.com, or a sandbox; none: no market.")
    token: SecretStr | None = Field(default=None, description="The market's API token; better: token_file.")
    token_file: Path | None = Field(default=None, description="A file with the token, read anew for each request.")
    workspace: str = Field(default="default", description="The workspace at the market, by name or id.")
    pool: str = Field(default="scalar", description="The pool that everything is bought into, by name.")
    image: str = Field(default="scalar-ubuntu", description="The machine image that instances start from.")
    agent_api_url: str = Field(
        default="http://127.0.0.1:8000", description="Where the node agents of bought machines reach our API."
    )
    agent_package: str = Field(
        default="scalar-platform[agent]", description="What a bought machine installs with pip to become a node."
    )
    process_runtime: bool = Field(
        default=False, description="Take nodes that run jobs as plain processes: development only, not isolated."
    )

    dry_run: bool = Field(default=True, description="Plans are made and shown, and nothing is bought.")
    max_order: Decimal = Field(default=Decimal(1000), gt=0, description="Dollars that one order may cost.")
    max_hour: Decimal = Field(default=Decimal(2000), gt=0, description="Dollars ordered within an hour.")
    max_day: Decimal = Field(default=Decimal(10_000), gt=0, description="Dollars ordered within a day.")
    max_total: Decimal = Field(default=Decimal(100_000), gt=0, description="Dollars ordered in all.")
    approval_above: Decimal = Field(default=Decimal(500), ge=0, description="Dollars: above it an operator approves.")
    max_price: Decimal = Field(default=Decimal(40), gt=0, description="Highest limit, in dollars per node-hour.")
    max_price_ratio: Decimal = Field(default=Decimal(2), gt=0, description="Highest limit, by the usual price.")

    @property
    def caps(self) -> Caps:
        return Caps(
            per_order=self.max_order,
            per_hour=self.max_hour,
            per_day=self.max_day,
            in_all=self.max_total,
            approval_above=self.approval_above,
            highest_price=self.max_price,
            highest_price_ratio=self.max_price_ratio,
        )

    def read_token(self) -> SecretStr:
        """Raises: `InvalidRequest` where there is none."""
        if self.token_file is not None:
            try:
                return SecretStr(self.token_file.read_text().strip())
            except OSError as error:
                raise InvalidRequest(f"The market's token can't be read: {error.strerror}.") from error
        if self.token is None:
            raise InvalidRequest("Set SCALAR_MARKET_TOKEN_FILE (or SCALAR_MARKET_TOKEN) to use the market.")
        return self.token
