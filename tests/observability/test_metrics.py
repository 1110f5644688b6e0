"""What Prometheus is told: what was asked of us and of the broker, what nobody knows, how late we are; no name."""

import asyncio
import os
import socket
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from app import measures
from app.broker.paths import RouteClass
from app.measuring import BOUNDS, Joined, Measures, Named, Standing
from app.metrics.census import Census
from app.metrics.serving import serve_metrics
from app.metrics.workers import Workers, shared_measures, write_standing
from app.safeguards.cross_site import EVENT_STREAM
from app.settings import Settings
from tests.support.configured import configured
from tests.support.environment import environment
from tests.support.investor import Browser
from tests.support.replicas import ORDER, fresh_key, until
from tests.support.scraped import Scrape, samples, scraped, told_at
from tests.support.service import Service, serving
from tests.support.shipped import measures_of, writers
from tests.support.simulated import SimulatedBroker
from workbench.children import backend, free_port


async def write_unknown(rows: asyncpg.Connection, *, minutes: int, action: str = "PLACE", days: int = 0) -> None:
    await rows.execute(
        "INSERT INTO users (id, created_at, signed_in_at) VALUES ('AB1', now(), now()) ON CONFLICT DO NOTHING"
    )
    await rows.execute(
        "INSERT INTO intents (id, user_id, action, terms, likeness, trading_day, created_at, send_by, doubtful_at,"
        " state, is_watched, candidates) VALUES ($1, 'AB1', $2, '{}', '',"
        " (now() AT TIME ZONE 'Asia/Kolkata')::date - $3::int, now() - make_interval(mins => $4), now(), now(),"
        " 'unknown', true, '{1,2}')",
        uuid.uuid4(), action, days, minutes,
    )  # fmt: skip


async def grown(before: Scrape, settings: Settings) -> Scrape:
    """Return by how much each sample has grown since, those that have not left out."""
    now = samples(await scraped(settings))
    return {name: value - before.get(name, 0.0) for name, value in now.items() if value != before.get(name, 0.0)}


def test_of_a_database_that_is_away_only_that_is_told_and_asked_once() -> None:
    census = Census(SecretStr("postgresql://nobody@127.0.0.1:1/x"), idle_timeout=timedelta(minutes=30))
    failures = measures.ALL.standing()["partner_database_failures_total"]
    told = list(census.collect())
    assert [(each.name, [sample.value for sample in each.samples]) for each in told if each.samples] == [
        ("partner_database_up", [0.0])
    ]
    assert measures.ALL.standing()["partner_database_failures_total"] == failures  # which the event loop alone changes
    began_at = time.monotonic()
    assert list(census.collect()) == told
    assert time.monotonic() - began_at < 0.01


