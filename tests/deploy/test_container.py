"""The ordinary way beside ./run, as far as it can be held without a container engine."""

import os
import re
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.server import longest_stop
from app.settings import Settings
from tests.support.configured import KEY
from tests.support.environment import environment

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))


def assignments(path: str) -> dict[str, str]:
    """Read an env file as docker compose does."""
    lines = (ROOT / path).read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def test_whatever_is_copied_is_there_and_not_ignored() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = {name for line in instructions("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert copied == let_in
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_installs_by_the_lock_and_runs_as_nobody() -> None:
    installs = [line for line in instructions("RUN") if " install " in line]
    assert "--require-hashes" in installs[0]
    assert "-r requirements.lock" in installs[0]
    assert "--no-deps" in installs[1]
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last_stage, re.MULTILINE)
    assert "COPY --from=build" in last_stage
    assert "HEALTHCHECK" in last_stage


def test_compose_has_two_replicas_behind_a_proxy_and_all_in_order() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"database", "migrate", "backend", "proxy", "simulator", "prometheus"}
    assert services["backend"]["deploy"]["replicas"] == 2
    assert services["proxy"]["depends_on"]["backend"]["condition"] == "service_healthy"
    assert services["backend"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["prometheus"]["profiles"] == ["metrics"]
    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert published == {
        "proxy": ["127.0.0.1:8000:8080"], "simulator": ["127.0.0.1:9000:9000"], "prometheus": ["127.0.0.1:9090:9090"],
    }  # fmt: skip


def test_every_image_of_compose_is_of_a_named_release() -> None:
    images = [each["image"] for each in COMPOSE["services"].values() if each["image"] != "gopocket-partner"]
    assert len(images) == 3
    assert [image for image in images if not re.search(r":v?\d+(\.\d+)*(-[a-z]+)?$", image)] == []


def test_only_the_network_of_compose_is_believed_about_addresses() -> None:
    [subnet] = [each["subnet"] for each in COMPOSE["networks"]["default"]["ipam"]["config"]]
    assert COMPOSE["services"]["backend"]["environment"] == {"TRUSTED_PROXIES": subnet}
    default = re.fullmatch(r"\$\{PARTNER_SUBNET:-(.*)\}", subnet)
    assert default
    assert ip_network(default[1]).is_private


def test_what_the_proxy_mounts_is_there_and_leads_to_the_replicas() -> None:
    proxy = COMPOSE["services"]["proxy"]
    for mounted in proxy["volumes"]:
        source, target, mode = mounted.split(":")
        assert (ROOT / source).is_file()
        assert (Path(target).parent, mode) == (Path("/etc/partner"), "ro")
    listening = re.search(r"listen (\d+);", (ROOT / "deploy/nginx.conf").read_text("utf-8"))
    assert listening
    assert proxy["ports"][0].endswith(f":{listening[1]}")
    command = COMPOSE["services"]["backend"]["command"]
    upstreams = re.findall(r"server (\S+) resolve", (ROOT / "deploy/nginx-replicas.conf").read_text("utf-8"))
    assert set(upstreams) == {f"backend:{command[command.index('--port') + 1]}"}


def test_the_proxy_waits_longer_than_an_order_may_take_and_containers_than_a_stop() -> None:
    given = assignments("deploy/demo.env")
    settings = _settings({name.lower(): text for name, text in given.items()})
    conf = (ROOT / "deploy/nginx.conf").read_text("utf-8")
    reads = [int(found) for found in re.findall(r"proxy_read_timeout (\d+)s;", conf)]
    assert min(reads) > settings.broker_order_deadline.total_seconds() + 5
    assert max(reads) > settings.order_stream_heartbeat.total_seconds() * 4
    for name in ("backend", "proxy"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].rstrip("s")) == 20 > longest_stop(settings)
    ends = re.search(r"worker_shutdown_timeout (\d+)s;", conf)
    assert ends
    assert int(ends[1]) < 20


