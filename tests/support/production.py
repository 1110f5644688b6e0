"""Settings as production has them, over plain HTTP on this machine."""

import base64
from typing import Any

from app.settings import Settings
from tests.support.configured import configured

PUBLIC, FRONTEND = "https://api.partner.co.in", "https://app.partner.co.in"


def production(database_url: str, broker_url: str, **changed: Any) -> Settings:
    """Return production settings for a broker on loopback; `changed` names fields."""
    given: dict[str, Any] = {
        "app_env": "production",
        "frontend_origins": FRONTEND,
        "default_return_url": f"{FRONTEND}/home",
        "broker_app_code": "QX7PLM",
        "broker_api_secret": "gR8vKq2ZtW5n",
        "encryption_keys": f"k1:{base64.b64encode(bytes(range(100, 132))).decode()}",
        "allow_http_broker_on_loopback": True,
    }
    return configured(database_url, broker_url, PUBLIC, **(given | changed))
