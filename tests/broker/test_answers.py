"""The one classifier: what the broker's answers mean, whatever they look like."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.broker.answers import lowered, read_rows, told_wait
from app.broker.errors import BrokerRefused, BrokerSessionDead, WrongPath
from app.broker.transport import Answer
from app.problems import BrokerFault, BrokerRateLimited, BrokerUnavailable, Problem

DEAD_WORDS = [
    "Unauthorized",
    "Invalid user session",
    "Session Expired",
    "session expired!",
    "EC087",
    "401 - Unauthorized",
]
SPELLINGS = ["Not ok", "Not_ok", "Not_Ok", "not_ok", "error", "NOT OK"]
NOTHING = ["no data", "No Data", "no record found", "No records are found", "NO RECORDS ARE FOUND."]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def answer(content: object, *, status: int = 200, content_type: str = "application/json") -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Answer(status, content_type, body)


def envelope(status: str = "Ok", message: str = "Success", result: object = None) -> dict[str, object]:
    return {"status": status, "message": message, "result": result}


@pytest.mark.parametrize("word", ["Ok", "ok", "OK", " o_k ", "success"])
@pytest.mark.parametrize("keys", [("status", "message"), ("stat", "emsg")])
def test_rows_come_back_whichever_words_wrap_them(word: str, keys: tuple[str, str]) -> None:
    content = {keys[0]: word, keys[1]: "Success", "result": [{"orderNo": "1"}]}
    assert read_rows(answer(content)) == [{"orderno": "1"}]


@pytest.mark.parametrize("result", [[{"a": "1"}], {"a": "1"}])
def test_an_object_and_a_list_of_it_are_the_same(result: object) -> None:
    assert read_rows(answer(envelope(result=result))) == [{"a": "1"}]
    assert read_rows(answer([envelope(result=result)])) == [{"a": "1"}]


@pytest.mark.parametrize("words", NOTHING)
@pytest.mark.parametrize("status", ["Ok", *SPELLINGS])
@pytest.mark.parametrize("result", [[], None])
def test_nothing_there_is_an_empty_list(words: str, status: str, result: object) -> None:
    assert read_rows(answer(envelope(status, words, result))) == []


@pytest.mark.parametrize("code", ["EC916", "EC918", "EC920", "EC922", "EC926", "EC938"])
def test_a_code_that_means_nothing_there_is_an_empty_list(code: str) -> None:
    assert read_rows(answer(envelope(code, "No positions found for this user.", []))) == []
    assert read_rows(answer(envelope("Not ok", f"{code} nothing", []))) == []


@pytest.mark.parametrize(
    "content", [{"status": "Ok", "message": "Success"}, envelope(result=None), envelope(result=[])]
)
def test_an_ok_without_rows_is_an_empty_list(content: object) -> None:
    assert read_rows(answer(content)) == []


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_refusal_carries_the_brokers_words(spelling: str) -> None:
    with pytest.raises(BrokerRefused) as refusal:
        read_rows(answer(envelope(spelling, "RED:Margin Shortfall")))
    assert refusal.value.words == "RED:Margin Shortfall"


@pytest.mark.parametrize("words", DEAD_WORDS)
@pytest.mark.parametrize("status", ["Ok", "Not ok", "stat"])
@pytest.mark.parametrize("http", [200, 400, 500])
def test_a_dead_session_is_found_in_any_words(words: str, status: str, http: int) -> None:
    for content in (
        envelope(status, words, []),
        [envelope(status, words)],
        {"stat": "Not_ok", "emsg": words},
        {"status": words},
    ):
        with pytest.raises(BrokerSessionDead):
            read_rows(answer(content, status=http))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body", [b"", b"Unauthorized", b"[]", b"{}", b"<html>", b'{"status":"Ok","message":"no data","result":[]}']
)
def test_401_and_403_are_a_dead_session_whatever_the_body(status: int, body: bytes) -> None:
    with pytest.raises(BrokerSessionDead) as told:
        read_rows(answer(body, status=status, content_type="text/plain"))
    assert told.value.is_doubtful == (status == 403), "a 403 may be about this call alone"


@pytest.mark.parametrize(
    ("words", "is_doubtful"),
    [("Unauthorized", False), ("Session Expired", False), ("EC087", False),
     ("Invalid user session. Please login", False),
     ("Segment unauthorized for this client", True), ("The token expired option contract is not served", True)],
)  # fmt: skip
def test_words_among_others_are_doubtful(words: str, is_doubtful: bool) -> None:
    with pytest.raises(BrokerSessionDead) as told:
        read_rows(answer({"stat": "Not_ok", "emsg": words}))
    assert told.value.is_doubtful == is_doubtful


def test_a_dead_session_in_plain_text_is_found() -> None:
    with pytest.raises(BrokerSessionDead):
        read_rows(answer(b"Unauthorized", content_type="text/plain"))
    with pytest.raises(BrokerSessionDead):
        read_rows(answer(b'"Unauthorized"'))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'""', b"0", b"{", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"result":[]}',
     b'{"status":"Ok","result":["x"]}', b'{"status":"Ok","result":7}',
     b'{"status":"Not ok","message":""}', b"9" * 10_000],
)  # fmt: skip
def test_what_makes_no_sense_is_a_fault_and_never_empty(body: bytes) -> None:
    with pytest.raises(BrokerFault):
        read_rows(answer(body))


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, WrongPath), (405, WrongPath), (429, BrokerRateLimited), (500, BrokerFault), (302, BrokerFault),
     (502, BrokerUnavailable), (503, BrokerUnavailable), (504, BrokerUnavailable)],
)  # fmt: skip
def test_a_status_is_judged_before_the_body(status: int, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        read_rows(answer(envelope(result=[]), status=status))


@pytest.mark.parametrize(
    ("given", "date", "told"),
    [("7", None, 7), ("0", None, None), (None, None, None), ("soon", None, None), ("-3", None, None),
     ("999999999", None, 86_400), ("Mon, 23 Nov 2026 10:01:30 GMT", None, None),
     ("Mon, 23 Nov 2026 10:01:30 GMT", "Mon, 23 Nov 2026 10:00:00 GMT", 90),
     ("Mon, 23 Nov 2026 10:00:00 GMT", "Mon, 23 Nov 2026 10:01:00 GMT", 1)],
)  # fmt: skip
def test_the_brokers_wait_is_read_in_seconds(given: str | None, date: str | None, told: float | None) -> None:
    assert told_wait(Answer(429, "text/plain", b"", retry_after=given, date=date)) == told


def test_bare_words_of_a_dead_session_are_found_under_any_content_type() -> None:
    with pytest.raises(BrokerSessionDead):
        read_rows(answer(b"Unauthorized", content_type="text/html"))
    with pytest.raises(BrokerFault):
        read_rows(answer(b"<h1>Unauthorized</h1>", content_type="text/html"))


def test_html_with_200_is_a_fault_even_around_json() -> None:
    with pytest.raises(BrokerFault):
        read_rows(answer(envelope(result=[]), content_type="text/html; charset=utf-8"))


def test_the_documented_generic_error_is_recognised() -> None:
    generic = {"status": "error", "message": "Error message", "error_type": "GeneralException"}
    with pytest.raises(BrokerFault):
        read_rows(answer(generic, status=500))
    with pytest.raises(BrokerRefused):
        read_rows(answer(generic, status=400))


def test_the_brokers_limit_is_told_by_status_or_in_words() -> None:
    with pytest.raises(BrokerRateLimited):
        read_rows(Answer(429, "text/plain", b"slow down", retry_after="17"))
    with pytest.raises(BrokerRateLimited):
        read_rows(answer(envelope("Not ok", "Too many requests")))


@pytest.mark.parametrize(
    "content",
    [
        {"stat": "Ok", "emsg": "Enable/Login with TOTP, to create the session."},
        envelope(message="User does not login. Please login", result=[]), envelope(message="Failed", result=[]),
        envelope(message="Invalid Parameter"), {"status": "Ok", "message": "Success", "data": [{"netQty": "5"}]},
        envelope(result={}), envelope(result=[{}]), envelope(result={"message": "out of order"}),
        envelope(result=[{"stat": "Not_ok", "emsg": "Failed", "orderNo": "1"}]), envelope(result=[None]),
    ],
)  # fmt: skip
def test_an_ok_that_says_something_else_is_never_empty_and_never_a_row(content: object) -> None:
    with pytest.raises(BrokerFault):
        read_rows(answer(content))


@pytest.mark.parametrize(
    "content",
    [
        envelope(result={"message": "Session Expired"}), envelope(result=[{"stat": "Not_ok", "emsg": "Unauthorized"}]),
        {"status": "Ok", "message": "Success", "emsg": "Invalid user session", "result": []},
        {"status": "Not ok", "message": "no data", "code": "EC087", "result": []}, {"message": "Unauthorized"},
        envelope("Not ok", "SESSION_EXPIRED"), envelope("Not ok", "SessionExpired"),
        envelope("Not ok", "Session  Expired"), envelope("Not ok", "Your session has been expired"),
        envelope("Not ok", "Token expired"), envelope("Not ok", "Invalid Access Token"),
    ],
)  # fmt: skip
def test_a_dead_session_is_found_wherever_the_broker_speaks(content: object) -> None:
    with pytest.raises(BrokerSessionDead):
        read_rows(answer(content))


@pytest.mark.parametrize(
    "content", [{"status": "Ok", "message": "Success"}, envelope(), envelope(message="", result="")]
)
def test_a_plain_ok_around_nothing_is_an_empty_list(content: object) -> None:
    """The contract, page 3: a result may be null or missing; make it a list."""
    assert read_rows(answer(content)) == []


def test_nothing_there_with_a_status_of_failure_is_empty_and_an_ok_with_one_is_not_quoted() -> None:
    assert read_rows(answer(envelope("Not ok", "no data", []), status=400)) == []
    with pytest.raises(BrokerFault):
        read_rows(answer(envelope(result=[{"a": 1}]), status=418))


def test_more_rows_than_anybody_has_are_a_fault() -> None:
    assert len(read_rows(answer(envelope(result=[{"a": 1}] * 10_000)))) == 10_000
    for content in (envelope(result=[{"a": 1}] * 10_001), [envelope(result=[{"a": 1}])] * 10_001):
        with pytest.raises(BrokerFault):
            read_rows(answer(content))


def test_a_number_beyond_all_numbers_is_none() -> None:
    body = b'{"status":"Ok","message":"Success","result":[{"netQty":1e99999999999999999999}]}'
    assert read_rows(answer(body)) == [{"netqty": None}]


def test_where_names_differ_in_case_alone_the_one_that_says_something_stays() -> None:
    assert read_rows(answer(envelope(result=[{"rPrice": "", "rprice": "7", "RPRICE": "8"}]))) == [{"rprice": "7"}]


def test_field_names_of_any_case_are_one() -> None:
    assert read_rows(answer(envelope(result=[{"FillShares": "", "fillshares": "2"}]))) == [{"fillshares": "2"}]


@given(
    json_values,
    st.sampled_from([200, 201, 204, 400, 404, 500]),
    st.sampled_from(["application/json", "text/plain", ""]),
)
def test_no_json_crashes_the_classifier(content: object, status: int, content_type: str) -> None:
    with contextlib.suppress(Problem, BrokerRefused, BrokerSessionDead, WrongPath):
        read_rows(answer(content, status=status, content_type=content_type))


@given(st.binary(max_size=300), st.sampled_from([200, 401, 404, 500]))
def test_no_bytes_crash_the_classifier(body: bytes, status: int) -> None:
    with contextlib.suppress(Problem, BrokerRefused, BrokerSessionDead, WrongPath):
        read_rows(answer(body, status=status))


@given(
    st.sampled_from(DEAD_WORDS),
    st.sampled_from(["Ok", *SPELLINGS]),
    json_values,
    st.sampled_from(["", "no data ", "No record found. "]),
)
def test_expired_is_never_empty_whatever_stands_around_it(words: str, status: str, result: object, before: str) -> None:
    with pytest.raises((BrokerSessionDead, BrokerFault)):
        read_rows(answer({"status": status, "message": before + words, "result": result}))


def test_names_in_whatever_case_are_lowered_alike_each_time() -> None:
    """Rows of a book have the same names; two of them that become one are told by what they say."""
    for _ in range(2):
        assert lowered({"OrderNo": "1", "QTY": "2"}) == {"orderno": "1", "qty": "2"}
        assert lowered({"qty": "2", "Qty": "3"}) == {"qty": "2"}
        assert lowered({"qty": "", "Qty": "3"}) == {"qty": "3"}
        assert lowered({"qty": None, "Qty": "3", "QTY": "4"}) == {"qty": "3"}
        assert lowered({}) == {}
        assert list(lowered({"b": 1, "A": 2})) == ["b", "a"]
