"""Settings as production has them, over plain HTTP on this machine: as an object, and as a shell would give them."""

import base64
from typing import Any

from app.settings import Settings
from tests.support.configured import configured
from tests.support.environment import environment

PUBLIC, FRONTEND = "https://api.partner.co.in", "https://app.partner.co.in"
APP_CODE, API_SECRET = "QX7PLM", "gR8vKq2ZtW5n"  # the simulator's own are refused as placeholders
KEYS = f"k1:{base64.b64encode(bytes(range(100, 132))).decode()}"


def production(database_url: str, broker_url: str, **changed: Any) -> Settings:
    """Return production settings for a broker on loopback; `changed` names fields."""
    given: dict[str, Any] = {
        "app_env": "production",
        "frontend_origins": FRONTEND,
        "default_return_url": f"{FRONTEND}/home",
        "broker_app_code": APP_CODE,
        "broker_api_secret": API_SECRET,
        "encryption_keys": KEYS,
        "allow_http_broker_on_loopback": True,
    }
    return configured(database_url, broker_url, PUBLIC, **(given | changed))


def production_environment(database_url: str, broker_url: str, **more: str) -> dict[str, str]:
    """Return the variables of a replica behind a proxy on this machine, with the defaults that are shipped.

    The broker's posts would go to an address of somebody else: hints are off, and polls find what happens to orders.
    """
    given = {
        "APP_ENV": "production",
        "FRONTEND_ORIGINS": FRONTEND,
        "DEFAULT_RETURN_URL": f"{FRONTEND}/home",
        "BROKER_APP_CODE": APP_CODE,
        "BROKER_API_SECRET": API_SECRET,
        "ENCRYPTION_KEYS": KEYS,
        "ALLOW_HTTP_BROKER_ON_LOOPBACK": "true",
        "TRUSTED_PROXIES": "127.0.0.0/8",
        "ORDER_WEBHOOKS": "false",
    }
    return environment(database_url, broker_url, PUBLIC, **(given | more))