async def test_a_scrape_does_not_wait_for_a_database_that_hangs(broker: SimulatedBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections and never says a word
        began_at = time.monotonic()
        url = f"postgresql://nobody@127.0.0.1:{hanging.getsockname()[1]}/x"
        told = await scraped(configured(url, broker.url))
    assert time.monotonic() - began_at < 6
    assert samples(told)["partner_database_up"] == 0
    assert "partner_requests_total" in told


async def test_what_is_unknown_is_counted_over_all_replicas(
    database_url: str, rows: asyncpg.Connection, emptied: None
) -> None:
    for minutes in (30, 10):
        await write_unknown(rows, minutes=minutes)
    await write_unknown(rows, minutes=1500, days=1, action="CONVERT")
    told = await scraped(configured(database_url, "http://127.0.0.1:1"))
    found = samples(told)
    assert found["partner_database_up"] == 1
    assert found['partner_unknown{action="place",day="today"}'] == 2
    assert found['partner_unknown{action="convert",day="past"}'] == 1
    assert found['partner_unknown_candidates{action="place",day="today"}'] == 4
    assert 1800 <= found['partner_unknown_oldest_seconds{action="place",day="today"}'] < 1900
    assert "AB1" not in told


async def test_sessions_and_late_work_are_counted_over_all_replicas(
    database_url: str, rows: asyncpg.Connection, emptied: None
) -> None:
    await rows.execute("INSERT INTO users (id, created_at, signed_in_at) SELECT u, now(), now() FROM"
                       " unnest(ARRAY['A', 'B', 'C', 'D']) AS u")  # fmt: skip
    ended = "'refused-by-broker'"
    await rows.execute(
        "INSERT INTO sessions (id, token_hash, user_id, created_at, last_seen_at, expires_at, ended_at, ended_reason)"
        " SELECT gen_random_uuid(), u::bytea, 'A', now(), now() - idle * interval '1 minute',"
        " now() + left_over * interval '1 hour', ended, CASE WHEN ended IS NULL THEN NULL ELSE 'logged-out' END"
        " FROM (VALUES ('a', 0, 1, NULL),"
        " ('b', 0, 1, now()), ('c', 0, -1, NULL), ('d', 31, 1, NULL)) AS t (u, idle, left_over, ended)"
    )
    await rows.execute(
        "INSERT INTO broker_sessions (user_id, id, token_sealed, token_key_id, connected_at, expires_at, ended_at,"
        " ended_reason) VALUES ('A', gen_random_uuid(), 'x', 'k1', now(), now() + interval '1 hour', NULL, NULL),"
        f" ('B', gen_random_uuid(), NULL, NULL, now(), now() + interval '1 hour', now() - interval '5 min', {ended}),"
        f" ('C', gen_random_uuid(), NULL, NULL, now(), now() + interval '1 hour', now() - interval '15 min', {ended})"
    )
    await rows.execute(
        "INSERT INTO watches (user_id, next_look_at, watched_since, lease_until) VALUES"
        " ('A', now() - interval '40 seconds', now(), NULL), ('B', now() - interval '5 seconds', now(), NULL),"
        " ('C', now() - interval '90 seconds', now(), now() + interval '9 seconds'), ('D', NULL, now(), NULL)"
    )
    await rows.execute("INSERT INTO blocks (user_id, reason, actor, since) VALUES ('B', 'x', 'y', now())")
    await rows.execute(
        "INSERT INTO book_looks (user_id, next_look_at, lease_until) VALUES ('A', now() - interval '70 seconds',"
        " now() - interval '60 seconds'), ('B', now() - interval '900 seconds', NULL), ('C', now() + interval '1 hour',"
        " NULL)"
    )
    found = samples(await scraped(configured(database_url, "http://127.0.0.1:1")))
    assert found["partner_sessions"] == 1
    assert found["partner_broker_sessions"] == 1
    assert found['partner_broker_sessions_ended{reason="refused-by-broker"}'] == 1
    assert (found["partner_reconciler_overdue"], found["partner_book_looks_overdue"]) == (2, 1)
    assert 40 <= found["partner_reconciler_late_seconds"] < 60
    assert 70 <= found["partner_book_looks_late_seconds"] < 90


async def test_requests_and_calls_are_counted_by_what_they_were_and_how_they_ended(
    service: Service, broker: SimulatedBroker, asha: Browser
) -> None:
    before = samples(await scraped(service.settings))
    assert (await asha.get("/v1/funds")).status_code == 200
    broker.break_call("holdings", "http500")
    assert (await asha.get("/v1/holdings")).status_code == 502
    broker.break_call("profile", "html200")
    assert (await asha.get("/v1/profile")).status_code == 502
    broker.mend()
    answer = await asha.post("/v1/orders", json=ORDER, headers={"Idempotency-Key": fresh_key()})
    assert answer.status_code == 201
    assert (await asha.get("/v1/orders/AB1234-nobodys-number")).status_code == 404
    assert (await asha.get("/nowhere/AB1234")).status_code == 404
    found = await grown(before, service.settings)
    for route, method, outcome, problem, count in (
        ("/v1/funds", "GET", "2xx", "-", 1), ("/v1/holdings", "GET", "5xx", "broker-fault", 1),
        ("/v1/profile", "GET", "5xx", "broker-fault", 1), ("/v1/orders", "POST", "2xx", "-", 1),
        ("/v1/orders/{orderNo}", "GET", "4xx", "not-found", 1), ("-", "GET", "4xx", "not-found", 1),
    ):  # fmt: skip
        labels = f'method="{method}",outcome="{outcome}",problem="{problem}",route="{route}"'
        assert found[f"partner_requests_total{{{labels}}}"] == count, labels
    assert found['partner_request_seconds_count{method="GET",route="/v1/funds"}'] == 1
    assert found['partner_request_seconds_bucket{le="+Inf",method="GET",route="/v1/funds"}'] == 1
    assert found['partner_broker_calls_total{answer="2xx",route_class="funds"}'] >= 1
    assert found['partner_broker_calls_total{answer="5xx",route_class="portfolio"}'] == 1
    assert found['partner_broker_calls_total{answer="2xx",route_class="orders"}'] == 1
    assert found['partner_broker_call_seconds_count{route_class="orders"}'] == 1
    assert found['partner_order_calls_total{action="place",outcome="accepted"}'] == 1
    for route_class in ("profile", "portfolio"):
        assert found[f'partner_broker_answers_not_understood_total{{route_class="{route_class}"}}'] == 1


async def test_a_call_without_an_answer_is_counted_by_how_it_ended(
    service: Service, broker: SimulatedBroker, asha: Browser
) -> None:
    before = samples(await scraped(service.settings))
    for fault, answer in (("hanging", "timeout"), ("reset", "unavailable")):
        broker.break_call("funds", fault)
        assert (await asha.get("/v1/funds")).status_code in {502, 503, 504}
        broker.mend()
        found = await grown(before, service.settings)
        assert found[f'partner_broker_calls_total{{answer="{answer}",route_class="funds"}}'] >= 1


async def test_what_our_own_count_refuses_is_counted_by_category_and_window(
    database_url: str, broker: SimulatedBroker, emptied: None
) -> None:
    settings = configured(database_url, broker.url, rate_limits_user="order=-/-/-/100000,non-trading=3/-/-/100000")
    before = samples(await scraped(settings))
    async with serving(settings) as service, Browser(service) as asha:
        broker.return_to(f"{service.url}/sso/callback")
        await asha.sign_in(broker)
        refused = 0
        for _ in range(6):
            refused += (await asha.get("/v1/funds")).status_code == 429
    assert refused >= 2
    found = await grown(before, settings)
    name = 'partner_limiter_refusals_total{category="non-trading",whose="user",window_seconds="1"}'
    assert found[name] >= refused
    assert found['partner_sign_ins_total{outcome="signed-in"}'] == 1


async def test_one_port_tells_of_all_workers_and_forgets_none_that_died(
    database_url: str, broker: SimulatedBroker, emptied: None, tmp_path: Path
) -> None:
    metrics_port, port = free_port(), free_port()
    settings = environment(database_url, broker.url, METRICS_PORT=str(metrics_port))
    with backend(port, environment=settings, log=tmp_path / "log", workers=2) as child:

        async def sample(name: str) -> float:
            return samples(await told_at(metrics_port)).get(name, 0.0)

        async def are_both_told() -> bool:
            return await sample("partner_workers") == 2

        await until(are_both_told, within=60)
        folder = measures_of(port)
        answered = 'partner_requests_total{method="GET",outcome="4xx",problem="not-found",route="-"}'
        await ask_both(port, 40)

        async def are_all_told() -> bool:
            return await sample(answered) == 40

        await until(are_all_told, within=10)
        streams = await sample("partner_order_streams")
        victim = min(writers(folder))
        os.kill(victim, 9)

        async def is_another_there() -> bool:
            are_two_told = await sample("partner_workers") == 2
            return are_two_told and victim not in writers(folder)

        await until(is_another_there, within=60)
        assert await sample(answered) == 40
        assert await sample("partner_order_streams") == streams
        assert 0 < await sample("partner_resident_bytes") < 400e6
        assert child.is_running()
    assert not folder.exists()


async def ask_both(port: int, times: int) -> None:
    """Ask for what is not there, each time over a connection of its own, which either worker may take."""
    for _ in range(times):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as somebody:
            assert (await somebody.get("/nowhere")).status_code == 404


def test_of_a_worker_that_died_counts_stay_and_the_present_goes(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    measures.streams_changed(+1)
    measures.events_written(1)
    counted = measures.ALL.standing()["partner_order_events_total"][()]
    write_standing(tmp_path / f"{os.getpid()}-1")
    write_standing(tmp_path / "4194305-2")  # beyond the largest number that Linux gives a process
    measures.streams_changed(-1)
    for _ in range(2):
        told = workers.standing()
        assert told["partner_order_events_total"][()] == counted * 2
        assert told["partner_workers"][()] == 1
        assert [each.name for each in tmp_path.iterdir()] == [f"{os.getpid()}-1"]


def test_last_words_that_cannot_be_written_change_nothing_of_how_a_worker_ends(tmp_path: Path) -> None:
    """What begins with the exit code of a start that failed must not end as a fault that is worth another try."""
    folder = tmp_path / "measures"
    folder.mkdir()

    def fail_to_start() -> NoReturn:
        with shared_measures(folder):
            folder.rename(tmp_path / "elsewhere")
            folder.touch()  # nothing can be written into a file
            raise SystemExit(3)

    with pytest.raises(SystemExit) as ended:
        fail_to_start()
    folder.unlink()  # who writes each second ends with it
    assert ended.value.code == 3


def test_a_worker_that_is_silent_says_nothing_of_the_present(tmp_path: Path) -> None:
    workers, own = Workers(tmp_path), tmp_path / f"{os.getpid()}-1"
    write_standing(own)
    os.utime(own, (0, 0))
    assert workers.standing()["partner_workers"] == {}
    assert "partner_database_failures_total" in workers.standing()
    write_standing(own)
    assert workers.standing()["partner_workers"] == {(): 1.0}


def test_gauges_of_several_are_joined_as_each_wants_it() -> None:
    all_measures = Measures()
    for joined in Joined:
        all_measures.gauge(joined.value, "", joined=joined)
    one, other = (Standing({joined.value: {(): number} for joined in Joined}) for number in (2.0, 5.0))
    assert all_measures.joined([one, other], []) == {"sum": {(): 7.0}, "largest": {(): 5.0}, "smallest": {(): 2.0}}


def test_a_length_is_counted_up_to_its_bound_and_labels_have_an_end() -> None:
    timer = Measures().timer(Named("a", "", ("x",)), Named("b", "", ("x",)))
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] + 1e-9, 99.0, None):
        timer.add(("x",), seconds)
    seconds, counts = timer.lengths(timer.cells["x",])
    assert (timer.count(timer.cells["x",]), counts[:2], counts[-1], sum(counts)) == (5, [2, 1], 1, 4)
    assert seconds == pytest.approx(99.002)
    for number in range(5000):
        timer.add((str(number),), 1.0)
    assert len(timer.cells) == 2000


