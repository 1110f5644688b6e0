"""What the service tells its log, told so that a test can read it."""

import pytest

from app.observability import configure_logging


@pytest.fixture(autouse=True)
def _told() -> None:
    configure_logging(level="INFO", log_format="json")
