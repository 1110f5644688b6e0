"""The benchmarks' own judgement: what a run says of its figures, of its stand-in broker, and of what is missing."""

import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from app.clock import IST
from app.settings import Settings
from benchmarks import broker_samples
from benchmarks.contestants import production
from benchmarks.fetching import NGINX, NODE, VALGRIND, WRK, lacking
from benchmarks.flatness import compared
from benchmarks.instructions import counted
from benchmarks.load import LoadProblem, read
from benchmarks.processes import pid_of
from benchmarks.report import Row
from benchmarks.stub_broker import config
from benchmarks.verdicts import Figures, ratios, verdicts
from workbench.children import Child

ROOT = Path(__file__).parents[2]
TODAY = datetime(2026, 11, 25, 9, 15, tzinfo=IST)
READ, SHARED = "orders, a broker call each", "orders, shared"


def row(server: str, what: str, clients: int, rate: int, p50: float, p99: float) -> Row:
    figures = {"per_second": rate, "p50_ms": p50, "p99_ms": p99, "p99/p50": p99 / p50, "cpu_ms": 1.0}
    return {"server": server, "what": what, "clients": clients, **figures}


SPEED = [
    row("the stand-in broker itself", READ, 1, 15_000, 0.1, 0.2),
    row("ours", READ, 1, 900, 1.0, 2.0),
    row("ours", READ, 16, 700, 20.0, 60.0),
    row("ours", SHARED, 16, 3000, 5.0, 10.0),
    row("obvious", READ, 16, 71, 200.0, 400.0),
    row("fastify", READ, 1, 1400, 0.7, 1.0),
    row("fastify", READ, 16, 1000, 15.0, 30.0),
    row("fastify, answers kept 1 s", SHARED, 16, 2000, 8.0, 16.0),
]


def test_verdicts_follow_from_the_figures() -> None:
    figures = Figures(
        speed=SPEED,
        memory=[{"server": "ours", "rss_mib": 78.0}],
        instructions=[{"server": "ours", "what": READ, "instructions": 1_250_000}],
        flatness=[{"what": "more sessions", "ratio": 1.21}, {"what": "more rows", "ratio": 0.4}],
    )
    found = {each["goal"]: (each["measured"], each["verdict"]) for each in verdicts(figures)}
    assert found == {
        "orders, rate / the obvious design's": (9.86, "not met"),
        "orders, rate / Fastify's": (0.7, "met"),
        "orders shared, rate / Fastify's with answers kept": (1.5, "met"),
        "orders, added p50 at 1 client / Fastify's": (1.5, "met"),
        "orders, a broker call each, p99 / p50 at 16 clients": (3.0, "not met"),
        "orders, shared, p99 / p50 at 16 clients": (2.0, "met"),
        "session, p99 / p50 at 16 clients": (None, "not measured"),
        "orders, a broker call each, million instructions": (1.25, "met"),
        "orders, shared, million instructions": (None, "not measured"),
        "memory of one worker, MB": (81.79, "not met"),
        "more sessions": (1.21, "not met"),
        "more rows": (0.4, "met"),
    }


def test_ours_is_set_against_each_rival_in_what_both_did() -> None:
    found = {(each["ours /"], each["what"], each["clients"]): each["rate"] for each in ratios(SPEED)}
    assert found == {
        ("obvious", READ, 16): 9.86,
        ("fastify", READ, 1): 0.64,
        ("fastify", READ, 16): 0.7,
        ("fastify, answers kept 1 s", SHARED, 16): 1.5,
    }


def test_a_long_book_is_judged_by_its_rows() -> None:
    names = ["plain", "64 connections", "50,000 sessions", "a book of 10 rows", "a book of 1000 rows"]
    measured = [
        {"server": name, "cpu_ms": cpu, "p50_ms": 2.0} for name, cpu in zip(names, (2, 3, 2, 2, 240), strict=True)
    ]
    found = {each["what"]: each["ratio"] for each in compared(measured, {"plain": 1, "64 connections": 66})}
    assert found["66 pooled connections against 1, CPU"] == 1.5
    assert found["50,000 stored sessions against a few, CPU"] == 1.0
    assert found["a row of 1000 against one of 10, CPU"] == 1.2


