"""What each answer to an order call proves: done, not done, or that nobody knows."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.broker.transport import Answer
from app.broker.verdicts import LIMITED, SESSION_DEAD, SESSION_DOUBTED, Proof, Verdict, verdict_of
from app.trading import Outcome

SAMPLES = Path(__file__).parents[1] / "samples"
DEAD = ["Unauthorized", "Invalid user session", "Session Expired", "session expired!", "EC087", "401 - Unauthorized",
        "EC087 : Please login again", "Session expired, please log in again"]  # fmt: skip
REASONED = ["RED:Margin Shortfall:INR 5 Available:INR 1", "RED:User is unauthorized for this product",
            "SAF:order is not open to cancel", "ORA: session expired for this contract", "ALGO_CHK:IP unauthorized",
            "RED:Rule: rate limit of orders exceeded", "Trading symbol is unauthorized for your product"]  # fmt: skip


def answer(content: object, *, status: int = 200, content_type: str = "application/json") -> Answer:
    return Answer(status, content_type, content if isinstance(content, bytes) else json.dumps(content).encode())


def judged(content: object, *, proof: Proof = Proof.NEW_NUMBER, **http: Any) -> Verdict:
    return verdict_of(answer(content, **http), proof)


def ok(*rows: object) -> dict[str, object]:
    return {"status": "Ok", "message": "Success", "result": list(rows)}


def refusal(words: str, status: str = "Not ok") -> dict[str, object]:
    return {"status": status, "message": words, "result": []}


@pytest.mark.parametrize(
    ("sample", "order_no"),
    [("orders_execute.ok", "23111500003840"), ("orders_execute.ok.object_2023", "23060200005839"),
     ("orders_cancel.ok", "23060200005839"), ("orders_modify.ok", "23111500003987"),
     ("v2_placeorder.ok", "250526000002697"), ("v2_placeorder.ok.item_status", "250526000002697")],
)  # fmt: skip
def test_the_samples_are_accepted(sample: str, order_no: str) -> None:
    content = json.loads((SAMPLES / f"{sample}.json").read_text("utf-8"))
    verdict = judged(content)
    assert (verdict.outcome, verdict.order_nos, verdict.reason) == (Outcome.ACCEPTED, (order_no,), None)


def test_a_conversion_needs_no_order_number_and_an_order_does() -> None:
    content = json.loads((SAMPLES / "positions_conversion.ok.json").read_text("utf-8"))
    assert judged(content, proof=Proof.OK).outcome is Outcome.ACCEPTED
    assert judged(content).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("words", REASONED)
@pytest.mark.parametrize("status", ["Not ok", "Not_ok", "error"])
def test_a_refusal_is_a_refusal_whatever_it_speaks_of(words: str, status: str) -> None:
    for content in (refusal(words, status), [refusal(words, status)], {"stat": status, "emsg": words}):
        verdict = judged(content)
        assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, words)
        assert verdict.is_watched == (words == REASONED[-1])


@pytest.mark.parametrize("words", ["Read timed out", "Internal server error", "", "Please try after some time"])
def test_a_refusal_without_a_reason_of_the_order_systems_own_is_watched_all_the_same(words: str) -> None:
    verdict = judged(refusal(words))
    assert (verdict.outcome, verdict.is_watched) == (Outcome.REFUSED, True)


def test_a_new_order_number_proves_an_order_whatever_is_said_beside_it() -> None:
    content = {"status": "Not ok", "message": "RED:partial", "result": [{"orderNo": "26112300000001"}]}
    for answered in (content, [content]):
        verdict = judged(answered)
        assert (verdict.outcome, verdict.order_nos) == (Outcome.ACCEPTED, ("26112300000001",))
        assert verdict.reason == "RED:partial"
    refused = judged(content, proof=Proof.OK_WITH_NUMBER)
    assert (refused.outcome, refused.reason) == (Outcome.REFUSED, "RED:partial")  # it names the order it is about


@pytest.mark.parametrize("number", ["null", "NaN", "0", "000000", "-", 0, "none", "a b", "1;2", "1" * 33])
def test_what_is_no_number_proves_no_order(number: object) -> None:
    assert judged(ok({"orderNo": number})).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("number", ["-1", -1, "ERR5", "1", "2611-24"])
def test_a_refusal_with_what_is_hardly_a_number_is_a_refusal(number: object) -> None:
    content = {"status": "Not ok", "message": "RED:margin", "result": [{"orderNo": number}]}
    assert judged(content).outcome is Outcome.REFUSED


@pytest.mark.parametrize("words", DEAD)
def test_a_dead_session_was_not_taken_and_is_watched(words: str) -> None:
    for content in (refusal(words), [refusal(words)], refusal(words, "Ok"), words.encode(), words):
        assert judged(content) == SESSION_DEAD, content


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body", [b"", b"Unauthorized", b"[]", b'{"status":"Ok","result":[{"orderNo":"1"}]}', b"<html>"]
)
def test_401_and_403_are_a_dead_session_whatever_the_body(status: int, body: bytes) -> None:
    assert judged(body, status=status) == (SESSION_DEAD if status == 401 else SESSION_DOUBTED)


def test_the_limit_was_not_taken_and_is_watched() -> None:
    assert judged(b"Too Many Requests", status=429) == LIMITED
    assert judged(refusal("Rate limit exceeded, too many requests")) == LIMITED
    assert LIMITED.is_watched
    assert SESSION_DEAD.is_watched


@pytest.mark.parametrize("status", [404, 405])
def test_a_wrong_path_proves_nothing_and_alarms(status: int) -> None:
    verdict = judged(refusal("no such page"), status=status)
    assert (verdict.outcome, verdict.is_alarming) == (Outcome.UNKNOWN, True)


@pytest.mark.parametrize(
    ("content", "http"),
    [(refusal("RED:no"), {"status": 500}), (ok({"orderNo": "1"}), {"status": 502}), (b"", {"status": 503}),
     (b"<html></html>", {"content_type": "text/html"}), (refusal("RED:no"), {"content_type": "text/html"}),
     (b"", {"status": 302}), (b"", {}), (b"[]", {}), (b"null", {}), (b"7", {}), (b'{"status":"Ok","result":[{"or', {}),
     (ok(), {}), (ok({}), {}), (ok({"orderNo": ""}), {}), (ok({"orderNo": None}), {}), (ok({"orderNo": "a b"}), {}),
     (ok("23111500003840"), {}), ({"status": "Ok", "message": "Success"}, {}), ({"result": [{"orderNo": "1"}]}, {}),
     (refusal("hm", "Pending"), {}), (refusal("hm", "500"), {}), ([ok(), refusal("RED:no")], {}), ([1, 2], {}),
     ({"status": 200, "message": "fine"}, {}), (b"x" * 100_000, {}), (b"[" * 100_000, {}),
     ("an order that says session expired somewhere in a long sentence about something else", {}), (b"\xff\xfe", {})],
)  # fmt: skip
def test_what_makes_no_sense_proves_nothing(content: object, http: dict[str, Any]) -> None:
    verdict = judged(content, **http)
    assert (verdict.outcome, verdict.order_nos, verdict.is_watched) == (Outcome.UNKNOWN, (), True)


def test_a_refusal_with_400_is_a_refusal_and_a_bare_400_proves_nothing() -> None:
    assert judged(refusal("Invalid request"), status=400).outcome is Outcome.REFUSED
    assert judged({"status": 400, "error": "Bad Request"}, status=400).reason == "Bad Request"
    assert judged(b"Bad Request", status=400).outcome is Outcome.UNKNOWN
    assert judged(ok({"orderNo": "1"}), status=400).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "content",
    [ok({"orderNo": "1"}, {"status": "Not ok", "message": "RED:slice"}, {"orderNo": "3"}),
     [ok({"orderNo": "1"}), refusal("RED:slice"), ok({"orderNo": "3"})],
     [ok({"orderNo": "1"}, {"orderNo": "3"}, {"orderNo": "1"}), refusal("RED:slice")],
     ok({"orderNo": "1"}, {"orderNo": "3"}, {"rejectedReason": "RED:slice"})],
)  # fmt: skip
def test_any_order_number_is_accepted_and_refused_slices_are_told(content: object) -> None:
    verdict = judged(content)
    assert (verdict.outcome, set(verdict.order_nos), verdict.reason) == (Outcome.ACCEPTED, {"1", "3"}, "RED:slice")


def test_an_order_of_which_every_slice_is_refused_is_refused() -> None:
    both = ok({"status": "Not ok", "message": "RED:one"}, {"status": "Not ok", "message": "RED:two"})
    assert judged(both) == Verdict(Outcome.REFUSED, reason="RED:one; RED:two")
    assert judged([refusal("RED:one"), refusal("RED:two")]) == Verdict(Outcome.REFUSED, reason="RED:one; RED:two")


def test_a_refusal_without_words_says_so() -> None:
    assert judged(refusal("")).reason == "The broker gave no reason."


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()), st.integers(200, 599))
def test_whatever_comes_is_judged_and_never_accepted_without_an_order_number(body: bytes, status: int) -> None:
    verdict = judged(body, status=status)
    assert (verdict.outcome is Outcome.ACCEPTED) == bool(verdict.order_nos)
    if status >= 500:
        assert verdict.outcome is Outcome.UNKNOWN
