"""Whatever a test does with the log, the next one finds it as it was."""

import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.investor import Browser
from tests.support.service import Service
from tests.support.simulated import SimulatedBroker


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
async def asha(service: Service, broker: SimulatedBroker) -> AsyncIterator[Browser]:
    """Give the browser of an investor who has signed in."""
    async with Browser(service) as browser:
        assert (await browser.sign_in(broker)).status_code == 303
        yield browser
