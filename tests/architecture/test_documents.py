"""What is public is documented, and the documents say what is."""

import json
import re
from pathlib import Path

import pytest

from app.main import description
from app.problems import all_problems
from app.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def text_of(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def test_every_setting_stands_in_the_example_and_in_the_docs() -> None:
    names = {name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"^#? ?([A-Z][A-Z_]+)=", text_of(".env.example"), re.MULTILINE)) >= names
    assert set(re.findall(r"^\| `([A-Z_]+)`", text_of("docs/settings.md"), re.MULTILINE)) == names


def test_every_problem_stands_in_the_docs_with_its_status() -> None:
    listed = dict(re.findall(r"^## `([a-z-]+)` · ([0-9/]+)", text_of("docs/problems.md"), re.MULTILINE))
    expected = {kind.slug: "413/414/431" if kind.slug == "too-large" else str(kind.status) for kind in all_problems()}
    assert listed == expected


def test_every_problem_says_what_to_do_in_the_docs_as_on_its_page() -> None:
    pages = re.sub(r"\s+", " ", text_of("docs/problems.md"))
    for kind in all_problems():
        for part in (kind.__doc__ or "").split("\n\n"):
            assert " ".join(part.split()) in pages, kind.slug


def test_the_openapi_document_is_the_one_that_is_served() -> None:
    assert json.loads(text_of("docs/openapi.json")) == json.loads(json.dumps(description())), (
        "write it anew: .venv/bin/partner openapi > docs/openapi.json"
    )


def test_the_tree_in_the_architecture_page_is_the_tree_on_disk() -> None:
    listed = set(re.findall(r"^(?:├── | {6})([a-z_]+)/", text_of("docs/architecture.md"), re.MULTILINE))
    packages = {path.parent.name for path in (ROOT / "app").rglob("__init__.py")}
    assert packages <= listed
    assert {"simulator", "workbench", "migrations", "docs", "tests", "examples"} <= listed
    assert [name for name in listed if not any(ROOT.glob(f"**/{name}"))] == []


def test_every_test_that_the_security_page_names_is_there() -> None:
    named = re.findall(r"`([a-z_]+/test_\w+\.py)(?:::(\w+))?`", text_of("docs/security.md"))
    assert len(named) > 100
    files = {file: (ROOT / "tests" / file) for file, _ in named}
    assert [file for file, path in files.items() if not path.exists()] == []
    texts = {file: path.read_text("utf-8") for file, path in files.items()}
    assert [f"{file}::{test}" for file, test in named if test and f"def {test}(" not in texts[file]] == []


def test_every_decision_stands_in_the_index() -> None:
    index = text_of("docs/decisions/README.md")
    pages = sorted(path.name for path in (DOCS / "decisions").glob("0*.md"))
    assert pages
    assert [name for name in pages if name not in index] == []
    for name in pages:
        headings = re.findall(r"^## (\w+)", text_of(f"docs/decisions/{name}"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Alternatives", "References"], name


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), ROOT / "README.md"]), ids=lambda path: path.name)
def test_no_link_between_pages_is_broken(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert [each for each in targets if "://" not in each and not (page.parent / each).exists()] == []
