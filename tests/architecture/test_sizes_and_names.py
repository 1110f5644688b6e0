"""Small, and held small; names that say something; no word that this repository must not hold."""

import ast
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("app", "simulator", "workbench", "benchmarks", "migrations")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
BANNED = set(
    "utils util helpers helper common core base misc manager handler service impl data info v2 new old".split()
)
LONGEST_FUNCTION, LONGEST_FILE = 50, 300


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_FILE
    if path.parent.name != "versions":  # a migration lists what it makes
        long = [each.name for each in functions(path) if (each.end_lineno or 0) - each.lineno + 1 > LONGEST_FUNCTION]
        assert long == []


def test_names_say_something() -> None:
    names = {part for path in SOURCES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert names & BANNED == set()


def test_folders_are_never_deeper_than_two() -> None:
    assert [path for path in (ROOT / "app").rglob("*.py") if len(path.relative_to(ROOT / "app").parts) > 2] == []


def test_every_module_begins_with_the_promise_it_keeps() -> None:
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []


def test_broad_excepts_stand_where_they_may() -> None:
    broad = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
    ]
    assert sorted(broad) == ["app/middleware.py", "app/rounds.py"]


def test_routes_are_as_short_as_their_decorators_allow() -> None:
    long = []
    for path in (ROOT / "app").rglob("routes.py"):
        for each in functions(path):
            is_route = any("router." in ast.unparse(decorator) for decorator in each.decorator_list)
            body = [
                node for node in each.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            ]
            if is_route and sum((node.end_lineno or 0) - node.lineno + 1 for node in body) > 10:
                long.append(each.name)
    assert long == []


def test_no_lock_names_an_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text("utf-8")
        assert "index-url" not in text
        assert "http://" not in text
        assert "https://" not in text


def test_nothing_of_a_developers_machine_is_committed() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git, or no checkout of it")
    listed = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    ours_alone = (".venv", ".state", ".env", ".coverage")
    names = listed.stdout.splitlines()
    assert [name for name in names if name.endswith(".pyc") or name.partition("/")[0] in ours_alone] == []


def test_every_module_is_held_by_the_rules_about_http() -> None:
    """A rule by names forgets whoever comes later; this one has a single exception."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    rules = {each["name"]: each for each in contracts}
    assert rules["No HTTP client but our own lines (docs/decisions/0017)"]["source_modules"] == ["app"]
    held = tuple(rules["What the broker answers is read as HTTP in one module"]["source_modules"])
    paths = [path for path in (ROOT / "app").rglob("*.py") if path.name not in {"__init__.py", "__main__.py"}]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    free = {name for name in modules if not any(name == each or name.startswith(f"{each}.") for each in held)}
    assert free == {"app.broker.line"}
