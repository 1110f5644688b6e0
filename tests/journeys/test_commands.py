"""The console script: plain sentences, codes, and nothing started that must not start."""

import json
import socket
from pathlib import Path

import asyncpg
import pytest

from app.tables import SCHEMA_REVISION
from tests.conftest import create_clone, postgres_url
from tests.support.commands import refused, said, typed
from tests.support.environment import environment, partner

NOWHERE = "http://127.0.0.1:1/"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a developer's .env is none of ours


async def test_a_fresh_database_is_refused_migrated_and_then_left_alone(worker: str) -> None:
    given = environment(await create_clone(f"fresh_{worker}", template=None), NOWHERE)
    assert await refused("serve", "--port", "0", given=given) == (
        f"The database has no schema yet and this release needs {SCHEMA_REVISION}: run `partner migrate` first."
    )
    assert await said("migrate", given=given) == f"Migrated from nothing to {SCHEMA_REVISION}."
    assert json.loads(await said("migrate", "--json", given=given)) == {
        "before": SCHEMA_REVISION,
        "after": SCHEMA_REVISION,
    }


async def test_a_migrator_whose_host_vanishes_holds_nothing_for_hours(worker: str) -> None:
    url = await create_clone(f"vanishing_{worker}", template=None)
    hand = await asyncpg.connect(url)
    await hand.execute("""
        CREATE TABLE seen (patience text);
        CREATE FUNCTION look() RETURNS event_trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO seen VALUES (current_setting('idle_in_transaction_session_timeout')); END $$;
        CREATE EVENT TRIGGER look ON ddl_command_start EXECUTE FUNCTION look();
    """)
    await said("migrate", given=environment(url, NOWHERE))
    assert await hand.fetchval("SELECT array_agg(DISTINCT patience) FROM seen") == ["10min"]
    await hand.close()


async def test_a_database_that_is_not_there_is_said_in_one_sentence() -> None:
    given = environment("postgresql://127.0.0.1:1/none", NOWHERE)
    for command in (["migrate"], ["serve", "--port", "0"]):
        assert await refused(*command, given=given) == "The database can't be reached. Check DATABASE_URL."


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("{base}", 'The database can\'t be used: database "none" does not exist. Check DATABASE_URL.'),
        ("{other}", 'The database can\'t be used: role "nobody-here" does not exist. Check DATABASE_URL.'),
    ],
)
async def test_a_database_that_refuses_us_is_said_in_one_sentence(url: str, sentence: str) -> None:
    base = postgres_url("none")
    given = environment(url.format(base=base, other=base.replace("postgres@", "nobody-here@")), NOWHERE)
    for command in (["migrate"], ["serve", "--port", "0"]):
        assert await refused(*command, given=given) == sentence


async def test_a_role_without_rights_is_said_in_one_sentence(worker: str) -> None:
    url = await create_clone(f"rights_{worker}", template=None)
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE ROLE reader_{worker} LOGIN")
    await connection.close()
    told = await refused("migrate", given=environment(url.replace("postgres@", f"reader_{worker}@"), NOWHERE))
    assert told == "The database can't be used: permission denied for schema public. Check DATABASE_URL."


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"BROKER_API_SECRET_FILE": "/nowhere", "BROKER_API_SECRET": ""}, "BROKER_API_SECRET_FILE: /nowhere can't be"),
        ({"BROKER_PATHS": "{bad"}, "BROKER_PATHS: must be a JSON object"),
        ({"DATABASE_URL": "postgresql://u:top/secret@h/d"}, "DATABASE_URL: can't be read; in a password"),
        ({"BROKER_EXCHANGE_PATHS": "https://evil.example/x"}, "hold paths below BROKER_BASE_URL"),
        ({"PUBLIC_BASE_URL": "http://api.partner.in", "APP_ENV": "production"}, "PUBLIC_BASE_URL must be https"),
    ],
)
async def test_a_setting_that_can_not_be_used_is_named(
    database_url: str, changed: dict[str, str], sentence: str
) -> None:
    told = await refused("serve", "--port", "0", given=environment(database_url, NOWHERE) | changed)
    assert sentence in told
    assert "secret@" not in told


async def test_a_certificate_that_is_none_is_said_in_one_sentence(database_url: str, tmp_path: Path) -> None:
    garbage = tmp_path / "cert.pem"
    garbage.write_text("x")
    for path in (garbage, tmp_path / "missing"):
        told = await refused("serve", "--certificate", str(path), given=environment(database_url, NOWHERE))
        assert told.startswith("The certificate or its key can't be used: ")
        assert len(told.splitlines()) == 1


async def test_a_key_gets_only_an_id_that_the_settings_take() -> None:
    assert "letters, digits" in await refused("keys", "generate", "--id", "bad id", given={})


def test_missing_settings_are_named_and_values_are_not_shown(tmp_path: Path) -> None:
    given = environment("mysql://root:hunter2@h/d", NOWHERE)
    del given["BROKER_APP_CODE"]
    done = partner("serve", environment=given, folder=tmp_path)
    assert done.returncode == 1
    assert "BROKER_APP_CODE: Field required" in done.stderr
    assert "DATABASE_URL: must begin with postgresql://" in done.stderr
    assert "hunter2" not in done.stderr


async def test_a_ring_without_the_key_of_a_stored_token_does_not_start(worker: str) -> None:
    url = await create_clone(f"rings_{worker}")
    connection = await asyncpg.connect(url)
    await connection.execute("""
        INSERT INTO users VALUES ('AB1234', null, null, '{}', '{}', now(), now());
        INSERT INTO broker_sessions VALUES ('AB1234', gen_random_uuid(), '\\x00', 'k7', now(), now() + '1h');
    """)
    await connection.close()
    told = await refused("serve", "--port", "0", given=environment(url, NOWHERE))
    assert told == "ENCRYPTION_KEYS lacks k7, by which stored tokens are sealed."


def test_a_taken_port_is_said_in_one_sentence(database_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = partner("serve", "--port", port, environment=environment(database_url, NOWHERE))
    assert done.returncode == 1
    assert done.stderr.strip() == f"Can't listen on 127.0.0.1:{port}: Address already in use."


async def test_an_unknown_call_in_broker_paths_does_not_start(database_url: str) -> None:
    given = environment(database_url, NOWHERE, BROKER_PATHS='{"fnds": "x"}')
    assert "BROKER_PATHS: no such call: fnds" in await refused("serve", "--port", "0", given=given)


async def test_a_generated_key_is_a_key() -> None:
    line = await said("keys", "generate", "--id", "k2", given=environment("postgresql:///", NOWHERE))
    assert line.startswith("k2:")
    await said("keys", "generate", given=environment("postgresql:///", NOWHERE, ENCRYPTION_KEYS=line))
    assert json.loads(await said("keys", "generate", "--json", given={}))["id"] == "k1"


async def test_the_api_can_be_described_without_any_setting() -> None:
    assert json.loads(await said("openapi", given={}))["openapi"].startswith("3.1")


def test_the_simulator_is_another_program_with_options_of_its_own() -> None:
    assert "--redirect-url" in partner("simulator", "--help", environment={}).stdout
    refused = partner("simulator", "--port", "0", environment={"APP_ENV": "production"})
    assert refused.returncode == 2


@pytest.mark.parametrize("command", [[], ["--help"], ["serve", "--help"]])
async def test_help_explains(command: list[str]) -> None:
    assert "Usage" in (await typed(*command, given={})).output


def test_the_cluster_of_the_tests_is_not_a_developers(database_url: str) -> None:
    assert "pgtest-" in postgres_url("x")
    assert "pgtest-" in database_url
