"""What the service writes about itself: structured lines on standard output, without a secret in them at any level."""

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any, TextIO

from app.clock import Clock
from app.unloaded import unloaded

with unloaded("rich"):  # structlog would draw traces with it; ours are plain, and it is five megabytes with its own
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


class Errand:
    """One request, or one piece of work in the background: by which id log and broker know it.

    It counts what is asked of the broker for its sake, and in how many seconds.
    """

    __slots__ = ("broker_calls", "broker_seconds", "id")

    def __init__(self, errand_id: str) -> None:
        self.id = errand_id
        self.broker_calls = 0
        self.broker_seconds = 0.0


_errand: ContextVar[Errand | None] = ContextVar("errand", default=None)


def begin_errand(errand_id: str) -> Errand:
    """Begin one, to which whatever this task and those that it begins do from now on belongs."""
    errand = Errand(errand_id)
    _errand.set(errand)
    return errand


def current_errand() -> Errand | None:
    return _errand.get()


def redact_text(text: str) -> str:
    """Return `text` with everything that looks like a credential blotted out."""
    return _SENSITIVE_TEXT.sub(REDACTED, text)


def configure_logging(*, level: str, log_format: str) -> None:
    """Send the lines of every library and of our own to standard output, in one form."""
    shared: list[structlog.typing.Processor] = [
        _name_errand,
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
        processors=[
            structlog.stdlib.filter_by_level,  # first: what nobody will read is not worked at
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
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
    _straight_to[:] = [handler] if log_format == "json" and root.isEnabledFor(logging.INFO) else []


_straight_to: list[logging.StreamHandler[TextIO]] = []
"""Where the line of a request goes without a detour, which took two tenths of a short request's time."""


def tell_request(method: str, route: str, status: int, milliseconds: float, errand: Errand) -> None:
    """Write the one line of a request; nothing in it can hold a secret, or anything that JSON would have to escape.

    A method is one of those that the parser knows, the route is a template of ours, and an id has passed the gate.
    """
    for handler in _straight_to:
        at = Clock().now().isoformat(timespec="microseconds").removesuffix("+00:00")
        line = (
            f'{{"method": "{method}", "route": "{route}", "status": {status}, "milliseconds": {milliseconds}, '
            f'"broker_calls": {errand.broker_calls}, "broker_milliseconds": {errand.broker_seconds * 1000:.1f}, '
            f'"event": "request", "request_id": "{errand.id}", "level": "info", "logger": "access", '
            f'"timestamp": "{at}Z"}}\n'
        )
        _write(handler, line)
        return
    if logging.getLogger("access").isEnabledFor(logging.INFO):
        logger("access").info(
            "request", method=method, route=route, status=status, milliseconds=milliseconds,
            broker_calls=errand.broker_calls, broker_milliseconds=round(errand.broker_seconds * 1000, 1),
        )  # fmt: skip


def _write(handler: logging.StreamHandler[TextIO], line: str) -> None:
    """Write as the handler itself does: where nothing can be written, no request fails for it."""
    try:
        with handler.lock or nullcontext():
            handler.stream.write(line)
            handler.flush()
    except (OSError, ValueError):  # the disk is full, nobody reads any more, or the stream is closed
        handler.handleError(logging.makeLogRecord({"name": "access", "msg": "request"}))


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; give it events in past tense and facts as keywords."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def _name_errand(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    if errand := _errand.get():
        event["request_id"] = errand.id
    return event


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
