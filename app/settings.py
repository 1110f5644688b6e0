"""Everything that can be configured, read once from the environment and refused in one sentence when it is wrong."""

import re
from collections.abc import Iterator
from datetime import time, timedelta
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from app.limits import CONTRACT, ORDERS_PER_SECOND_PER_EXCHANGE, Category, Window
from app.settings_capacity import Capacity, Duration
from app.settings_egress import Egress
from app.settings_encryption import unencrypted
from app.settings_parsing import (
    EncryptionKey,
    app_limits,
    comma_list,
    encryption_keys,
    is_no_random_key,
    is_placeholder,
    json_object,
    kept_for_days,
    kept_for_hours,
    libpq_url,
    redis_url,
    reuse_times,
    user_limits,
)
from app.settings_sources import SecretFiles, SwitchedOff
from app.urls import is_loopback, is_same_site, origin_of, web_url

_LONGEST = timedelta(days=365)
_SHORTEST_GUARD, _LONGEST_GUARD = timedelta(milliseconds=50), timedelta(seconds=10)
_SLASHES_OF_AN_ORIGIN = 2
_FIELDS_OF_AN_ORDER = frozenset(
    "exchange tradingsymbol token qty price product transtype pricetype ordertype ret source triggerprice disclosedqty "
    "mktprotection target stoploss trailingprice orderno".split()
)

WebUrl = Annotated[str, BeforeValidator(web_url)]
CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(comma_list)]
WindowsOf = dict[Category, tuple[Window, ...]]
ReuseTime = Annotated[float, Field(ge=0, le=60)]
KeptForHours = Annotated[Duration, AfterValidator(kept_for_hours)]
KeptForDays = Annotated[Duration, AfterValidator(kept_for_days)]

EXCHANGE_PATHS = (
    "am/sso/vendor/auth/getUserDetails",  # introduction.md, "Implementation of SSO", step 5
    "am/sso/vendor/getUserDetails",  # newer live pages and the older SDK
    "open-api/order/v1/vendor/getUserDetails",  # SDK of 2025
)
"""Where an auth code is exchanged, in the order in which we try (docs/broker.md, "Exchange")."""


