"""Personal data whole, where the operator has decided so: to whom it belongs, and to nobody else."""

import asyncpg
import pytest

from tests.support.configured import configured
from tests.support.investor import Browser, signed_in, slug
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker

WHOLE = {
    "email": "asha.investor@mail.example",
    "mobile": "9876543210",
    "pan": "ABCPM1234K",
    "depositoryAccounts": ["1208870012345678"],
}


@pytest.fixture
def unmasked(service: Service, broker: SimulatedBroker) -> dict[str, str]:
    return {
        "database_url": service.settings.database_url.get_secret_value(),
        "broker_url": broker.url,
        "profile_unmasked": "true",
        "read_reuse_seconds": "60",
    }


async def test_a_profile_is_whole_where_the_operator_has_switched_it_on(
    unmasked: dict[str, str], broker: SimulatedBroker, service: Service
) -> None:
    async with serving(configured(**unmasked)) as replica, signed_in(replica, broker) as asha:
        first = await asha.get("/v1/profile")
        again = await asha.get("/v1/profile")
        async with signed_in(service, broker) as elsewhere:
            masked = (await elsewhere.get("/v1/profile")).json()
    assert first.json() == again.json()
    assert first.headers["cache-control"] == "no-store"
    assert {name: first.json()[name] for name in WHOLE} == WHOLE
    assert first.json() == masked | WHOLE
    assert masked["pan"] == "******4K"


async def test_a_whole_profile_is_kept_nowhere(
    unmasked: dict[str, str], broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    async with serving(configured(**unmasked)) as replica, signed_in(replica, broker) as asha:
        assert (await asha.get("/v1/profile")).json()["pan"] == WHOLE["pan"]
        kept = await rows.fetchval("SELECT string_agg(users::text, ' ') FROM users")
    assert "Asha Menon" in kept
    assert [each for each in (WHOLE["email"], WHOLE["mobile"], WHOLE["pan"]) if str(each) in kept] == []


async def test_a_whole_profile_is_shown_to_nobody_else(unmasked: dict[str, str], broker: SimulatedBroker) -> None:
    async with serving(configured(**unmasked)) as replica:
        async with Browser(replica) as nobody:
            assert slug(await nobody.get("/v1/profile")) == "not-signed-in"
        async with signed_in(replica, broker), signed_in(replica, broker, "FO5678") as other:
            assert (await other.get("/v1/profile")).json()["id"] == "FO5678"


@pytest.mark.parametrize("said", ["false", "0", ""])
async def test_a_profile_is_masked_unless_it_is_switched_on(
    unmasked: dict[str, str], broker: SimulatedBroker, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("PROFILE_UNMASKED", said)
    from_the_environment = configured(**{name: value for name, value in unmasked.items() if name != "profile_unmasked"})
    async with serving(from_the_environment) as replica, signed_in(replica, broker) as asha:
        assert (await asha.get("/v1/profile")).json()["pan"] == "******4K"