def test_the_demo_of_compose_has_settings_that_start() -> None:
    given = assignments("deploy/demo.env")
    settings = _settings({name.lower(): text for name, text in given.items()})
    assert settings.login_url == "http://localhost:9000/?appcode=DEMOAPP"
    assert settings.broker_base_url == "http://simulator:9000/"
    assert given["SIMULATOR_REDIRECT_URL"] == f"{settings.public_base_url}/sso/callback"
    password = COMPOSE["services"]["database"]["environment"]["POSTGRES_PASSWORD"]
    assert password == "${POSTGRES_PASSWORD:-partner}"
    assert settings.database_url.get_secret_value() == "postgresql://partner:partner@database/partner"


def test_the_demo_of_compose_is_refused_in_production() -> None:
    given = {name.lower(): text for name, text in assignments("deploy/demo.env").items()}
    with pytest.raises(ValueError, match="BROKER_API_SECRET is a placeholder") as refused:
        _settings(given | {"app_env": "production"})
    for part in (
        "BROKER_APP_CODE",
        "ENCRYPTION_KEYS",
        "PUBLIC_BASE_URL must be https",
        "BROKER_LOGIN_URL must be https",
    ):
        assert part in str(refused.value)


def test_the_example_as_it_stands_is_refused_until_it_is_filled_in() -> None:
    given = {name.lower(): text for name, text in assignments(".env.example").items() if text}
    with pytest.raises(ValueError, match="encryption_keys"):
        _settings(given)
    with pytest.raises(ValueError, match="BROKER_API_SECRET is a placeholder") as refused:
        _settings(given | {"encryption_keys": KEY})
    assert "BROKER_APP_CODE is a placeholder" in str(refused.value)
    assert "DATABASE_URL has a placeholder" in str(refused.value)
    assert "sslmode" not in str(refused.value)
    assert "ssl=on" in COMPOSE["services"]["database"]["command"]


def test_the_defaults_in_the_example_are_the_defaults() -> None:
    shown = dict(re.findall(r"^#([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert shown.pop("TRUSTED_PROXIES") == "10.0.0.0/8"  # an example; the default is none
    assert shown.pop("BROKER_LOGIN_URL") == "https://web.gopocket.in/?appcode={app_code}"
    assert shown.pop("RATE_LIMIT_URL") == "rediss://limits:6379/0"  # the same; the default is the database
    assert shown.pop("EXPECTED_EGRESS_IPS") == "203.0.113.7"  # the same; the default is none
    assert shown.pop("PARTNER_SUBNET") == "10.213.77.0/24"  # compose's own
    needed = environment("postgresql:///x", "https://web.gopocket.in/")
    required = {name.lower(): needed[name] for name in needed if name.lower() in Settings.model_fields}
    del required["broker_base_url"], required["metrics_port"]  # which tests have of their own
    assert _settings(required | _parsed(shown)) == _settings(required)


def _settings(given: dict[str, Any]) -> Settings:
    return Settings(**given)


def _parsed(shown: dict[str, str]) -> dict[str, Any]:
    return {name.lower(): {} if name == "BROKER_PATHS" else text for name, text in shown.items()}


@pytest.mark.drill
def test_the_steps_of_the_image_install_and_start_here(tmp_path: Path) -> None:
    """Carry out COPY and RUN of the first stage in a folder, and start the result as the second stage would."""
    home, venv = tmp_path / "srv", tmp_path / "venv"
    home.mkdir()
    build = DOCKERFILE.partition("AS build\n")[2].partition("\nFROM ")[0]
    for line in build.splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                source, place = ROOT / name, home if target == "./" else home / target
                if source.is_dir():
                    shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, place)
        elif word == "RUN":
            here = re.sub(r"^python ", f"{sys.executable} ", rest)
            here = here.replace("/venv", str(venv)).replace("/srv/partner", str(home))
            subprocess.run(["/bin/sh", "-ec", here], cwd=home, check=True, timeout=300)
    given = {"PATH": f"{venv / 'bin'}:{os.defpath}"}
    said = subprocess.run(["partner", "openapi"], cwd=home, env=given, check=True, capture_output=True, text=True)
    assert '"/v1/funds"' in said.stdout
    assert not (venv / "bin" / "pip").exists()
    assert list(venv.rglob("hatchling")) == []
