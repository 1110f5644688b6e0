"""Alert rules, dashboard and the page of metrics: each name in them is one that a running service really tells."""

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.environment import environment
from tests.support.scraped import names, told_at
from tests.support.simulated import SimulatedBroker
from workbench.children import backend, free_port

ROOT = Path(__file__).parents[2]
RULES, SCRAPE = ROOT / "deploy/prometheus/alerts.yml", ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
FIRING = Path(__file__).with_name("alerts_fire.yml")

NAME = re.compile(r"\b(?:partner|process|python)_[a-z_]+\b|\bup\b")
OF_PROMETHEUS = {"up"}
"""What Prometheus itself writes down of whomever it asks."""
LABELS = re.compile(r"(partner_[a-z_]+)\{([^}]*)\}|by \(([^)]*)\)")
SECTION = re.compile(r"docs/runbooks\.md#([a-z-]+)")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [each for each in found if each["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


@pytest.fixture(scope="module")
async def told(
    database_url: str, simulator_process: SimulatedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """Give what the real command tells, by environment as in production."""
    port, metrics_port = free_port(), free_port()
    settings = environment(database_url, simulator_process.url, METRICS_PORT=str(metrics_port))
    with backend(port, environment=settings, log=tmp_path_factory.mktemp("told") / "log"):
        yield await told_at(metrics_port)


def test_every_name_in_rules_and_dashboard_is_told(told: str) -> None:
    wanted = {name for each in expressions() for name in NAME.findall(each)}
    assert len(wanted) > 30
    assert wanted - names(told) - OF_PROMETHEUS == set()


def test_every_label_that_rules_and_dashboard_ask_for_is_one_of_its_metric() -> None:
    page = documented()
    for expression in expressions():
        [*used] = {name for name in NAME.findall(expression) if name.startswith("partner_")}
        known = {label for name in used for label in page[_plain(name)]} | {"le", "instance", "job"}
        for _, selected, grouped in LABELS.findall(expression):
            asked = {re.split(r"[=!]", part)[0].strip() for part in selected.split(",") if part}
            asked |= {part.strip() for part in grouped.split(",") if part}
            assert asked <= known, expression


def test_the_page_of_metrics_lists_what_is_told_and_nothing_else(told: str) -> None:
    kinds = dict(re.findall(r"^# TYPE (partner_[a-z_]+) (\w+)$", told, re.MULTILINE))
    assert documented().keys() == kinds.keys()
    for line in told.splitlines():
        if found := re.match(r"(partner_[a-z_]+)\{(.*)\} ", line):
            labels = set(re.findall(r'(\w+)="', found[2])) - {"le"}
            assert labels == set(documented()[_plain(found[1])]), line


def test_no_label_could_name_a_person() -> None:
    labels = {label for each in documented().values() for label in each}
    assert labels == {
        "action", "answer", "category", "day", "event", "kind", "method", "outcome", "problem", "reason", "route",
        "route_class", "schema", "version", "whose", "window_seconds",
    }  # fmt: skip


def test_every_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith(".")
        assert SECTION.fullmatch(rule["annotations"]["runbook"]), rule["alert"]
    found = [rule["alert"] for rule in rules()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_the_runbook_of_every_alert_is_there(rule: dict[str, Any]) -> None:
    [section] = SECTION.findall(rule["annotations"]["runbook"])
    page = (ROOT / "docs/runbooks.md").read_text("utf-8")
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-")
        for each in re.findall("^#+ (.+)", page, re.MULTILINE)
    }
    anchors |= set(re.findall(r'<a id="([^"]+)"', page))
    assert section in anchors


def test_the_dashboard_can_be_loaded_by_anybody() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    [source] = board["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    every = board["panels"]
    assert len({each["id"] for each in every}) == len(every)
    taken = [
        (x, y)
        for each in every
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    for panel in panels():
        assert panel["targets"]
        assert {each["datasource"]["uid"] for each in panel["targets"]} == {f"${{{source['name']}}}"}


def test_prometheus_asks_where_the_compose_file_has_the_replicas() -> None:
    scrape = yaml.safe_load(SCRAPE.read_text("utf-8"))
    [job] = scrape["scrape_configs"]
    [asked] = job["dns_sd_configs"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    assert set(asked["names"]) <= services.keys()
    assert asked["port"] == 9464
    assert scrape["rule_files"] == [RULES.name]


def test_promtool_takes_the_files_and_fires_the_alerts(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT CHECKED: promtool is not installed (Debian: apt install prometheus), so no alert was fired")
    firing = tmp_path / FIRING.name
    firing.write_text(FIRING.read_text("utf-8").replace("RULES", str(RULES)), "utf-8")
    for command in (["check", "rules", str(RULES)], ["check", "config", str(SCRAPE)], ["test", "rules", str(firing)]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_would_see_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT CHECKED: promtool is not installed (Debian: apt install prometheus)")
    blunt = tmp_path / "alerts.yml"
    blunt.write_text(RULES.read_text("utf-8").replace('{day="today"}) > 120', '{day="today"}) > 1200'), "utf-8")
    firing = tmp_path / FIRING.name
    firing.write_text(FIRING.read_text("utf-8").replace("RULES", str(blunt)), "utf-8")
    done = subprocess.run([promtool, "test", "rules", str(firing)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "UnknownOrders" in done.stdout + done.stderr


def documented() -> dict[str, list[str]]:
    """Return the labels of each metric on the page, by its name."""
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(partner_[a-z_]+)` \|([^|]*)\|", page, re.MULTILINE)
    return {name: re.findall(r"`([a-z_]+)`", labels) for name, labels in rows}


def _plain(name: str) -> str:
    """Return the name of a histogram for that of one of its parts."""
    return re.sub(r"_seconds_(bucket|sum|count)$", "_seconds", name)
