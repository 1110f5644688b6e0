"""Signing in: bound to the browser, once per code, and refused in so many words."""

import asyncio
import hashlib
from datetime import timedelta

import asyncpg
import pytest

from tests.support.clock import SettableClock
from tests.support.configured import API_SECRET
from tests.support.investor import Browser, signed_in, slug
from tests.support.service import Service, serving
from tests.support.simulated import SimulatedBroker


async def test_a_login_ends_with_a_session_at_the_clean_return_url(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser:
        begun = await browser.begin_login(f"{service.url}/portal/?tab=orders")
        assert begun.status_code == 303
        assert begun.headers["location"] == f"{broker.url}/?appcode=DEMOAPP"
        assert begun.headers["referrer-policy"] == "no-referrer"
        cookie = begun.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Max-Age=600" in cookie
        parameters = broker.code_for("AB1234")
        back = await browser.come_back(parameters)
        assert back.status_code == 303
        assert back.headers["location"] == f"{service.url}/portal/?tab=orders"
        assert back.headers["cache-control"] == "no-store"
        assert back.headers["referrer-policy"] == "no-referrer"
        session = (await browser.get("/v1/session")).json()
    assert session["user"] == {"id": "AB1234", "name": "Asha Menon"}
    assert session["broker"]["connected"] is True
    assert session["broker"]["reason"] is None
    [sent] = broker.received("exchange")
    proof = hashlib.sha256(f"AB1234{parameters['authCode']}{API_SECRET}".encode()).hexdigest()
    assert sent["body"] == {"checkSum": proof}
    assert "authorization" not in sent["headers"]


async def test_without_an_attempt_nothing_goes_to_the_broker(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser:
        answer = await browser.come_back(broker.code_for("AB1234"))
        assert (answer.status_code, slug(answer)) == (400, "login-attempt-missing")
        assert "set-cookie" not in answer.headers
    assert broker.received() == []


async def test_an_attempt_of_another_browser_is_no_attempt(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as victim, Browser(service) as attacker:
        await victim.begin_login()
        answer = await attacker.come_back(broker.code_for("AB1234"))
    assert slug(answer) == "login-attempt-missing"


@pytest.mark.parametrize("forged", ["", "x", "k1.W10.AAAA", "k9.W10.AAAA", "..", "k1.\u00e9.x", "a" * 4000])
async def test_a_forged_attempt_is_no_attempt(service: Service, broker: SimulatedBroker, forged: str) -> None:
    async with Browser(service) as browser:
        headers = {b"Cookie": f"login={forged}".encode("latin-1")}
        answer = await browser.get("/sso/callback", params=broker.code_for("AB1234"), headers=headers)
    assert slug(answer) == "login-attempt-missing"
    assert broker.received() == []


async def test_an_attempt_dies_after_ten_minutes(
    service: Service, broker: SimulatedBroker, clock: SettableClock
) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        clock.advance(timedelta(minutes=10, seconds=1))
        answer = await browser.come_back(broker.code_for("AB1234"))
    assert slug(answer) == "login-attempt-missing"


async def test_reloading_the_callback_ends_in_the_same_session(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        parameters = broker.code_for("AB1234")
        first = await browser.come_back(parameters)
        again = await browser.come_back(parameters)
        assert again.status_code == 303
        assert again.headers["location"] == first.headers["location"]
        assert again.headers["set-cookie"] == first.headers["set-cookie"]
        assert (await browser.get("/v1/session")).status_code == 200
    assert len(broker.received("exchange")) == 1


async def test_a_reload_after_a_minute_or_after_logging_out_signs_nobody_in(
    service: Service, broker: SimulatedBroker, clock: SettableClock
) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        parameters = broker.code_for("AB1234")
        await browser.come_back(parameters)
        kept = browser.cookies["login"]
        await browser.delete("/v1/session")
        after_log_out = await browser.come_back(parameters)
        browser.cookies.set("login", kept)
        with_a_kept_cookie = await browser.come_back(parameters)
        clock.advance(timedelta(seconds=61))
        after_a_minute = await browser.come_back(parameters)
    assert (after_log_out.status_code, slug(after_log_out)) == (400, "login-attempt-missing")
    for answer in (with_a_kept_cookie, after_a_minute):
        assert (answer.status_code, slug(answer)) == (409, "auth-code-used")
        assert "set-cookie" not in answer.headers


async def test_a_code_with_another_attempt_is_used(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser, Browser(service) as other:
        parameters = broker.code_for("AB1234")
        await browser.begin_login()
        await browser.come_back(parameters)
        await other.begin_login()
        answer = await other.come_back(parameters)
    assert slug(answer) == "auth-code-used"


async def test_one_code_at_two_replicas_at_once_is_exchanged_once(
    service: Service, broker: SimulatedBroker, clock: SettableClock
) -> None:
    async with serving(service.settings, clock) as replica, Browser(service) as browser:
        broker.break_call("exchange", "slow", seconds=0.5)
        await browser.begin_login()
        parameters = broker.code_for("AB1234")
        cookie = {"Cookie": f"login={browser.cookies['login']}"}
        answers = await asyncio.gather(*(
            browser.get(f"{url}/sso/callback", params=parameters, headers=cookie)
            for url in (service.url, replica.url, service.url, replica.url)
        ))  # fmt: skip
    assert [answer.status_code for answer in answers] == [303] * 4
    assert len({answer.cookies["session"] for answer in answers}) == 1
    assert len(broker.received("exchange")) == 1


async def test_who_waited_for_a_failed_exchange_is_told_the_same(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser:
        broker.break_call("exchange", "notLoggedIn")
        await browser.begin_login()
        parameters = broker.code_for("AB1234")
        first, again = await browser.come_back(parameters), await browser.come_back(parameters)
    assert slug(first) == slug(again) == "login-refused"
    assert first.json()["detail"] == again.json()["detail"]
    assert len(broker.received("exchange")) == 1


async def test_three_tabs_can_sign_in_and_a_fourth_pushes_the_oldest_out(
    service: Service, broker: SimulatedBroker
) -> None:
    async with Browser(service) as browser:
        for tab in range(4):
            await browser.begin_login(f"{service.url}/tab{tab}")
        backs = [(await browser.come_back(broker.code_for("AB1234"))) for _ in range(4)]
    assert [back.headers.get("location") for back in backs] == [*(f"{service.url}/tab{tab}" for tab in (3, 2, 1)), None]
    assert slug(backs[3]) == "login-attempt-missing"


@pytest.mark.parametrize("shape", ["userSession", "accessToken", "resultUserSession"])
async def test_every_documented_success_is_a_success(service: Service, broker: SimulatedBroker, shape: str) -> None:
    broker.shape_call("exchange", shape)
    async with Browser(service) as browser:
        assert (await browser.sign_in(broker)).status_code == 303
        assert (await browser.get("/v1/funds")).status_code == 200


async def test_the_user_id_goes_into_the_checksum_as_it_came_and_is_told_in_capitals(
    service: Service, broker: SimulatedBroker
) -> None:
    async with Browser(service) as browser:
        assert (await browser.sign_in(broker, "MIXED77")).status_code == 303
        assert (await browser.get("/v1/session")).json()["user"]["id"] == "MIXED77"


@pytest.mark.parametrize("missing", ["404", "405", "invalid-parameter"])
async def test_the_next_exchange_url_is_tried_and_remembered(
    database_url: str, service: Service, broker: SimulatedBroker, clock: SettableClock, missing: str
) -> None:
    last = "/open-api/order/v1/vendor/getUserDetails"
    broker.change_app(exchangePaths=[last], missingAnswer=missing)
    async with serving(service.settings, clock) as fresh, Browser(fresh) as browser:
        assert (await browser.sign_in(broker)).status_code == 303
        assert len(broker.received("exchange")) == 3
        assert (await browser.sign_in(broker)).status_code == 303
    assert [each["path"] for each in broker.received("exchange")][3:] == [last]


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("invalidAuthCode", 403, "login-refused"), ("failed", 403, "login-refused"),
        ("invalidVendor", 403, "login-refused"), ("notLoggedIn", 403, "login-refused"),
        ("okWithoutToken", 403, "login-refused"), ("emptyToken", 403, "login-refused"),
        ("okWithoutResult", 403, "login-refused"), ("dead401Text", 403, "login-refused"),
        ("otherClient", 403, "user-mismatch"), ("html200", 502, "broker-fault"), ("emptyList", 502, "broker-fault"),
        ("truncatedJson", 502, "broker-fault"), ("redirect302", 502, "broker-fault"), ("http500", 502, "broker-fault"),
        ("huge", 502, "broker-fault"), ("http503", 503, "broker-unavailable"), ("reset", 503, "broker-unavailable"),
        ("http429", 503, "broker-rate-limited"), ("hanging", 504, "broker-timeout"), ("drip", 504, "broker-timeout"),
    ],
)  # fmt: skip
async def test_a_failed_exchange_is_told_and_never_repeated(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection, fault: str, status: int, kind: str
) -> None:
    broker.break_call("exchange", fault)
    async with Browser(service) as browser:
        answer = await browser.sign_in(broker)
        assert (answer.status_code, slug(answer)) == (status, kind)
        assert answer.json()["loginUrl" if status == 403 else "type"]
        assert "session" not in answer.cookies
        assert slug(await browser.get("/v1/session")) == "not-signed-in"
    assert len(broker.received("exchange")) == 1
    for table in ("users", "sessions", "broker_sessions"):
        assert await rows.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_the_brokers_words_are_shown(service: Service, broker: SimulatedBroker) -> None:
    broker.break_call("exchange", "okWithoutToken")
    async with Browser(service) as browser:
        answer = await browser.sign_in(broker)
    assert "Enable/Login with TOTP, to create the session." in answer.json()["detail"]


@pytest.mark.parametrize(
    "header", [{"Accept": "text/html,application/xhtml+xml"}, {"Sec-Fetch-Mode": "navigate", "Accept": "*/*"}]
)
async def test_a_browser_that_navigates_gets_a_page(
    service: Service, broker: SimulatedBroker, header: dict[str, str]
) -> None:
    async with Browser(service) as browser:
        answer = await browser.get("/sso/callback", params=broker.code_for("AB1234"), headers=header)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "This login was not begun in this browser" in answer.text
    assert f'action="{service.url}/sso/login"' in answer.text
    assert "script" not in answer.text


async def test_the_brokers_text_never_becomes_html(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser:
        answer = await browser.get(
            "/sso/login", params={"return_to": "https://evil.example/<script>"}, headers={"Accept": "text/html"}
        )
    assert answer.status_code == 422
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "", "authCode=A", "userId=AB1234", "authCode=&userId=AB1234", "authCode=A&authCode=B&userId=AB1234",
        "authCode=A,B&userId=AB1234", "authCode=A&userId=AB1234&userId=CD5678", f"authCode={'A' * 129}&userId=AB1234",
        f"authCode=A&userId={'A' * 33}", "authCode=A%00&userId=AB1234", "authCode=A%0d%0aX&userId=AB1234",
        "authCode=A B&userId=AB1234", "authCode=%C3%A9&userId=AB1234",
    ],
)  # fmt: skip
async def test_missing_repeated_and_overlong_parameters_are_refused(
    service: Service, broker: SimulatedBroker, query: str
) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        answer = await browser.get(f"/sso/callback?{query}")
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"] in {"/query/authCode", "/query/userId"}
    assert broker.received() == []


async def test_the_same_value_twice_is_read_as_one(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        code, user = (broker.code_for("AB1234")[name] for name in ("authCode", "userId"))
        answer = await browser.get(f"/sso/callback?authCode={code},{code}&userId={user}&userId={user}")
    assert answer.status_code == 303


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "http://127.0.0.1/", "//evil.example", "/portal", "javascript:alert(1)", "",
        "ORIGIN@evil.example/", "ORIGIN.evil.example/", "http:\\\\evil.example", "ORIGIN/\r\nX: y", "ORIGIN/\u00e9",
        "ORIGIN/" + "a" * 2000, "http://[", "http://127.0.0.1:99999/",
    ],
)  # fmt: skip
async def test_a_return_url_outside_our_frontends_is_refused(service: Service, target: str) -> None:
    async with Browser(service) as browser:
        answer = await browser.get("/sso/login", params={"return_to": target.replace("ORIGIN", service.url)})
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"] == "/query/return_to"
    assert "set-cookie" not in answer.headers


async def test_a_login_that_another_site_begins_asks_first(service: Service) -> None:
    async with Browser(service) as browser:
        answer = await browser.get("/sso/login", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert "<button>" in answer.text
    assert "set-cookie" not in answer.headers
    assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("referer", "is_refused"),
    [("https://evil.example/", True), ("http://[broken", True), ("BROKER/", False), ("OURS/portal/", False)],
)
async def test_a_callback_that_a_strange_page_led_to_is_refused(
    service: Service, broker: SimulatedBroker, referer: str, is_refused: bool
) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        from_page = referer.replace("BROKER", broker.url).replace("OURS", service.url)
        answer = await browser.come_back(broker.code_for("AB1234"), Referer=from_page)
    assert answer.status_code == (403 if is_refused else 303)
    assert len(broker.received("exchange")) == (0 if is_refused else 1)


async def test_a_sign_in_stands_without_the_profile(service: Service, broker: SimulatedBroker) -> None:
    broker.break_call("profile", "hanging")
    async with Browser(service) as browser:
        assert (await browser.sign_in(broker)).status_code == 303
        session = (await browser.get("/v1/session")).json()
    assert session["user"] == {"id": "AB1234", "name": None}
    assert session["broker"]["connected"] is True


async def test_signing_in_again_ends_the_session_this_browser_had(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser, Browser(service) as thief:
        await browser.sign_in(broker)
        old = browser.cookies["session"]
        await browser.sign_in(broker)
        assert browser.cookies["session"] != old
        thief.cookies.set("session", old)
        assert slug(await thief.get("/v1/session")) == "not-signed-in"


async def test_head_spends_nothing(service: Service, broker: SimulatedBroker) -> None:
    async with Browser(service) as browser:
        await browser.begin_login()
        answer = await browser.head("/sso/callback", params=broker.code_for("AB1234"))
    assert answer.status_code == 405
    assert broker.received() == []


async def test_a_broker_without_any_exchange_url_is_at_fault(service: Service, broker: SimulatedBroker) -> None:
    broker.break_call("exchange", "invalidParameter")
    async with Browser(service) as browser:
        answer = await browser.sign_in(broker)
    assert (answer.status_code, slug(answer)) == (502, "broker-fault")
    assert len(broker.received("exchange")) == 3


async def test_two_return_urls_are_refused(service: Service) -> None:
    async with Browser(service) as browser:
        target = f"{service.url}/portal/"
        answer = await browser.get("/sso/login", params=[("return_to", target), ("return_to", f"{target}x")])
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert answer.json()["errors"][0]["pointer"] == "/query/return_to"


async def test_who_waits_for_a_replica_that_died_in_the_middle_is_told_to_begin_again(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection
) -> None:
    impatient = service.settings.model_copy(update={"broker_read_deadline": timedelta(milliseconds=1)})
    async with serving(impatient) as replica, Browser(service) as browser:
        await browser.begin_login()
        parameters = broker.code_for("AB1234")
        assert (await browser.come_back(parameters)).status_code == 303
        await rows.execute("UPDATE spent_auth_codes SET outcome = NULL, finished_at = NULL")
        answer = await browser.get(f"{replica.url}/sso/callback", params=parameters)
    assert (answer.status_code, slug(answer)) == (409, "auth-code-used")
    assert len(broker.received("exchange")) == 1


@pytest.mark.parametrize(("profile", "kind"), [(None, "user-mismatch"), ("http500", "login-refused")])
async def test_the_border_between_user_id_and_code_can_not_be_moved(
    service: Service, broker: SimulatedBroker, rows: asyncpg.Connection, profile: str | None, kind: str
) -> None:
    """The checksum has no border in it: without the broker's own word `AB123` + `4CODE` would pass for `AB1234`."""
    broker.break_call("exchange", "noClientId")
    if profile:
        broker.break_call("profile", profile)
    code = broker.code_for("AB1234")["authCode"]
    async with Browser(service) as browser:
        await browser.begin_login()
        answer = await browser.come_back({"userId": "AB123", "authCode": f"4{code}"})
        assert (answer.status_code, slug(answer)) == (403, kind)
        assert slug(await browser.get("/v1/session")) == "not-signed-in"
    assert await rows.fetchval("SELECT count(*) FROM broker_sessions") == 0


async def test_an_unnamed_client_signs_in_without_a_profile_by_a_code_of_the_known_form(
    service: Service, broker: SimulatedBroker
) -> None:
    broker.break_call("exchange", "noClientId")
    broker.break_call("profile", "http500")
    async with Browser(service) as browser:
        assert (await browser.sign_in(broker)).status_code == 303
    assert len(broker.received("profile")) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Purpose": "prefetch"},
        {"Purpose": "prefetch"},
    ],
)  # fmt: skip
async def test_a_sign_in_is_a_visit_and_no_part_of_a_page(
    service: Service, broker: SimulatedBroker, headers: dict[str, str]
) -> None:
    async with Browser(service) as browser:
        begun = await browser.get("/sso/login", headers=headers)
        assert begun.status_code == 403
        assert "set-cookie" not in begun.headers
        await browser.begin_login()
        assert (await browser.come_back(broker.code_for("AB1234"), **headers)).status_code == 403
        assert broker.received() == []
        person = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "cross-site"}
        assert (await browser.come_back(broker.code_for("AB1234"), **person)).status_code == 303