@pytest.mark.parametrize("wrong", [{"refused": 1}, {"broken": 2}, {"requests": 0}])
def test_a_slice_of_anything_but_answers_counts_for_nothing(wrong: dict[str, int]) -> None:
    said = {"requests": 10, "microseconds": 2_000_000, "p50": 1500, "p99": 3000, "refused": 0, "broken": 0}
    good = read(f"Running 2s test\n{json.dumps(said)}\n", "GET /v1/orders")
    assert (good.rate, good.p50_ms, good.p99_ms) == (5.0, 1.5, 3.0)
    with pytest.raises(LoadProblem, match="GET /v1/orders was asked"):
        read(json.dumps(said | wrong), "GET /v1/orders")


def test_a_load_generator_that_says_nothing_is_quoted() -> None:
    with pytest.raises(LoadProblem, match=r"did not measure it: .*unable to connect"):
        read("", "it", "unable to connect")


def test_instructions_that_the_kernel_does_not_count_are_none() -> None:
    assert counted("<not supported>,,instructions,0,100.00,,\n") is None
    assert counted("# started\n\n123456789,,instructions,4000000,100.00,,\n") == 123_456_789


def test_what_is_missing_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "wrk").write_text("#!/bin/sh\n", "utf-8")
    (tmp_path / "wrk").chmod(0o755)
    [nginx, valgrind] = lacking([WRK, NGINX, VALGRIND], path=str(tmp_path))
    assert str(nginx) == (
        "nginx is missing: nothing can be measured without the stand-in broker; get it with "
        "`apt-get install nginx-light`."
    )
    assert "apt-get install valgrind" in str(valgrind)


def test_an_unknown_benchmark_is_said_in_one_sentence() -> None:
    argv = [sys.executable, "-m", "benchmarks", "permit"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    said = "There is no benchmark 'permit'; there are requests, permits, listeners.\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_ours_is_measured_with_settings_that_production_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in production("postgresql://postgres@/ours?host=/nowhere", "http://127.0.0.1:18080").items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert settings.app_env == "production"
    assert {window.limit for windows in settings.rate_limits_user.values() for window in windows} == {999_999_999}
    assert settings.orders_per_second_per_exchange == 0


def test_a_process_is_told_from_its_guard(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(30)"]
    log = tmp_path / "log"
    with Child("the child", argv, environment={}, log=log, is_ready=lambda: log.read_text("utf-8") != "") as child:
        assert pid_of(*argv) == int(child.output())


def test_node_understands_the_rival() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip(str(NODE))
    source = ROOT / "benchmarks" / "rivals" / "fastify" / "server.mjs"
    done = subprocess.run([node, "--check", str(source)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_the_stand_in_has_the_brokers_own_form() -> None:
    sample = json.loads((ROOT / "tests" / "samples" / "orderbook.ok.json").read_text("utf-8"))
    whole = broker_samples.whole_row(0, TODAY, "AB1234")
    assert whole.keys() == sample["result"][0].keys()
    assert broker_samples.lean_row(0, TODAY).keys() <= whole.keys()
    placed = json.loads(broker_samples.placed("26112500003840", TODAY))
    known = json.loads((ROOT / "tests" / "samples" / "orders_execute.ok.json").read_text("utf-8"))
    assert [each.keys() for each in placed] == [each.keys() for each in known]
    assert placed[0]["result"][0].keys() == known[0]["result"][0].keys()


def test_nginx_understands_the_stand_in(tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip(str(NGINX))
    (tmp_path / "nginx.conf").write_text(config(tmp_path, 18080, TODAY), "utf-8")
    argv = [nginx, "-t", "-q", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
