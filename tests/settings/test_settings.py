"""Settings: read once, refused in one sentence, and never printed."""

import base64
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.broker.paths import Call, Paths
from app.settings import Settings
from app.settings_sources import UnreadableFile
from tests.support.configured import KEY, configured

RANDOM_KEY = base64.b64encode(bytes(range(100, 132))).decode()
PRODUCTION: dict[str, Any] = {
    "app_env": "production",
    "database_url": "postgresql://partner:pw@db.internal/partner?sslmode=verify-full",
    "public_base_url": "https://api.partner.co.in",
    "frontend_origins": "https://app.partner.co.in",
    "default_return_url": "https://app.partner.co.in/home",
    "broker_base_url": "https://web.gopocket.in/",
    "broker_app_code": "QX7PLM",
    "broker_api_secret": "gR8vKq2ZtW5n",
    "encryption_keys": f"k1:{RANDOM_KEY}",
}


def refused(**changed: Any) -> str:
    with pytest.raises(ValidationError) as refusal:
        Settings(**(PRODUCTION | changed))
    assert "gR8vKq2ZtW5n" not in str(refusal.value)
    return str(refusal.value)


def test_production_settings_are_accepted() -> None:
    settings = Settings(**PRODUCTION)
    assert settings.login_url == "https://web.gopocket.in/?appcode=QX7PLM"
    assert settings.sign_in_url == "https://api.partner.co.in/sso/login"
    assert not settings.are_docs_served


@pytest.mark.parametrize(
    "changed",
    [
        {"broker_api_secret": "change-me"}, {"broker_api_secret": "simulator-api-secret"},
        *({"broker_api_secret": word} for word in ("TODO", "none", "test", "123456", "Secret")),
        {"broker_app_code": "DEMOAPP"},
        {"broker_api_secret": "<your secret>"}, {"encryption_keys": f"k1:{base64.b64encode(bytes(32)).decode()}"},
        {"encryption_keys": f"k1:{base64.b64encode(b'only-for-the-demo-on-one-laptop.').decode()}"},
        {"database_url": "postgresql://partner:change-me@db/partner"}, {"public_base_url": "http://api.partner.co.in"},
        {"frontend_origins": "http://app.partner.co.in"}, {"broker_base_url": "http://web.gopocket.in/"},
        {"broker_base_url": "http://127.0.0.1:9000/"}, {"broker_login_url": "http://web.gopocket.in/?appcode={app_code}"},
        {"default_return_url": "http://app.partner.co.in/"},
    ],
)  # fmt: skip
def test_production_refuses_what_is_for_laptops(changed: dict[str, str]) -> None:
    refused(**changed)


def test_production_takes_http_to_a_loopback_broker_only_by_name() -> None:
    loopback = {"broker_base_url": "http://127.0.0.1:9000/", "allow_http_broker_on_loopback": True}
    assert Settings(**(PRODUCTION | loopback)).broker_base_url == "http://127.0.0.1:9000/"
    refused(**(loopback | {"broker_base_url": "http://10.0.0.7/"}))


@pytest.mark.parametrize(
    ("origins", "is_one_site"),
    [("https://app.partner.co.in", True), ("https://partner.co.in:8443", True), ("https://other.co.in", False),
     ("https://co.in", False), ("https://app.partner.co.in,https://evil.example", False)],
)  # fmt: skip
def test_frontends_are_of_one_site_with_us(origins: str, is_one_site: bool) -> None:
    given = PRODUCTION | {"frontend_origins": origins, "default_return_url": origins.split(",", maxsplit=1)[0] + "/"}
    if is_one_site:
        Settings(**given)
    else:
        assert "another site" in refused(**given)


def test_the_return_url_is_within_the_frontends() -> None:
    assert "DEFAULT_RETURN_URL" in refused(default_return_url="https://elsewhere.partner.co.in/")


@pytest.mark.parametrize(
    ("written", "length"), [("90", 90), ("0.25", 0.25), ("PT30M", 1800), ("PT24H", 86400), ("P1D", 86400)]
)
def test_durations_are_seconds_or_iso_8601(written: str, length: float) -> None:
    assert configured("postgresql:///", "http://b", session_idle_timeout=written).session_idle_timeout == timedelta(
        seconds=length
    )


@pytest.mark.parametrize("written", ["", "soon", "-5", "0", "PT"])
def test_what_is_no_duration_is_refused(written: str) -> None:
    with pytest.raises(ValidationError):
        configured("postgresql:///", "http://b", session_idle_timeout=written)


@pytest.mark.parametrize(
    "written",
    ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+asyncpg://u@h/d", "postgresql+psycopg://u@h/d"],
)
def test_a_database_url_may_name_a_driver_or_none(written: str) -> None:
    settings = configured(written, "http://b")
    assert settings.database_url.get_secret_value() == "postgresql://u@h/d"
    assert settings.direct_database_url == settings.database_url


