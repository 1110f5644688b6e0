"""Settings as a test wants them, with defaults that fit the simulator."""

import base64
from typing import Any

from app.settings import Settings

KEY = f"k1:{base64.b64encode(bytes(range(32))).decode()}"
API_SECRET = "simulator-api-secret"


def configured(database_url: str, broker_url: str, public_url: str = "http://127.0.0.1:1", **changed: Any) -> Settings:
    """Return development settings; `changed` names fields."""
    given: dict[str, Any] = {
        "app_env": "development",
        "database_url": database_url,
        "public_base_url": public_url,
        "frontend_origins": public_url,
        "default_return_url": f"{public_url}/portal/",
        "broker_base_url": broker_url,
        "broker_app_code": "DEMOAPP",
        "broker_api_secret": API_SECRET,
        "encryption_keys": KEY,
        "broker_read_deadline": "3",
        "rate_limits_user": "order=-/-/-/100000,non-trading=-/-/-/100000",  # other tests are faster than any investor
        "orders_per_second_per_exchange": "0",
        "sign_in_limit_per_address": "100000",
        "read_reuse_seconds": "0",
        "order_webhooks": False,  # who wants the broker's hints says so
        "order_poll_interval": "1",
        "broker_breaker_failures": "0",  # tests of faults break one call over and over, in one service
    }
    return Settings(**(given | changed))