@pytest.mark.parametrize(
    ("path", "is_refused"),
    [("/sso/callback?authCode=X&userId=EV1", True), ("/v1/session", True), ("/portal/?q=1#x", False), ("", False),
     ('/portal/?q="' + '"' * 50, True)],
)  # fmt: skip
async def test_a_target_is_a_page(service: Service, path: str, is_refused: bool) -> None:
    async with Browser(service) as browser:
        assert (await browser.begin_login(service.url + path)).status_code == (422 if is_refused else 303)


async def test_while_the_name_is_fetched_other_devices_use_the_new_session(
    service: Service, broker: SimulatedBroker
) -> None:
    async with signed_in(service, broker) as phone, Browser(service) as desk:
        broker.break_call("profile", "slow", seconds=1.0)
        await desk.begin_login()
        coming = asyncio.create_task(desk.come_back(broker.code_for("AB1234")))
        while len(broker.received("profile")) < 2:  # noqa: ASYNC110  # it happens in another process
            await asyncio.sleep(0.02)
        assert (await phone.get("/v1/funds")).status_code == 200
        assert not coming.done()
        assert (await coming).status_code == 303


async def test_the_page_of_a_failure_leads_back_to_where_one_was_going(
    service: Service, broker: SimulatedBroker
) -> None:
    broker.break_call("exchange", "invalidAuthCode")
    target = f"{service.url}/portal/?tab=orders"
    async with Browser(service) as browser:
        await browser.begin_login(target)
        page = await browser.come_back(broker.code_for("AB1234"), Accept="text/html")
    assert page.status_code == 403
    assert f'name="return_to" value="{target}"' in page.text