class Settings(Capacity, Egress, BaseSettings):
    """The service's settings; each field is the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True)

    app_env: Literal["production", "development"] = "production"
    database_url: SecretStr
    database_direct_url: SecretStr | None = None
    public_base_url: WebUrl
    frontend_origins: CommaList
    default_return_url: WebUrl
    broker_base_url: WebUrl = "https://web.gopocket.in/"
    broker_login_url: str | None = None
    broker_app_code: str = Field(min_length=1)
    broker_api_secret: SecretStr = Field(min_length=1)
    broker_exchange_paths: CommaList = EXCHANGE_PATHS
    broker_paths: Annotated[dict[str, str | list[str]], NoDecode, BeforeValidator(json_object)] = Field(
        default_factory=dict
    )
    encryption_keys: Annotated[tuple[EncryptionKey, ...], NoDecode, BeforeValidator(encryption_keys)]
    session_idle_timeout: Duration = timedelta(minutes=30)
    session_absolute_timeout: Duration = timedelta(hours=24)
    broker_session_cutoffs: Annotated[tuple[time, ...], NoDecode, BeforeValidator(comma_list)] = (time(0), time(6))
    rate_limit_url: SecretStr | None = None
    rate_limits_user: Annotated[WindowsOf, NoDecode, BeforeValidator(user_limits)] = Field(
        default_factory=lambda: dict(CONTRACT)
    )
    rate_limits_app: Annotated[WindowsOf, NoDecode, BeforeValidator(app_limits)] = Field(default_factory=dict)
    orders_per_second_per_exchange: Annotated[int, Field(ge=0)] = ORDERS_PER_SECOND_PER_EXCHANGE
    cancel_reserve: Annotated[Decimal, Field(ge=0, le=Decimal("0.5"))] = Decimal("0.1")
    rate_limit_guard: Duration = timedelta(milliseconds=250)
    rate_limit_store_down: Literal["reads-fail", "reads-pass"] = "reads-fail"
    read_reuse_seconds: Annotated[dict[str, ReuseTime], NoDecode, BeforeValidator(reuse_times)] = Field(
        default_factory=lambda: {"": 1.0}
    )
    sign_in_limit_per_address: Annotated[int, Field(ge=1)] = 60
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(comma_list)] = ()
    allow_http_broker_on_loopback: bool = False
    broker_connect_timeout: Duration = timedelta(seconds=2)
    broker_read_deadline: Duration = timedelta(seconds=8)
    broker_order_deadline: Duration = timedelta(seconds=12)
    order_correlation_field: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,31}$|^$")] = "remarks"
    market_orders: Literal["allow", "refuse"] = "allow"
    market_protection: Annotated[Decimal, Field(gt=0, le=100)] | None = None
    allow_mcx: bool = False
    order_quantity_cap: Annotated[int, Field(gt=0)] | None = None
    order_value_cap: Annotated[Decimal, Field(gt=0)] | None = None
    orders_per_day_cap: Annotated[int, Field(gt=0)] | None = None
    profile_unmasked: bool = False
    retention_sessions: KeptForHours = timedelta(days=30)
    retention_spent_codes: KeptForHours = timedelta(days=1)
    retention_placements: KeptForDays = timedelta(days=1827)
    retention_order_events: KeptForDays = timedelta(days=90)
    order_webhooks: bool = True
    order_poll_interval: Duration = timedelta(seconds=10)
    order_stream_life: Duration = timedelta(minutes=10)
    order_stream_heartbeat: Duration = timedelta(seconds=15)
    order_streams_per_process: Annotated[int, Field(ge=1)] = 5000
    docs_enabled: bool = False
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9464
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Believe arguments first, then the environment, then secret files, then `.env`."""
        files = SecretFiles(settings_cls, dotenv_settings)
        return init_settings, env_settings, files, dotenv_settings, SwitchedOff(settings_cls)

    @field_validator("database_url", "database_direct_url", mode="after")
    @classmethod
    def _to_libpq(cls, url: SecretStr | None) -> SecretStr | None:
        return SecretStr(libpq_url(url.get_secret_value())) if url else None

    @field_validator("rate_limit_url", mode="after")
    @classmethod
    def _to_redis(cls, url: SecretStr | None) -> SecretStr | None:
        return SecretStr(redis_url(url.get_secret_value())) if url else None

    @field_validator("rate_limit_guard", mode="after")
    @classmethod
    def _as_guard(cls, length: timedelta) -> timedelta:
        if not _SHORTEST_GUARD <= length <= _LONGEST_GUARD:
            raise ValueError("must be between 0.05 and 10 seconds")
        return length

    @field_validator("public_base_url", mode="after")
    @classmethod
    def _without_slash(cls, url: str) -> str:
        if "?" in url or "#" in url:
            raise ValueError("is a base to which paths are added: no query and no fragment")
        return url.rstrip("/")

    @field_validator("broker_login_url", mode="after")
    @classmethod
    def _as_template(cls, template: str | None) -> str | None:
        if template is not None:
            web_url(template.replace("{app_code}", "code"))
        return template

    @field_validator("order_correlation_field", mode="after")
    @classmethod
    def _not_an_orders_own(cls, name: str) -> str:
        if name.lower() in _FIELDS_OF_AN_ORDER:
            raise ValueError(f"{name} is what an order itself is made of")
        return name

    @field_validator("broker_base_url", mode="after")
    @classmethod
    def _with_slash(cls, url: str) -> str:
        return url.rstrip("/") + "/"

    @field_validator("frontend_origins", mode="after")
    @classmethod
    def _as_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not origins:
            raise ValueError("at least one origin is needed")
        if strange := [given for given in origins if web_url(given).rstrip("/").count("/") > _SLASHES_OF_AN_ORIGIN]:
            raise ValueError(f"{strange[0]} is no origin: scheme, host and port, nothing behind")
        return tuple(origin_of(origin) for origin in origins)

    @field_validator(
        "session_idle_timeout",
        "session_absolute_timeout",
        "broker_connect_timeout",
        "broker_read_deadline",
        "broker_order_deadline",
        "order_poll_interval",
        "order_stream_life",
        "order_stream_heartbeat",
    )
    @classmethod
    def _positive(cls, length: timedelta) -> timedelta:
        if length <= timedelta(0):
            raise ValueError("must be longer than nothing")
        if length > _LONGEST:
            raise ValueError(f"must be at most {_LONGEST.days} days")
        return length

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.is_production and (refusals := list(_refusals_in_production(self))):
            raise ValueError("; ".join(refusals))
        strangers = [o for o in self.frontend_origins if not is_same_site(o, self.public_base_url)]
        if strangers:
            raise ValueError(
                f"FRONTEND_ORIGINS: {', '.join(strangers)} is another site than PUBLIC_BASE_URL; "
                "browsers would not send our Lax cookies"
            )
        if origin_of(self.default_return_url) not in self.frontend_origins:
            raise ValueError("DEFAULT_RETURN_URL must be within FRONTEND_ORIGINS")
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment, and `.env` in the present folder for what is not in it."""
        return cls(_env_file=".env")

    @property
    def is_production(self) -> bool:
        return self.app_env == "production"

    @property
    def are_docs_served(self) -> bool:
        return self.docs_enabled or not self.is_production

    @property
    def direct_database_url(self) -> SecretStr:
        """Where the database is reached past a pooler, for locks."""
        return self.database_direct_url or self.database_url

    @property
    def login_url(self) -> str:
        """The broker's page at which a login begins, with our app code in it."""
        template = self.broker_login_url or f"{self.broker_base_url}?appcode={{app_code}}"
        return template.replace("{app_code}", quote(self.broker_app_code, safe=""))

    @property
    def sign_in_url(self) -> str:
        """Where a browser begins a sign-in here; every problem that asks for one names it."""
        return f"{self.public_base_url}/sso/login"

    @property
    def own_origin(self) -> str:
        return origin_of(self.public_base_url)

    @property
    def known_origins(self) -> frozenset[str]:
        """Our own origin and those of our frontends."""
        return frozenset({self.own_origin, *self.frontend_origins})

    @property
    def sign_in_targets(self) -> tuple[str, ...]:
        """Where the form of a sign-in may lead, for a content security policy; the broker may redirect to any host."""
        return self.own_origin, *sorted(self.broker_origins), "https:"

    @property
    def broker_origins(self) -> frozenset[str]:
        return frozenset({origin_of(self.broker_base_url), origin_of(self.login_url)})


