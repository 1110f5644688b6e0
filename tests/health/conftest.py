"""What these tests look for in the log is written as the service writes it, whichever of them runs first."""

import pytest

from app.observability import configure_logging


@pytest.fixture(scope="session", autouse=True)
def logged_as_shipped() -> None:
    configure_logging(level="INFO", log_format="json")