async def test_a_person_is_told_what_is_wrong_with_the_address(service: Service) -> None:
    html = {"Accept": "text/html"}
    async with Browser(service) as browser:
        strange = await browser.get("/sso/login", params={"return_to": "https://evil.example/"}, headers=html)
        assert "return_to is not within this service&#x27;s frontends." in strange.text
        missing = await browser.get("/sso/callback", params={"userId": "AB1234"}, headers=html)
        assert "authCode is missing." in missing.text
        long = await browser.get("/sso/callback?authCode=" + "x" * 9000, headers=html)
        assert (long.status_code, long.headers["content-type"]) == (414, "text/html; charset=utf-8")


async def test_a_token_that_is_refused_at_once_is_not_used_again(service: Service, broker: SimulatedBroker) -> None:
    broker.break_call("profile", "dead401Text")
    async with Browser(service) as browser:
        assert (await browser.sign_in(broker)).status_code == 303
        session = (await browser.get("/v1/session")).json()["broker"]
        assert (session["connected"], session["reason"]) == (False, "refused-by-broker")
        assert slug(await browser.get("/v1/holdings")) == "broker-session-expired"
        assert broker.received("holdings") == []
        broker.break_call("exchange", "noClientId")
        refused = await browser.sign_in(broker)
    assert (refused.status_code, slug(refused)) == (403, "login-refused")


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True), ("text/html", True),
        ("application/json, text/html;q=0.1", False), ("application/json,text/html", False), ("*/*", False),
        ("", False),
        ("application/problem+json;q=0.2, text/html;q=0.5", True), ("text/html;q=0", False),
    ],
)  # fmt: skip
async def test_who_prefers_json_gets_it(service: Service, accept: str, is_page: bool) -> None:
    async with Browser(service) as browser:
        answer = await browser.get("/sso/callback?authCode=X&userId=Y", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/html" if is_page else "application/problem+json")
    assert answer.headers["referrer-policy"] == "no-referrer"
