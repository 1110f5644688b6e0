"""What the service writes about itself: structured lines on standard output, without a secret in them at any level."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

REDACTED = "[redacted]"

_SENSITIVE_NAMES = frozenset(
    "authcode auth_code code checksum apisecret api_secret token access_token usersession cookie set_cookie "
    "authorization password pan mobile mobno phone email encryption_keys key secret sealed body".split()
)
_SENSITIVE_TEXT = re.compile(
    r"eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"  # a JWT, which is what the broker's tokens are
    r"|(?i:bearer)\s+[\w.~+/=-]+"
    r"|(?i:authcode|checksum|usersession|accesstoken|api_?secret|password)[\"']?\s*[=:]\s*[\"']?[^\s\"'&,;}]+"
    r"|postgres(?:ql)?://[^\s@/]+@"
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Line ends of every kind, what terminals obey, and what turns the direction of text."""
_TRACES = frozenset({"exception", "stack"})


def redact_text(text: str) -> str:
    """Return `text` with everything that looks like a credential blotted out."""
    return _SENSITIVE_TEXT.sub(REDACTED, text)


def configure_logging(*, level: str, log_format: str) -> None:
    """Send the lines of every library and of our own to standard output, in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact,
    ]
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [_on_one_line, structlog.dev.ConsoleRenderer(colors=False)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; give it events in past tense and facts as keywords."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: _redacted(name, value) for name, value in event.items()}


def _on_one_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Let nothing in an event begin a line of its own or steer a terminal; JSON is safe by its own rules."""
    return {name: _traced(value) if name in _TRACES else _inert(value) for name, value in event.items()}


def _inert(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return _CONTROL.sub(_escaped, value if isinstance(value, str) else repr(value))


def _traced(value: Any) -> str:
    """Keep a trace's lines, each with a mark that no line of the log begins with."""
    return "\n".join(f"  | {_inert(line)}" for line in str(value).split("\n"))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _redacted(name: str, value: Any) -> Any:
    if name.startswith("_"):  # structlog's own luggage: the record it came with
        return value
    if name.lower() in _SENSITIVE_NAMES:
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {inner: _redacted(str(inner), each) for inner, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", each) for each in value]
    return value
