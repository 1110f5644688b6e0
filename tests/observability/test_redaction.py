"""What is written about ourselves holds no secret, however it got into an event."""

import json

import pytest

from app.observability import configure_logging, logger, redact_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJBQjEyMzQifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {JWT}", f"token {JWT} ended", "bearer abc.def-ghi",
        "GET /sso/callback?authCode=VBF4V37IN3ON8XMX5IKW&userId=X", '{"checkSum": "VBF4V37IN3ON8XMX5IKW"}',
        "userSession='VBF4V37IN3ON8XMX5IKW'", "password=VBF4V37IN3ON8XMX5IKW", "postgresql://partner:hunter2@db/x",
    ],
)  # fmt: skip
def test_what_looks_like_a_credential_is_blotted_out(text: str) -> None:
    left = redact_text(text)
    assert "[redacted]" in left
    for secret in (JWT, "abc.def-ghi", "VBF4V37IN3ON8XMX5IKW", "hunter2"):
        assert secret not in left


def test_a_secret_is_blotted_out_wherever_it_stands_in_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="DEBUG", log_format="json")
    logger("test").info(
        "told",
        token="s3cret",
        nested={"cookie": "s3cret", "deep": {"pan": "s3cret"}},
        many=[f"Bearer {JWT}", 7],
        fine="x",
    )
    try:
        int(f"authCode=s3cret refused with {JWT}")
    except ValueError:
        logger("test").exception("failed")
    lines = capsys.readouterr().out.splitlines()
    assert "s3cret" not in "".join(lines)
    assert JWT not in "".join(lines)
    event = json.loads(lines[0])
    assert event["fine"] == "x"
    assert event["many"] == ["[redacted]", 7]
    assert event["nested"] == {"cookie": "[redacted]", "deep": {"pan": "[redacted]"}}


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="INFO", log_format="console")
    logger("test").info("told", fine="x", token="s3cret")
    line = capsys.readouterr().out
    assert "told" in line
    assert "fine=x" in line
    assert "s3cret" not in line