def test_what_begins_anew_is_as_it_was_when_nothing_had_happened() -> None:
    every = Measures()
    known = every.counter("a", "", ("kind",), known=[("x",)])
    lone, gauge = every.counter("b", ""), every.gauge("c", "")
    timer = every.timer(Named("d", "", ("kind",)), Named("e", "", ("kind",)))
    at_first = every.standing()
    known.add(("x",))
    known.add(("y",))
    lone.add()
    gauge.set(1.0)
    gauge.ask("somebody", lambda: 2.0)
    timer.add(("x",), 0.1)
    assert every.standing() != at_first
    every.begin_anew()
    assert every.standing() == at_first


def test_what_others_call_them_is_what_is_told() -> None:
    assert set(measures.ROUTE_CLASSES) == set(RouteClass)
    measures.request_ended(EVENT_STREAM, "GET", 200, "-", 4000.0)
    cells = measures.ALL.standing()["partner_requests_total"]
    count, seconds, *_ = cells[EVENT_STREAM, "GET", "2xx", "-"]
    assert count >= 1
    assert seconds == 0
    measures.request_ended("-", "BREW", 600, "-", 0.0)
    assert ("-", "other", "-", "-") in measures.ALL.standing()["partner_requests_total"]


async def test_a_port_that_is_taken_keeps_nobody_from_serving(database_url: str) -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert serve_metrics("127.0.0.1", port, configured(database_url, "http://127.0.0.1:1")) is None
    server.close()


def test_metrics_have_a_port_by_default_and_can_be_switched_off() -> None:
    assert Settings.model_fields["metrics_port"].default == 9464
    assert configured("postgresql:///", "http://127.0.0.1:1", metrics_port=0).metrics_port == 0
