"""What the pages for operators tell somebody to type, to look for and to follow is there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = ("docs/runbooks.md", "docs/deploying.md", "docs/operations.md", "README.md")
HEADINGS = [
    "Broker down", "Database down", "Mass expiry", "Leaked secret", "Unknown orders", "Incident report", "Limits",
    "Late work", "Drift", "Replica down",
]  # fmt: skip
SOURCES = "\n".join(path.read_text("utf-8") for path in (ROOT / "app").rglob("*.py"))


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def commands_of(page: str) -> list[list[str]]:
    """Return the words of each `partner …` of a page, in a block or within a sentence."""
    text = text_of(page)
    found = re.findall(r"^ {4,}(?:\S+ )*?(partner [^\n#|>]+)", text, re.MULTILINE)
    found += re.findall(r"`(partner [^`\n]+)`", text)
    return [shlex.split(each.strip()) for each in found if "|" not in each and "…" not in each]


def wrong_with(words: list[str]) -> str | None:
    """Return what keeps a command line from being one, none if nothing does."""
    at: Any = typer.main.get_command(cli)  # a command of click's, or of the one that typer brings
    rest = words[1:]
    while rest and hasattr(at, "commands") and not rest[0].startswith("-"):
        if rest[0] not in at.commands:
            return f"there is no {rest[0]}"
        at, rest = at.commands[rest[0]], rest[1:]
    options = {name for parameter in at.params for name in parameter.opts}
    unknown = [word.partition("=")[0] for word in rest if word.startswith("--")]
    strange = [name for name in unknown if name not in options and at.name != "simulator"]
    return f"{' '.join(words)} has no {strange}" if strange else None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_is_there(page: str) -> None:
    found = commands_of(page)
    assert len(found) > 5
    assert [wrong for words in found if (wrong := wrong_with(words))] == []


def test_a_command_that_is_not_there_is_seen() -> None:
    assert wrong_with(["partner", "cure", "--all"])
    assert wrong_with(["partner", "halt", "on", "--everybody"])
    assert wrong_with(["partner", "halt", "on", "--all"]) is None


def test_the_runbooks_have_the_headings_that_alerts_link_to_each_whole() -> None:
    parts = re.split(r"^## ", text_of("docs/runbooks.md"), flags=re.MULTILINE)[1:]
    assert [part.partition("\n")[0] for part in parts] == HEADINGS
    for part in parts:
        if not part.startswith("Incident report"):
            assert "**Shows:**" in part
            assert "**Users see:**" in part
            assert re.search(r"^1\. |^\|", part, re.MULTILINE)
        assert "**Over** when" in part


def test_every_metric_and_log_line_that_the_runbooks_name_is_told_by_the_service() -> None:
    text = text_of("docs/runbooks.md")
    metrics = set(re.findall(r"`(partner_[a-z_]+)`", text))
    assert len(metrics) > 10
    assert sorted(name for name in metrics if f'"{name}"' not in SOURCES) == []
    told = [name for line in re.findall(r"Log: ([^\n]+)", text) for name in re.findall(r"`([a-z_-]+)`", line)]
    assert len(told) > 10
    assert sorted(name for name in set(told) if f'"{name}"' not in SOURCES) == []


def test_every_alert_is_named_where_it_leads_to() -> None:
    rules = yaml.safe_load(text_of("deploy/prometheus/alerts.yml"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    parts = {
        part.partition("\n")[0].lower().replace(" ", "-"): part
        for part in re.split(r"^## ", text_of("docs/runbooks.md"), flags=re.MULTILINE)[1:]
    }
    assert alerts
    places = {each["alert"]: each["annotations"]["runbook"].partition("#")[2] for each in alerts}
    assert [name for name, place in places.items() if f"`{name}`" not in parts[place]] == []


@pytest.mark.parametrize("page", ["docs/runbooks.md", "docs/deploying.md"])
def test_every_heading_that_a_page_links_to_is_there(page: str) -> None:
    links = re.findall(r"\]\(([a-z/-]+\.md)?#([a-z0-9-]+)\)", text_of(page))
    assert links
    gone = []
    for target, anchor in links:
        headings = re.findall(r"^#+ (.+)$", text_of(f"docs/{target}" if target else page), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
        gone += [] if anchor in anchors else [f"{target}#{anchor}"]
    assert gone == []