_DEMO_APP_CODES = {"DEMOAPP", "APPCODE", "CHANGEME", "CHANGE-ME"}


def _refusals_in_production(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each thing that may be lived with on a laptop but not where real money is."""
    if is_placeholder(settings.broker_api_secret.get_secret_value()):
        yield "BROKER_API_SECRET is a placeholder"
    if settings.broker_app_code.upper() in _DEMO_APP_CODES:
        yield "BROKER_APP_CODE is a placeholder"
    if re.search(r":(change|replace).?me@", settings.database_url.get_secret_value(), re.IGNORECASE):
        yield "DATABASE_URL has a placeholder for a password"
    yield from unencrypted(settings.database_url, settings.database_direct_url, settings.rate_limit_url)
    for key in settings.encryption_keys:
        if is_no_random_key(key.secret.get_secret_value()):
            yield f"ENCRYPTION_KEYS: key {key.id} is not random"
    ours = [("PUBLIC_BASE_URL", settings.public_base_url), ("DEFAULT_RETURN_URL", settings.default_return_url)]
    ours += [("FRONTEND_ORIGINS", origin) for origin in settings.frontend_origins]
    yield from (f"{name} must be https, not {origin_of(url)}" for name, url in ours if not url.startswith("https://"))
    brokers = [("BROKER_BASE_URL", settings.broker_base_url)]
    brokers += [("BROKER_LOGIN_URL", settings.login_url)] if settings.broker_login_url else []
    for name, url in brokers:
        is_excepted = settings.allow_http_broker_on_loopback and is_loopback(url)
        if not url.startswith("https://") and not is_excepted:
            yield f"{name} must be https, not {origin_of(url)}"