@pytest.mark.parametrize(
    "keys",
    ["", "k1", "k1:", "k1:short", f"{KEY},{KEY}", f"bad id:{RANDOM_KEY}", f"k1:{base64.b64encode(b'x' * 31).decode()}"],
)
def test_a_bad_key_ring_is_refused(keys: str) -> None:
    refused(encryption_keys=keys)


def test_two_keys_are_a_ring() -> None:
    ring = configured("postgresql:///", "http://b", encryption_keys=f"{KEY}, k2:{RANDOM_KEY}").encryption_keys
    assert [key.id for key in ring] == ["k1", "k2"]


@pytest.mark.parametrize(
    "changed",
    [{"database_url": "mysql://h/d"}, {"public_base_url": "partner.co.in"}, {"public_base_url": "https://u:p@h/"},
     {"frontend_origins": ""}, {"broker_session_cutoffs": "25:00"}, {"trusted_proxies": "nonsense"},
     {"log_level": "LOUD"}, {"app_env": "staging"}, {"public_base_url": "https://api.partner.co.in/?a=b"},
     {"frontend_origins": "https://app.partner.co.in/shop"}, {"broker_login_url": "nonsense"},
     {"broker_login_url": "https://x:99999/"}, {"broker_paths": "{bad"}, {"broker_paths": "[]"},
     {"session_absolute_timeout": "1e12"}, {"database_url": "postgresql://u@h:abc/d"},
     {"database_url": "postgresql://u:top?secret@h/d"}, {"database_url": "postgresql://u:top/secret@h/d"},
     {"database_url": "postgresql://[bad/d"}],
)  # fmt: skip
def test_nonsense_is_refused(changed: dict[str, str]) -> None:
    refused(**changed)


@pytest.mark.parametrize(
    "url",
    ["postgresql:///d?host=/run/pg", "postgresql://u:p%2Fw@[::1]:5432/d?sslmode=verify-full", "postgresql:///",
     "postgresql://u@one:5432,two:5433/d?target_session_attrs=read-write", "postgresql://u:p@db.internal/d"],
)  # fmt: skip
def test_whatever_libpq_understands_is_taken(url: str) -> None:
    assert configured(url, "http://b").database_url.get_secret_value() == url


def test_what_a_file_named_in_dotenv_holds_is_read_and_what_it_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{name.upper()}={value}" for name, value in PRODUCTION.items() if name != "broker_api_secret"]
    (tmp_path / ".env").write_text("\n".join([*lines, "BROKER_API_SECRET_FILE=secret"]))
    (tmp_path / "secret").write_text("from-a-file-7Hq")
    assert Settings.from_environment().broker_api_secret.get_secret_value() == "from-a-file-7Hq"
    (tmp_path / "secret").unlink()
    with pytest.raises(UnreadableFile, match=r"^BROKER_API_SECRET_FILE: secret can't be read as text\.$"):
        Settings.from_environment()


@pytest.mark.parametrize("paths", [[], "", "http://evil.example/x", "a/../b", ["a", "x y"]])
def test_a_path_that_would_lead_a_token_elsewhere_is_refused(paths: str | list[str]) -> None:
    for exchange, overrides in ((("a",), {"funds": paths}), (tuple([paths] if isinstance(paths, str) else paths), {})):
        with pytest.raises(ValueError, match="paths below BROKER_BASE_URL"):
            Paths(exchange, overrides)


def test_settings_come_from_the_environment_and_secrets_from_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "api-secret"
    secret.write_text("from-a-file-7Hq\n")
    for name, value in PRODUCTION.items():
        if name != "broker_api_secret":
            monkeypatch.setenv(name.upper(), str(value))
    monkeypatch.setenv("BROKER_API_SECRET_FILE", str(secret))
    monkeypatch.setenv("BROKER_SESSION_CUTOFFS", "03:00,06:30")
    monkeypatch.setenv("BROKER_PATHS", '{"funds": "x/funds"}')
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("LOG_LEVEL=WARNING\n")
    settings = Settings.from_environment()
    assert settings.broker_api_secret.get_secret_value() == "from-a-file-7Hq"
    assert settings.broker_session_cutoffs == (time(3), time(6, 30))
    assert settings.broker_paths == {"funds": "x/funds"}
    assert settings.log_level == "WARNING"


def test_a_secret_never_shows() -> None:
    shown = repr(Settings(**PRODUCTION)) + str(Settings(**PRODUCTION).model_dump())
    for secret in ("gR8vKq2ZtW5n", RANDOM_KEY, ":pw@", str(bytes(range(100, 132)))):
        assert secret not in shown


def test_single_paths_can_be_overridden_by_any_spelling_of_the_call() -> None:
    paths = Paths(("/a", "b"), {"order_book": "/mine", "Order History": ["x", "y"]})
    assert paths.exchange() == ["a", "b"]
    assert paths.of(Call.ORDER_BOOK) == ["mine"]
    assert paths.of(Call.ORDER_HISTORY) == ["x", "y"]
    assert paths.of(Call.FUNDS) == ["funds-rest/funds/limits", "funds-rest/api/funds/limits"]
    with pytest.raises(ValueError, match="no such call: nonsense"):
        Paths(("a",), {"nonsense": "x"})
